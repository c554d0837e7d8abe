"""bptt beside PyTorch, ONNX Runtime, JAX and NumPy, in one process: ``python -m bptt bench``.

What is timed is in `cases`, who does it in `contenders`, how in `runner`;
`report` and `figure` tell what came out. Peers are optional: ``pip install "bptt[bench]"``.
"""
