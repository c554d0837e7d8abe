"""Small models and data for tests of `fit`, `predict` and `evaluate`."""

import numpy as np

import bptt

#: Files that hold the same numbers in different forms.
FORMS = {
    "as the core's": {"dtype": "float32"},
    "double": {"dtype": "float64"},
    "half": {"dtype": "float16"},
    "big-endian": {"dtype": ">f4"},
    "Fortran order": {"dtype": "float32", "order": "F"},
    "copy on write": {"dtype": "float64", "mode": "c"},
}


def regression(rows=12, steps=5, seed=0):
    """Sequences of two features and running sums of them."""
    x = np.random.default_rng(seed).standard_normal((rows, steps, 2))
    return x, x.sum(axis=-1, keepdims=True).cumsum(axis=1) / 3


def model(seed=0, **options):
    """A model for `regression`."""
    rng = np.random.default_rng(seed)
    return bptt.Sequential(
        bptt.LSTM(2, 9, rng=rng, **options), bptt.Linear(9, 1, rng=rng, **options)
    )


def tokens(seed=0):
    """A model that reads and predicts five tokens."""
    rng = np.random.default_rng(seed)
    gru = bptt.GRU(5, 6, dropout=0.0, rng=rng)
    return bptt.Sequential(bptt.OneHot(5), gru, bptt.Linear(6, 5, rng=rng))


def fit(m, x, y=None, **settings):
    defaults = {"loss": "mse", "optimizer": bptt.Adam(0.01), "rng": 0, "progress": False}
    return m.fit(x, y, **(defaults | settings))


def parameters(m):
    """All parameters in one array."""
    return np.concatenate([array.ravel() for array in m.state_dict().values()])


def mapped(path, array, dtype=None, order="C", mode="r"):
    """The array in a mapped file."""
    array = np.asarray(array, dtype=dtype, order=order)
    np.save(path, array)
    return np.load(path, mmap_mode=mode)
