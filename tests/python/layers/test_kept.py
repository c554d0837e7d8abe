"""Layers keep packed weights from call to call, and see every write to the parameters."""

import copy
import pickle
import threading

import numpy as np
import pytest

import bptt


@pytest.fixture
def layer():
    layer = bptt.LSTM(3, 5, rng=0)
    layer(np.ones((4, 2, 3), np.float32))  # now the weights are kept
    assert layer._arrays.version() == layer._arrays.version()
    return layer


def fresh(layer, x):
    """Return what a layer gives that was never called before."""
    twin = bptt.LSTM(3, 5)
    twin.load_state_dict(layer.state_dict())
    return twin(x)[0]


X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)


def write_parameter(layer):
    layer.parameters["weight_hh_l0"][2, 1] += 1


def load(layer):
    layer.load_state_dict({name: array + 1 for name, array in layer.state_dict().items()})


def fit(layer):
    model = bptt.Sequential(layer, bptt.Linear(5, 1, rng=0))
    x, y = np.ones((6, 4, 3), np.float32), np.ones((6, 4, 1), np.float32)
    model.fit(x, y, loss="mse", optimizer=bptt.SGD(0.1))


@pytest.mark.parametrize("write", [write_parameter, load, fit])
def test_what_is_written_is_seen(layer, write):
    before = layer(X)[0]
    write(layer)
    assert not np.array_equal(layer(X)[0], before)
    assert np.array_equal(layer(X)[0], fresh(layer, X))


@pytest.mark.parametrize(
    "get",
    [
        lambda layer: layer.parameters["bias_ih_l0"],
        lambda layer: layer.parameters["weight_ih_l0"][1:, :2],
        lambda layer: layer.parameters["weight_ih_l0"].base,
        lambda layer: np.frombuffer(memoryview(layer.parameters["bias_hh_l0"]), np.float32),
        lambda layer: copy.copy(layer).parameters["bias_ih_l0"],
    ],
    ids=["array", "view", "all", "buffer", "copy"],
)
def test_arrays_that_somebody_has_may_be_written_at_any_time(layer, get):
    array = get(layer)
    for _ in range(3):
        layer(X)
        array += 0.5
        assert np.array_equal(layer(X)[0], fresh(layer, X))


def test_the_mapping_of_parameters_is_as_good_as_the_arrays(layer):
    parameters = layer.parameters
    for _ in range(3):
        layer(X)
        parameters["bias_ih_l0"][:] += 0.5
        assert np.array_equal(layer(X)[0], fresh(layer, X))


@pytest.mark.parametrize("protocol", [4, 5])
def test_an_unpickled_layer_sees_writes_too(layer, protocol):
    # Its arrays may be views of a buffer, whose references are others.
    twin = pickle.loads(pickle.dumps(layer, protocol))
    bias = twin.parameters["bias_ih_l0"][1:]
    for _ in range(3):
        twin(X)
        bias += 0.5
        assert np.array_equal(twin(X)[0], fresh(twin, X))


def test_weights_are_not_compared_while_nobody_has_them(layer):
    version = layer._arrays.version()
    layer(X)
    assert layer._arrays.version() == version
    array = layer.parameters["bias_ih_l0"]
    assert layer._arrays.version() != layer._arrays.version()
    del array
    layer(X)
    assert layer._arrays.version() == layer._arrays.version()


def test_threads_that_call_and_write_see_each_others_writes(layer):
    """After every write, a call in the thread that wrote gives what the new weights give."""
    wrong, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            layer(X)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for n in range(200):
            layer.parameters["bias_ih_l0"][:] = n / 100
            if not np.array_equal(layer(X)[0], fresh(layer, X)):
                wrong.append(n)
    finally:
        stop.set()
        caller.join()
    assert not wrong
