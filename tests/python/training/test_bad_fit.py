"""Bad data and settings of fit, predict and evaluate: a clear error, and nothing changed."""

import numpy as np
import pytest
from refused import NAN, X, Y, both_ways, check, fit, fit_tokens, model

import bptt

FITS = {
    "rank": (lambda: fit(model(), X[0]), ValueError, r"\(N, T, 2\)"),
    "features": (
        lambda: fit(model(), X[..., :1]),
        ValueError,
        "2 features in its last dim.* got 1",
    ),
    "outputs": (lambda: fit(model(), X, X), ValueError, "y must have 1 features"),
    "count": (
        lambda: fit(model(), X, Y[:3]),
        ValueError,
        "the same number of sequences, got 4 and 3",
    ),
    "steps": (
        lambda: fit(model(), X, Y[:, :4]),
        ValueError,
        r"each of the 5 steps of x\[0\], got 4",
    ),
    "empty": (lambda: fit(model(), X[:0], Y[:0]), ValueError, "x is empty"),
    "empty list": (lambda: fit(model(), [], []), ValueError, "x is empty"),
    "no steps": (lambda: fit(model(), X[:, :0], Y[:, :0]), ValueError, r"x\[0\] is empty"),
    "item rank": (lambda: fit(model(), [X[0], X[1, 0]], Y[:2]), ValueError, r"x\[1\] of shape"),
    "complex": (lambda: fit(model(), X.astype(complex)), TypeError, "complex128"),
    "strings": (lambda: fit(model(), X.astype(str)), TypeError, "x must hold real numbers"),
    "loss": (lambda: fit(model(), loss="x"), ValueError, '"mse", "mae".* got \'x\''),
    "optimizer": (
        lambda: fit(model(), optimizer="adam"),
        TypeError,
        "an optimiser such as bptt.Adam",
    ),
    "nan lr": (lambda: fit(model(), optimizer=bptt.SGD(NAN)), ValueError, "lr must be .* got NaN"),
    "negative lr": (lambda: fit(model(), optimizer=bptt.Adam(-1)), ValueError, "lr must be"),
    "text lr": (lambda: fit(model(), optimizer=bptt.Adam("1")), TypeError, "lr must be a number"),
    "momentum": (
        lambda: fit(model(), optimizer=bptt.SGD(0.1, 1.0)),
        ValueError,
        "momentum must be in",
    ),
    "beta": (
        lambda: fit(model(), optimizer=bptt.Adam(0.1, (1.0, 0.9))),
        ValueError,
        "betas must be in",
    ),
    "betas": (lambda: fit(model(), optimizer=bptt.Adam(0.1, 0.9)), ValueError, "two numbers"),
    "eps": (lambda: fit(model(), optimizer=bptt.Adam(0.1, eps=NAN)), ValueError, "eps must be"),
    "clip": (lambda: fit(model(), clip_norm=NAN), ValueError, "clip_norm must be above 0, got NaN"),
    "clip zero": (lambda: fit(model(), clip_norm=0), ValueError, "clip_norm must be above 0"),
    "epochs": (lambda: fit(model(), epochs=-1), ValueError, "epochs must be at least 0"),
    "epochs real": (lambda: fit(model(), epochs=1.5), TypeError, "epochs must be a whole number"),
    "batch": (lambda: fit(model(), batch_size=0), ValueError, "batch_size must be at least 1"),
    "shuffle": (lambda: fit(model(), shuffle="yes"), TypeError, "True or False"),
    "rng": (lambda: fit(model(), rng="x"), TypeError, "rng must be"),
    "tbptt": (lambda: fit(model(), tbptt=0), ValueError, "tbptt must be at least 1, got 0"),
    "tbptt negative": (lambda: fit(model(), tbptt=-5), ValueError, "tbptt must be at least 1"),
    "tbptt real": (lambda: fit(model(), tbptt=2.0), TypeError, "tbptt must be a whole number"),
    "tbptt bool": (lambda: fit(model(), tbptt=True), TypeError, "tbptt must be a whole number"),
    "tbptt huge": (lambda: fit(model(), tbptt=2**64), ValueError, r"tbptt must be below 2\*\*62"),
    "tbptt both ways": (
        lambda: fit(both_ways(), tbptt=2),
        ValueError,
        r"layer 0 has two directions.*chunks \(tbptt\); use layers of one direction",
    ),
    "stateful": (lambda: fit(model(), stateful=1), TypeError, "stateful must be True or False"),
    "stateful shuffled": (
        lambda: fit(model(), stateful=True),
        ValueError,
        "stateful=True needs shuffle=False",
    ),
    "stateful rest": (
        lambda: fit(model(), stateful=True, shuffle=False, batch_size=3),
        ValueError,
        "divides the number of sequences, got batch_size 3 for 4",
    ),
    "stateful lengths": (
        lambda: fit(
            model(), [X[0], X[1, :3]], [Y[0], Y[1, :3]], stateful=True, shuffle=False, batch_size=1
        ),
        ValueError,
        "sequences of the same length, got 3 to 5 steps: cut them",
    ),
    "stateful both ways": (
        lambda: fit(both_ways(), stateful=True, shuffle=False),
        ValueError,
        r"layer 0 has two directions.*\(stateful\)",
    ),
    "validation": (lambda: fit(model(), validation=X), ValueError, r"tuple \(x, y\)"),
    "validation x": (
        lambda: fit(model(), validation=(X[..., :1], Y)),
        ValueError,
        "validation x must have 2 features",
    ),
    "token range": (lambda: fit_tokens([[0, 3]], [[0, 1]]), ValueError, "0 to 2, got 3"),
    "negative token": (lambda: fit_tokens([[0, -1]], [[0, 1]]), ValueError, "0 to 2, got -1"),
    "real tokens": (lambda: fit_tokens([[0.0, 1.0]], [[0, 1]]), TypeError, "integer dtype"),
    "class range": (
        lambda: fit_tokens([[0, 1]], [[0, 3]]),
        ValueError,
        r"y\[0\] must hold numbers from 0 to 2, got 3",
    ),
    "token rank": (lambda: fit_tokens(np.zeros((1, 2, 1), int), [[0, 1]]), ValueError, r"\(N, T\)"),
    "classes for mse": (
        lambda: fit_tokens([[0, 1]], [[0, 1]], loss="mse"),
        ValueError,
        r"y must be an array \(N, T, 3\)",
    ),
    "predict": (lambda: model().predict(X[..., :1]), ValueError, "2 features"),
    "predict progress": (lambda: model().predict(X, progress=1), TypeError, "progress must be"),
    "evaluate progress": (
        lambda: model().evaluate(X, Y, loss="mse", progress="no"),
        TypeError,
        "progress must be True or False",
    ),
    "evaluate": (lambda: model().evaluate(X, Y, loss="x"), ValueError, "loss must be"),
}


@pytest.mark.parametrize("case", FITS.values(), ids=FITS)
def test_fit_predict_evaluate(case):
    check(*case)
