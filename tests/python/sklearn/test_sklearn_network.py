"""`network_`, the model inside a fitted estimator, and its input."""

import pickle

import numpy as np
import pandas as pd
import pytest

import bptt
from bptt.sklearn import SequenceClassifier, SequenceForecaster, SequenceRegressor

RNG = np.random.default_rng(0)
RAGGED = [5 + 3 * RNG.standard_normal((length, 2)) for length in (4, 9, 6, 7, 5, 8)]
TABLE = 100 * RNG.standard_normal((6, 12))
OPTIONS = {"hidden_size": 5, "max_iter": 2, "cell": "gru", "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")


@pytest.mark.parametrize("X", [RAGGED, TABLE], ids=["ragged", "table"])
def test_a_classifiers_network_has_its_logits(X, tmp_path):
    classifier = SequenceClassifier(**OPTIONS).fit(X, list("aabbcc"))
    network, given = classifier.network_, classifier.network_input(X)
    assert isinstance(network, bptt.Sequential)
    logits = np.array(network.predict(given, progress=False))
    assert (classifier.classes_[logits.argmax(axis=1)] == classifier.predict(X)).all()

    network.save(tmp_path / "network.safetensors")
    loaded = bptt.load(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(np.array(loaded.predict(given, progress=False)), logits)

    stepper = network.stepper()
    last = [stepper.step(step) for step in given[0]][-1]
    np.testing.assert_allclose(last[0], logits[0], rtol=1e-5, atol=1e-6)

    _, _, gates = network.layers[0](given[0], return_gates=True)
    assert gates["r_l0"].shape == (len(given[0]), 5)
    assert bptt.plot.gates(gates, units=3).axes
    assert bptt.plot.compare({"GRU": network.history}).axes
    assert bptt.plot.weights(network, network.history).axes


def test_a_regressors_network_is_that_of_its_last_fit():
    regressor = SequenceRegressor(**OPTIONS).fit(TABLE, TABLE.sum(axis=1))
    first = regressor.network_
    assert regressor.fit(TABLE, TABLE.sum(axis=1)).network_ is not first
    outputs = regressor.network_.predict(regressor.network_input(TABLE), progress=False)
    predictions = regressor.predict(TABLE)
    slope, offset = np.polyfit(outputs[:, 0].astype(float), predictions, 1)
    np.testing.assert_allclose(slope * outputs[:, 0] + offset, predictions, rtol=1e-4, atol=1e-3)
    copied = pickle.loads(pickle.dumps(regressor))
    again = copied.network_.predict(copied.network_input(TABLE), progress=False)
    np.testing.assert_array_equal(again, outputs)


@pytest.mark.parametrize("subtract_last", [False, True])
def test_a_forecasters_network_takes_the_last_window(subtract_last):
    series = 20 + np.sin(0.5 * np.arange(60))
    dated = pd.Series(series, pd.date_range("2024-01-01", periods=60))
    forecaster = SequenceForecaster(8, 3, subtract_last=subtract_last, **OPTIONS).fit(dated)
    given = forecaster.network_input(dated)
    assert given.shape == (1, 8, 1) and given.dtype == np.float32
    np.testing.assert_array_equal(forecaster.network_input([series]), given)
    if subtract_last:
        last = forecaster.network_input([np.full(8, 7.0)])
        np.testing.assert_array_equal(last, np.broadcast_to(last[:, -1:], last.shape))
    outputs = np.array(forecaster.network_.predict(given, progress=False))
    assert outputs.shape == (1, 3)


def test_no_network_before_fit():
    for kind in (SequenceClassifier, SequenceRegressor, SequenceForecaster):
        assert not hasattr(kind(), "network_")
        with pytest.raises(ValueError, match="not fitted yet"):
            kind().network_input(TABLE)
        assert "network_ : bptt.Sequential" in kind.__doc__
