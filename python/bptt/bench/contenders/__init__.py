"""The libraries that are compared, a file each. Those not installed are left out.

Keras with TensorFlow is left out always: it is more than a gigabyte to install.
"""

from __future__ import annotations

from bptt.bench.cases import Competitor
from bptt.bench.contenders import core, jax, numpy, onnx, torch

#: bptt is the first: what the others are compared with, in speed and in results.
LIBRARIES = (core.Core, torch.Torch, onnx.OnnxRuntime, jax.Jax, numpy.NumPy)


def available(threads: int) -> tuple[list[Competitor], list[str]]:
    """Return the libraries that are installed, on so many threads, and why others are left out.

    Examples
    --------
    >>> from bptt.bench.contenders import available
    >>> libraries, missing = available(1)
    >>> libraries[0].name
    'bptt'
    """
    libraries: list[Competitor] = []
    missing = ["Keras is left out: too large to install for this"]
    for make in LIBRARIES:
        try:
            libraries.append(make(threads))
        except ImportError as error:
            missing.append(f"{make.name} is left out: {error}")
    return libraries, missing
