"""Bad input of the estimators: a clear error, and the estimator as it was."""

import numpy as np
import pytest
from estimating import wave

import bptt
from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor, make_windows

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")

X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.arange(12.0)


def classify(X=X, y=None, **settings):
    return (
        SequenceClassifier(4, max_iter=1)
        .set_params(**settings)
        .fit(X, [0, 1] * 6 if y is None else y)
    )


def regress(X=X, y=Y, **settings):
    return SequenceRegressor(4, max_iter=1).set_params(**settings).fit(X, y)


def forecast(X=None, y=None, **settings):
    X = wave(40) if X is None else X
    return SequenceForecaster(hidden_size=4, max_iter=1).set_params(**settings).fit(X, y)


BAD = {
    "hidden": (lambda: classify(hidden_size=0), ValueError, "hidden_size must be at least 1"),
    "hidden real": (lambda: classify(hidden_size=2.0), TypeError, "whole number"),
    "layers": (lambda: classify(num_layers=0), ValueError, "num_layers must be at least 1"),
    "cell": (lambda: classify(cell="tcn"), ValueError, '"lstm", "gru" or "rnn", got \'tcn\''),
    "cell type": (lambda: classify(cell=["lstm"]), ValueError, "cell must be"),
    "directions": (lambda: classify(bidirectional=1), TypeError, "bidirectional must be True"),
    "dropout": (lambda: classify(dropout=1.0), ValueError, r"dropout must be in \[0, 1\)"),
    "batch": (lambda: classify(batch_size=0), ValueError, "batch_size must be at least 1"),
    "batch auto": (lambda: classify(batch_size="auto"), TypeError, "batch_size must be a whole"),
    "rate": (lambda: classify(learning_rate_init=0), ValueError, "learning_rate_init must be"),
    "rate nan": (lambda: classify(learning_rate_init=np.nan), ValueError, "learning_rate_init"),
    "passes": (lambda: classify(max_iter=0), ValueError, "max_iter must be at least 1"),
    "clip": (lambda: classify(clip_norm=0), ValueError, "clip_norm must be above 0 or None"),
    "tol": (lambda: classify(tol=-1), ValueError, "tol must be at least 0"),
    "patience": (lambda: classify(n_iter_no_change=0), ValueError, "n_iter_no_change must be"),
    "fraction": (lambda: classify(validation_fraction=1.0), ValueError, "between 0 and 1"),
    "seed": (lambda: classify(random_state="x"), ValueError, "'x' cannot be used to seed"),
    "one dimension": (lambda: classify(X[0]), ValueError, "Expected 2D array, got 1D"),
    "four dimensions": (lambda: classify(np.zeros((12, 2, 2, 2))), ValueError, "dim 4|shape"),
    "no sequences": (lambda: classify([], []), ValueError, "Expected 2D|minimum of 1"),
    "no steps": (
        lambda: classify(np.zeros((12, 0, 2))),
        ValueError,
        "must have steps and features, got shape",
    ),
    "one without steps": (
        lambda: classify([*X[:-1], X[0, :0]]),
        ValueError,
        r"X\[11\]|minimum of 1",
    ),
    "nan": (lambda: classify(X * np.nan), ValueError, "X contains NaN"),
    "nan in a list": (
        lambda: classify([*X[:-1], X[0, :3] * np.nan]),
        ValueError,
        r"X\[11\] contains",
    ),
    "complex": (lambda: classify(X[..., None] + 1j), ValueError, "[Cc]omplex"),
    "strings": (lambda: classify([["a", "b"], ["c"]] * 6), ValueError, "could not convert"),
    "features": (
        lambda: classify([*[X] * 11, X[:, :2]]),
        ValueError,
        r"the same number of features, got 5 in X\[0\] and 2 in X\[11\]",
    ),
    "rank in a list": (lambda: classify([X[None]] * 12), ValueError, r"X\[0\] of shape"),
    "count": (
        lambda: classify(y=[0, 1]),
        ValueError,
        r"inconsistent numbers of samples: \[12, 2\]",
    ),
    "continuous": (lambda: classify(y=Y + 0.5), ValueError, "continuous"),
    "nan classes": (lambda: classify(y=Y * np.nan), ValueError, "NaN"),
    "columns": (lambda: classify().predict(X[:, :3]), ValueError, "X has 3 features, but"),
    "features later": (
        lambda: classify().predict(np.zeros((2, 5, 3))),
        ValueError,
        "X has 3 features a step, but SequenceClassifier is expecting 1",
    ),
    "partial stop": (
        lambda: SequenceClassifier(early_stopping=True).partial_fit(X, [0, 1] * 6),
        ValueError,
        "partial_fit does not support early_stopping",
    ),
    "partial classes": (
        lambda: SequenceClassifier(4).partial_fit(X, [0, 1] * 6, classes=[0, 2]),
        ValueError,
        r"y must hold classes among \[0, 2\], got \[1\]",
    ),
    "partial other classes": (
        lambda: classify().partial_fit(X, [0, 1] * 6, classes=[0, 1, 2]),
        ValueError,
        "those of the first call",
    ),
    "rare class": (
        lambda: classify(y=[0] * 11 + [1], early_stopping=True),
        ValueError,
        "least populated class",
    ),
    "no y": (lambda: regress(y=None), ValueError, "requires y to be passed"),
    "y rank": (lambda: regress(y=np.zeros((12, 2, 2))), ValueError, "dim 3"),
    "y nan": (lambda: regress(y=Y * np.nan), ValueError, "y contains NaN"),
    "y outputs": (
        lambda: regress().partial_fit(X, np.zeros((12, 2))),
        ValueError,
        "as many outputs as in the first fit, 1, got 2",
    ),
    "too few": (
        lambda: regress(X[:4], Y[:4], early_stopping=True),
        ValueError,
        "two or more sequences for R\\^2",
    ),
    "window": (lambda: forecast(window=0), ValueError, "window must be at least 1"),
    "horizon": (lambda: forecast(horizon=0), ValueError, "horizon must be at least 1"),
    "strategy": (lambda: forecast(strategy="x"), ValueError, '"direct" or "recursive", got \'x\''),
    "relative": (lambda: forecast(subtract_last="x"), TypeError, "subtract_last must be True"),
    "short": (
        lambda: forecast(wave(12)),
        ValueError,
        "series 0 must have at least 13 steps, for a window of 12 and a horizon of 1, got 12",
    ),
    "a column": (
        lambda: forecast(wave(40)[:, None]),
        ValueError,
        r"series 0 must have at least 13 steps.* Give one series as \(n,\)",
    ),
    "nan series": (lambda: forecast(wave(40) * np.nan), ValueError, "NaN"),
    "y and horizon": (
        lambda: forecast(X, np.zeros((12, 2)), horizon=3),
        ValueError,
        r"y must have shape \(12, 3\).*got \(12, 2\)",
    ),
    "y and features": (
        lambda: forecast(np.zeros((12, 5, 2)), Y),
        ValueError,
        r"y must have shape \(12, 1, 2\)",
    ),
    "short history": (
        lambda: forecast().predict(np.zeros((2, 11))),
        ValueError,
        r"X\[0\] must have at least 12 steps \(window\), got 11",
    ),
    "steps": (lambda: forecast().forecast(0), ValueError, "steps must be at least 1"),
    "other features": (
        lambda: forecast().forecast(1, np.zeros((1, 20, 2))),
        ValueError,
        "X has 2 features a step",
    ),
    "few windows": (
        lambda: forecast(wave(14), early_stopping=True),
        ValueError,
        "early_stopping holds out 1 of 2 windows",
    ),
    "windows": (lambda: make_windows(wave(5), 0), ValueError, "window must be at least 1"),
    "windows real": (lambda: make_windows(wave(5), 1.5), TypeError, "whole number"),
    "windows of nothing": (lambda: make_windows([], 1), ValueError, "minimum of 1"),
    "windows of a number": (lambda: make_windows(3.0, 1), ValueError, "Expected 2D"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()


@pytest.mark.parametrize("make", [classify, regress, forecast])
def test_a_refused_fit_leaves_the_estimator(make):
    estimator = make()
    want = estimator.predict(np.ones((3, 12 if make is forecast else 5)))
    before = estimator.__dict__.copy()
    for X, y in ((np.zeros((12, 3, 2)), [np.nan] * 12), (np.zeros((3, 2)), [0.5])):
        with pytest.raises(ValueError):
            estimator.fit(X, y)
        assert estimator.__dict__ == before
    got = estimator.predict(np.ones((3, 12 if make is forecast else 5)))
    np.testing.assert_array_equal(got, want)


def test_training_that_diverges_leaves_the_estimator():
    regressor = regress()
    before = regressor.predict(X)
    with pytest.raises(bptt.DivergedError, match="training diverged"):
        regressor.set_params(learning_rate_init=1e39, batch_size=2).fit(X, Y)
    np.testing.assert_array_equal(regressor.predict(X), before)
