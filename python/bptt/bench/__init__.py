"""bptt compared with PyTorch, ONNX Runtime, JAX and NumPy: ``python -m bptt bench``.

All contenders run in one process. `cases` has what is timed, `contenders` the libraries, `runner`
the timing, `report` and `figure` the results. The other libraries are optional:
``pip install ".[bench]"`` in a clone.
"""
