"""The libraries of the comparison, one file each. Libraries that are not installed are left out.

Keras is not compared: with TensorFlow its installation takes more than a gigabyte.
"""

from __future__ import annotations

from bptt.bench.cases import Competitor
from bptt.bench.contenders import core, jax, numpy, onnx, torch

#: bptt is the first: the speed and the results of the others are compared with it.
LIBRARIES = (core.Core, torch.Torch, onnx.OnnxRuntime, jax.Jax, numpy.NumPy)


def available(threads: int) -> tuple[list[Competitor], list[str]]:
    """Return the installed libraries, set to so many threads, and why others are left out.

    Examples
    --------
    >>> from bptt.bench.contenders import available
    >>> libraries, missing = available(1)
    >>> libraries[0].name
    'bptt'
    """
    libraries: list[Competitor] = []
    missing = ["Keras is left out: its installation is too large"]
    for make in LIBRARIES:
        try:
            libraries.append(make(threads))
        except ImportError as error:
            missing.append(f"{make.name} is left out: {error}")
    return libraries, missing
