"""Estimators take their data in every layout, with the same bits, and leave them."""

import numpy as np
import pytest
from layouts import REFUSED, bits, layouts, memory

from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor, make_windows

RNG = np.random.default_rng(0)
SETTINGS = {"hidden_size": 3, "max_iter": 2, "batch_size": 4, "random_state": 0}
# Multiples of 1/8: the same in all dtypes of floats.
X, SERIES = RNG.integers(-16, 17, (8, 4, 2)) / 8, RNG.integers(-16, 17, 30) / 8
TABLE = RNG.integers(-16, 17, (3, 30)) / 8
CLASSES, VALUES = np.arange(8) % 2, RNG.integers(-16, 17, 8) / 8
TWO = RNG.integers(-16, 17, (8, 2)) / 8

classifier = SequenceClassifier(**SETTINGS).fit(X, CLASSES)
regressor = SequenceRegressor(**SETTINGS).fit(X, VALUES)


def forecaster(**more):
    return SequenceForecaster(window=4, horizon=2, **SETTINGS, **more)


known = forecaster().fit(SERIES)


def learnt(estimator, *data):
    return estimator.fit(*data).loss_curve_


#: What scikit-learn's own conversion does not take.
NOT_TAKEN = {"DLPack", "matrix", "memoryview", "strided memoryview"}

#: An array, and what is done with it.
ENTRIES = {
    "classifier.fit(X)": (X, lambda v: learnt(SequenceClassifier(**SETTINGS), v, CLASSES)),
    "classifier.fit(y)": (CLASSES, lambda v: learnt(SequenceClassifier(**SETTINGS), X, v)),
    "classifier.predict": (X, classifier.predict),
    "classifier.predict_proba": (X, classifier.predict_proba),
    "classifier.score(X)": (X, lambda v: classifier.score(v, CLASSES)),
    "regressor.fit(X)": (X, lambda v: learnt(SequenceRegressor(**SETTINGS), v, VALUES)),
    "regressor.fit(y)": (VALUES, lambda v: learnt(SequenceRegressor(**SETTINGS), X, v)),
    "regressor.fit(y of two)": (TWO, lambda v: learnt(SequenceRegressor(**SETTINGS), X, v)),
    "regressor.predict": (X, regressor.predict),
    "regressor.score(y)": (VALUES, lambda v: regressor.score(X, v)),
    "forecaster.fit": (SERIES, lambda v: learnt(forecaster(), v)),
    "forecaster.fit(table)": (TABLE, lambda v: learnt(forecaster(), v)),
    "forecaster.predict": (SERIES[:4].copy(), known.predict),
    "forecaster.forecast": (SERIES, lambda v: known.forecast(3, v)),
    "forecaster.score": (SERIES, known.score),
    "make_windows": (SERIES, lambda v: make_windows(v, 4, 2)),
}


@pytest.mark.parametrize(("array", "call"), ENTRIES.values(), ids=ENTRIES)
def test_every_layout_gives_the_same_bits(array, call, tmp_path):
    for name, value, plain in layouts(array, tmp_path):
        try:
            want, refused = call(plain), None
        except (TypeError, ValueError) as error:  # such as a single class
            want, refused = None, error
        before = memory(value)
        try:
            got = call(value)
        except (TypeError, ValueError) as error:
            assert refused is not None or name in NOT_TAKEN, f"{name}: {error!r}"
            continue
        assert refused is None, name
        assert bits(got) == bits(want), name
        assert memory(value) == before, f"{name}: written"


@pytest.mark.parametrize("what", ["complex", "masked"])  # scikit-learn converts the others
@pytest.mark.parametrize("entry", [name for name in ENTRIES if "y" not in name])
def test_what_is_refused_says_so(entry, what):
    array, call = ENTRIES[entry]
    with pytest.raises((TypeError, ValueError)):
        call(REFUSED[what](array))
