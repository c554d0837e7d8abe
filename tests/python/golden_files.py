"""What PyTorch computed, in tests/golden/*.npz: reading the files needs no torch."""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"
# Of the largest magnitude in the array: sums are taken in another order, nothing else may differ.
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def read(file):
    """{case: {name: array}} of one archive, with each config parsed."""
    cases = {}
    with np.load(GOLDEN / file, allow_pickle=False) as archive:
        for key in archive.files:
            case, _, name = key.partition("/")  # but for "torch_version", which has no case
            if name:
                value = archive[key]
                value = json.loads(str(value)) if name == "config" else value
                cases.setdefault(case, {})[name] = value
    return cases


def assert_close(actual, expected, name):
    """Same shape and dtype, and close relative to the largest magnitude."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, name
    assert actual.dtype == expected.dtype, name
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE[str(expected.dtype)], f"{name}: relative error {error:.2e}"
