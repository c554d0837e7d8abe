"""Series and targets of any size: the estimators scale them, or say that they cannot."""

import warnings

import numpy as np
import pytest
from estimating import fitted, wave

from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations", "error:overflow|invalid")

SIZES = [1e-310, 1e-300, 1e-200, 1e-38, 1e-6, 1e6, 1e38, 1e200, 1e300]
WAYS = [{}, {"strategy": "recursive"}, {"subtract_last": True}, {"early_stopping": True}]
UNIT = np.sin(0.5 * np.arange(80))


def forecaster(X, y=None, **settings):
    return fitted(SequenceForecaster(8, 3, **settings), X, y)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0.0, 5e-324, *SIZES, 0.1, 5.0, -3.0, 1.7e308])
def test_a_constant_series_goes_on(size, way):
    series = np.full(60, size)
    fit = forecaster(series, **way)
    np.testing.assert_array_equal(fit.forecast(7), np.full(7, size))
    np.testing.assert_array_equal(fit.forecast(7, series[:20]), np.full(7, size))
    if "early_stopping" not in way:
        np.testing.assert_array_equal(fit.partial_fit(series).forecast(), np.full(3, size))
    np.testing.assert_array_equal(
        forecaster([series[:, None] * [1, 1]], **way).forecast()[0, :, 1], size
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
def test_the_unit_does_not_matter(size, way):
    one, other = forecaster(UNIT, **way), forecaster(size * UNIT, **way)
    np.testing.assert_allclose(other.forecast(9), size * one.forecast(9), rtol=1e-5)
    np.testing.assert_allclose(other.score(size * UNIT), one.score(UNIT), rtol=1e-5)
    if "early_stopping" in way:
        np.testing.assert_allclose(other.validation_scores_, one.validation_scores_, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_units_of_features_and_targets_do_not_matter(size):
    X = np.random.default_rng(0).standard_normal((40, 6, 2))
    y = np.stack([X.sum(axis=(1, 2)), X[:, 0, 0]], axis=1)
    one, other = (
        fitted(SequenceRegressor(), X, y),
        fitted(SequenceRegressor(), X * [size, 1], y * [1, size]),
    )
    np.testing.assert_allclose(
        other.predict(X * [size, 1]), one.predict(X) * [1, size], rtol=1e-4, atol=1e-5 * size
    )
    score = other.score(X * [size, 1], y * [1, size])
    np.testing.assert_allclose(score, one.score(X, y), rtol=1e-4)
    labels = y[:, 0] > 0
    want = fitted(SequenceClassifier(), X, labels).predict_proba(X)
    got = fitted(SequenceClassifier(), X * [size, 1], labels).predict_proba(X * [size, 1])
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_constant_target_learns_from_later_data():
    X = np.random.default_rng(0).standard_normal((64, 6))
    y = X.sum(axis=1)
    regressor = SequenceRegressor(8, learning_rate_init=0.02, random_state=0)
    regressor.partial_fit(X, np.full(64, 2.0))
    np.testing.assert_array_equal(regressor.predict(X), 2.0)
    for _ in range(60):
        regressor.partial_fit(X, 2.0 + y)
    assert regressor.score(X, 2.0 + y) > 0.8
    # One of two outputs.
    two = fitted(SequenceRegressor(max_iter=5), X, np.stack([y, np.full(64, 1e-6)], axis=1))
    np.testing.assert_array_equal(two.predict(X)[:, 1], 1e-6)
    assert np.ptp(two.predict(X)[:, 0]) > 0


MIXED = [wave(60), 1e6 * wave(60, 3), 1e-6 * wave(60, 5), np.full(60, 7.0), 1e200 * wave(60, 8)]


@pytest.mark.parametrize("way", [{}, {"strategy": "recursive"}, {"subtract_last": True}])
def test_series_that_differ_by_orders_of_magnitude(way):
    settings = {
        "hidden_size": 16,
        "learning_rate_init": 0.01,
        "max_iter": 150,
        "tol": 0,
        "random_state": 0,
    }
    fit = SequenceForecaster(8, 3, **settings, **way).fit(MIXED)
    got = fit.forecast()
    for forecast, size, start in zip(got, (1, 1e6, 1e-6, None, 1e200), (60, 63, 65, None, 68)):
        if size is None:
            np.testing.assert_array_equal(forecast, 7.0)
        else:
            np.testing.assert_allclose(forecast, size * wave(3, start), rtol=0.05)
    assert fit.score(MIXED) > 0.95
    np.testing.assert_array_equal(fit.predict(MIXED), got)
    np.testing.assert_array_equal(fit.forecast(3, [MIXED[2]])[0], got[2])
    np.testing.assert_array_equal(fit.forecast(3, MIXED[2]), got[2])
    windows = np.stack([series[-11:-3] for series in MIXED])
    assert fit.score(windows, np.stack([series[-3:] for series in MIXED])) > 0.5


def test_ordinary_series_share_a_scale():
    series = [wave(60), 100 + 20 * wave(60, 3)]
    assert not forecaster(series)._apart
    assert forecaster([wave(60), 1e4 * wave(60, 3)])._apart
    assert not forecaster([wave(60), 1e4 * wave(60, 3)], scale=False)._apart
    again = forecaster(MIXED)
    assert forecaster(series).loss_curve_ == again.fit(series).loss_curve_  # nothing is left of it


@pytest.mark.parametrize("size", [1e4, 1e9, 1e38, 1e300, -1e9])
def test_a_series_to_continue_that_is_far_from_the_training_data(size):
    fit = SequenceForecaster(8, 3, hidden_size=16, learning_rate_init=0.01, random_state=0).fit(
        wave()
    )
    got = fit.forecast(3, size * wave(60))
    np.testing.assert_allclose(got, size * wave(3, 60), rtol=0.05)
    np.testing.assert_array_equal(fit.predict([wave(60), size * wave(60)])[1], got)
    np.testing.assert_array_equal(
        fit.predict([wave(60), size * wave(60)])[0], fit.forecast(3, wave(60))
    )
    np.testing.assert_array_equal(fit.forecast(2, np.full(30, size)), size)


def test_data_that_are_far_from_the_training_data_are_told():
    X = np.random.default_rng(0).standard_normal((40, 6))
    for estimator in (
        fitted(SequenceRegressor(), X, X[:, 0]),
        fitted(SequenceClassifier(), X, X[:, 0] > 0),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            estimator.predict(100 * X)
        with pytest.warns(UserWarning, match=r"X is up to .* standard deviations away"):
            assert np.isfinite(estimator.predict(1e6 * X).astype(float)).all()
        with pytest.raises(
            ValueError, match=r"X holds .*e\+60, which is too large for the float32"
        ):
            estimator.predict(1e60 * X)
        with pytest.raises(ValueError, match=r"X holds .*, which is too large for the float32"):
            estimator.predict([*X[:5], 1e60 * X[5]])
    with pytest.raises(ValueError, match=r"X holds .*, which is too large for the float32"):
        fitted(SequenceRegressor(scale=False), 1e60 * X, X[:, 0])
    with pytest.raises(ValueError, match=r"y holds .*, which is too large for the float32"):
        fitted(SequenceRegressor(scale=False), X, 1e60 * X[:, 0])
