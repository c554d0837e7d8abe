"""What tests of bad input share: small models, and whether what was refused left them alone."""

import functools

import numpy as np
import pytest

import bptt

NAN = float("nan")
X, Y = np.zeros((4, 5, 2)), np.zeros((4, 5, 1))

#: What makes the models of the case at hand, and the models.
MADE = []


def recorded(make):
    """Keep hold of the models that a case makes."""

    @functools.wraps(make)
    def wrapper():
        MADE.append((make, make()))
        return MADE[-1][1]

    return wrapper


def check(work, error, message):
    """Check that work is refused, and changes nothing in the models that it makes."""
    MADE.clear()
    with pytest.raises(error, match=message):
        work()
    assert MADE
    for make, given in MADE:
        fresh = make().state_dict()
        for name, array in given.state_dict().items():
            np.testing.assert_array_equal(array, fresh[name])


@recorded
def model():
    return bptt.Sequential(bptt.LSTM(2, 3, rng=0), bptt.Linear(3, 1, rng=0))


@recorded
def both_ways():
    layers = bptt.LSTM(2, 3, bidirectional=True, rng=0), bptt.Linear(6, 1, rng=0)
    return bptt.Sequential(*layers)


@recorded
def last_step():
    return bptt.Sequential(bptt.LSTM(2, 3, rng=0), bptt.LastStep(), bptt.Linear(3, 1, rng=0))


@recorded
def tokens():
    return bptt.Sequential(bptt.OneHot(3), bptt.RNN(3, 4, rng=0), bptt.Linear(4, 3, rng=0))


def fit(m, x=X, y=Y, **settings):
    defaults = {"loss": "mse", "optimizer": bptt.SGD(0.1), "batch_size": 2, "progress": False}
    return m.fit(x, y, **(defaults | settings))


def fit_tokens(x, y, **settings):
    return fit(tokens(), x, y, **({"loss": "cross_entropy"} | settings))
