"""Peak memory of training on a long sequence, with checkpoints and without.

`make bench`, or `python benches/memory.py`. Every run is a process of its own, whose peak resident
memory the system counts; what the arrays of the caller take (x, y and their gradients) is the same
in all and is shown as "arrays".
"""

import resource
import subprocess
import sys
import time

import numpy as np

import bptt

BATCH, INPUTS, HIDDEN = 4, 32, 64
STEPS = (25_000, 100_000)


def train(steps, checkpoint):
    """One forward and backward pass of an LSTM; return the peak memory in MB, and seconds."""
    layer = bptt.LSTM(INPUTS, HIDDEN, rng=0)
    x = np.random.default_rng(0).standard_normal((steps, BATCH, INPUTS), np.float32)
    start = time.perf_counter()
    if checkpoint != "arrays":
        option = None if checkpoint == "none" else checkpoint
        y, _, tape = layer.forward(x, checkpoint=option)
        layer.backward(tape, np.ones_like(y))
    else:
        y = np.ones((steps, BATCH, HIDDEN), np.float32)
        _held = y, np.ones_like(y), np.ones_like(x)
    seconds = time.perf_counter() - start
    # In kilobytes on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3), seconds


def main():
    """Print the table."""
    if len(sys.argv) == 3:
        print(*train(int(sys.argv[1]), sys.argv[2]))
        return
    print(f"LSTM({INPUTS}, {HIDDEN}), batch {BATCH}, float32, forward and backward\n")
    print("| T | arrays (MB) | without (MB) | checkpoints (MB) | time with / without |")
    print("|---|---|---|---|---|")
    for steps in STEPS:
        runs = {}
        for checkpoint in ("arrays", "none", "sqrt"):
            command = [sys.executable, __file__, str(steps), checkpoint]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs[checkpoint] = [float(number) for number in out.split()]
        memory = " | ".join(f"{runs[name][0]:.0f}" for name in ("arrays", "none", "sqrt"))
        print(f"| {steps} | {memory} | {runs['sqrt'][1] / runs['none'][1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
