"""bptt beside PyTorch and other peers: `make bench`, or `python benches/compare.py --help`.

The same as `python -m bptt bench`; the code is in python/bptt/bench/.
"""

import sys

from bptt.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
