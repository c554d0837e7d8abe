"""Options and attributes with names of scikit-learn's: what MLPClassifier and MLPRegressor do."""

import contextlib
import io
import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

import bptt
from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor

X = np.random.default_rng(0).standard_normal((60, 8))
Y = X.sum(axis=1)
ATTRIBUTES = [
    "loss_curve_",
    "loss_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "n_iter_",
    "n_features_in_",
]
STALE = {"tol": 1e9, "n_iter_no_change": 3, "max_iter": 30}
CASES = {
    "fit": ({}, ["fit"]),
    "warm start": ({"warm_start": True}, ["fit", "fit", "fit"]),
    "partial": ({}, ["partial_fit"] * 3),
    "fit and partial": ({}, ["fit", "partial_fit", "partial_fit"]),
    "partial and fit": ({"warm_start": True}, ["partial_fit", "fit"]),
    "partial and fit anew": ({}, ["partial_fit", "fit"]),
    "stale": (STALE, ["fit"]),
    "stale, warm start": (STALE | {"warm_start": True}, ["fit", "fit"]),
    "stale, partial": (STALE, ["partial_fit"] * 7),
    "stale, partial and fit": (STALE | {"warm_start": True}, ["partial_fit"] * 3 + ["fit"]),
    "never stale": (STALE | {"n_iter_no_change": np.inf, "max_iter": 8}, ["fit"]),
    "one": ({"max_iter": 1}, ["fit", "fit"]),
}


def told(estimator, y, calls):
    """Run the calls; return the warnings, the last lines that are printed, and the attributes."""
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        for call in calls:
            classes = call == "partial_fit" and y.dtype.kind == "i"
            getattr(estimator, call)(X, y, **({"classes": [0, 1]} if classes else {}))
    values = {}
    for name in ATTRIBUTES:
        value = getattr(estimator, name)
        values[name] = len(value) if isinstance(value, list) else value
        if isinstance(value, float):  # of another model
            values[name] = "number"
    lines = [line.split("=")[0].split(": ")[0] for line in printed.getvalue().splitlines()]
    return [w.category for w in caught], lines, values


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    ("original", "ours", "y"),
    [
        (MLPRegressor, SequenceRegressor, Y),
        (MLPClassifier, SequenceClassifier, (Y > 0).astype(int)),
    ],
    ids=["regressor", "classifier"],
)
def test_attributes_are_those_of_the_original(original, ours, y, case, early_stopping):
    options, calls = case
    options = {"max_iter": 3, "tol": 0, "early_stopping": early_stopping, "verbose": True} | options
    if early_stopping and "partial_fit" in calls:
        with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
            told(ours(4, random_state=0, **options), y, calls)
        return
    # With a tiny learning rate no score improves by chance in only one of them.
    want = told(original(learning_rate_init=1e-9, random_state=0, **options), y, calls)
    assert (
        told(ours(4, learning_rate_init=1e-9, shuffle=False, random_state=0, **options), y, calls)
        == want
    )


def fitted_warm(estimator):
    estimator.set_params(warm_start=True, max_iter=3, tol=0, random_state=0, batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = (Y > 0).astype(int) if isinstance(estimator, SequenceClassifier) else Y
        return (
            estimator.fit(Y) if isinstance(estimator, SequenceForecaster) else estimator.fit(X, y)
        ), y


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize("make", [SequenceClassifier, SequenceRegressor, SequenceForecaster])
def test_training_that_fails_leaves_an_estimator_that_goes_on(
    make, call, early_stopping, monkeypatch
):
    """Errors after some passes of a second fit: parameters, curves and generators are as before."""
    estimator, y = fitted_warm(make(hidden_size=4))
    twin, _ = fitted_warm(make(hidden_size=4))
    if call == "fit":
        estimator.set_params(early_stopping=early_stopping, validation_fraction=0.3)
    data = (Y,) if make is SequenceForecaster else (X, y)
    fit = bptt.Sequential.fit

    def fails(self, *args, **settings):
        fit(self, *args, **settings)
        raise MemoryError

    monkeypatch.setattr(bptt.Sequential, "fit", fails)
    with pytest.raises(MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(estimator, call)(*data)
    monkeypatch.undo()
    estimator.set_params(early_stopping=False)
    for one in (estimator, twin):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.partial_fit(*data)
    assert estimator.loss_curve_ == twin.loss_curve_
    assert len(estimator.loss_curve_) == 4
    windows = np.ones((2, 12)) if make is SequenceForecaster else X[:5]
    np.testing.assert_array_equal(estimator.predict(windows), twin.predict(windows))
