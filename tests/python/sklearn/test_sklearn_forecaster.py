"""The forecaster: windows, strategies, what early stopping holds out."""

import numpy as np
import pytest
from estimating import fitted, wave
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from bptt.sklearn import SequenceForecaster, make_windows

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_a_wave_goes_on(strategy):
    forecaster = SequenceForecaster(
        15, 6, strategy=strategy, hidden_size=16, learning_rate_init=0.01, tol=0, random_state=0
    ).fit(wave())
    forecast = forecaster.forecast()
    assert forecast.shape == (6,)
    np.testing.assert_allclose(forecast, wave(6, 200), atol=1.0)
    np.testing.assert_allclose(forecaster.forecast(20), wave(20, 200), atol=2.0)
    np.testing.assert_array_equal(forecaster.forecast(4), forecaster.forecast(20)[:4])
    np.testing.assert_array_equal(forecaster.forecast(6, wave()), forecast)
    np.testing.assert_array_equal(forecaster.predict([wave()]), forecast[None])
    np.testing.assert_array_equal(forecaster.predict(wave()[None, -15:]), forecast[None])
    assert forecaster.score(wave(100, 7)) > 0.98


def test_windows_are_what_series_are_cut_into():
    series, settings = wave(60), {"hidden_size": 8, "max_iter": 3, "random_state": 0}
    X, y = make_windows(series, 10, 3)
    assert (X.shape, y.shape) == ((48, 10), (48, 3))
    np.testing.assert_array_equal(X[5], series[5:15])
    np.testing.assert_array_equal(y[5], series[15:18])
    a = SequenceForecaster(10, 3, **settings).fit(series)
    b = SequenceForecaster(99, 3, **settings).fit(X, y)
    assert a.loss_curve_ == b.loss_curve_
    assert a.score(series) == b.score(X, y)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    np.testing.assert_array_equal(a.forecast(5), b.forecast(5, series))
    with pytest.raises(ValueError, match="fitted with windows"):
        b.forecast()
    search = GridSearchCV(
        SequenceForecaster(10, 3, **settings), {"cell": ["gru", "rnn"]}, cv=TimeSeriesSplit(2)
    ).fit(X, y)
    assert search.best_score_ > -10


def test_several_series_of_several_features():
    series = [np.stack([wave(n), 1e-3 * wave(n, 9)], axis=1) for n in (50, 70)]
    forecaster = fitted(SequenceForecaster(8, 4), series)
    assert forecaster.n_features_in_ == 2
    assert forecaster.forecast().shape == (2, 4, 2)
    assert forecaster.forecast(9, series[0][None]).shape == (1, 9, 2)
    assert forecaster.predict(np.zeros((3, 8, 2))).shape == (3, 4, 2)
    assert 0.02 < forecaster.forecast()[0, :, 1].mean() < 0.08  # in units of the feature
    X, y = make_windows(series, 8, 4)
    assert (X.shape, y.shape) == ((39 + 59, 8, 2), (39 + 59, 4, 2))
    assert fitted(SequenceForecaster(8, 4), X, y).loss_curve_ == forecaster.loss_curve_


def test_subtracting_the_last_value_makes_levels_irrelevant():
    forecaster = fitted(SequenceForecaster(8, 3, subtract_last=True), wave(60))
    window = wave(8)[None]
    np.testing.assert_allclose(
        forecaster.predict(window + 1000), forecaster.predict(window) + 1000, rtol=1e-6
    )
    trend = 3.0 * np.arange(100)
    settings = {"hidden_size": 8, "max_iter": 5, "random_state": 0}
    grown = SequenceForecaster(8, 3, subtract_last=True, **settings).fit(trend).forecast(30)
    np.testing.assert_allclose(grown, 3.0 * np.arange(100, 130), atol=0.5)


def test_what_early_stopping_holds_out_is_the_end_and_nothing_reaches_into_it():
    forecaster = SequenceForecaster(4, 3, validation_fraction=0.2)
    forecaster._counts, forecaster._block = [10, 20], 3
    train, held_out = forecaster._hold_out(np.zeros(30), 0)
    assert held_out.tolist() == [8, 9, 26, 27, 28, 29]
    assert train.tolist() == [*range(6), *range(10, 24)]
    forecaster = SequenceForecaster(
        8, 3, hidden_size=8, early_stopping=True, max_iter=30, random_state=0
    ).fit(wave(100))
    assert forecaster.best_validation_score_ == max(forecaster.validation_scores_)


def test_a_horizon_that_changed_after_fit():
    forecaster = fitted(SequenceForecaster(8, 4), wave(60))
    want = forecaster.forecast(6)
    forecaster.set_params(horizon=6)
    np.testing.assert_array_equal(forecaster.predict(wave(60)[None]), want[None])
    with pytest.raises(ValueError, match="predicts 4 steps at once, not 6"):
        forecaster.partial_fit(wave(60))
    np.testing.assert_array_equal(forecaster.forecast(), want)


def test_a_step_of_one_feature_is_a_number():
    forecaster = fitted(SequenceForecaster(5), wave(40))
    assert forecaster.predict(np.zeros((3, 5))).shape == (3,)
    assert forecaster.forecast().shape == (1,)
    assert make_windows(wave(40), 5)[1].shape == (35,)
    forecaster.partial_fit(wave(40))
    assert len(forecaster.loss_curve_) == 4
