"""Bad input: an error that says what was given and what is accepted, and nothing changed.

That of layers, parameters, tapes, the environment; for fit see test_bad_fit, test_bad_options.
"""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from refused import fit, model

import bptt


def lstm():
    return bptt.LSTM(2, 3, rng=0)


CONSTRUCTORS = {
    "zero input": (lambda: bptt.LSTM(0, 3), ValueError, "input_size must be at least 1, got 0"),
    "negative hidden": (lambda: bptt.RNN(2, -3), ValueError, "hidden_size must be at least 1"),
    "fractional size": (lambda: bptt.LSTM(2.5, 3), TypeError, "whole number, got 2.5"),
    "text size": (lambda: bptt.LSTM("2", 3), TypeError, "whole number"),
    "bool size": (lambda: bptt.LSTM(True, 3), TypeError, "whole number"),
    "huge": (lambda: bptt.LSTM(2**40, 2**40), ValueError, "fit in memory"),
    "bias": (lambda: bptt.LSTM(2, 3, bias=1), TypeError, "True or False"),
    "dtype": (lambda: bptt.LSTM(2, 3, dtype="float16"), TypeError, "float32 or float64"),
    "dtype nonsense": (lambda: bptt.LSTM(2, 3, dtype="x"), TypeError, "float32 or float64"),
    "rng": (lambda: bptt.LSTM(2, 3, rng="x"), TypeError, "rng must be"),
    "rng negative": (lambda: bptt.LSTM(2, 3, rng=-1), ValueError, "rng must be"),
    "nonlinearity": (lambda: bptt.RNN(2, 3, nonlinearity="x"), ValueError, '"tanh" or "relu"'),
    "linear": (lambda: bptt.Linear(3, 0), ValueError, "out_features must be at least 1"),
    "one hot": (lambda: bptt.OneHot(0), ValueError, "classes must be at least 1"),
    "no layers": (lambda: bptt.Sequential(), ValueError, "at least one layer"),
    "not a layer": (lambda: bptt.Sequential(3), TypeError, "must be a bptt layer"),
    "sizes": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.Linear(4, 1)),
        ValueError,
        "layer 0 gives 3 features, layer 1 takes 4",
    ),
    "one hot late": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.OneHot(3)),
        ValueError,
        "first layer",
    ),
    "dtypes": (
        lambda: bptt.Sequential(bptt.LSTM(2, 3), bptt.Linear(3, 1, dtype="float64")),
        ValueError,
        "the same dtype",
    ),
    "threads": (lambda: bptt.set_num_threads(0), ValueError, "between 1 and 1024"),
    "negative threads": (lambda: bptt.set_num_threads(-1), ValueError, "between 1 and 1024"),
    "beyond words": (lambda: bptt.LSTM(2**64, 3), ValueError, r"input_size must be below 2\*\*62"),
}

CALLS = {
    "rank": (lambda: lstm()(np.zeros((2, 2, 2, 2))), ValueError, r"\(T, B, I\) or \(T, I\)"),
    "scalar": (lambda: lstm()(3.0), ValueError, "must be"),
    "features": (lambda: lstm()(np.zeros((5, 4, 3))), ValueError, "2 features .* got shape"),
    "complex": (lambda: lstm()(np.zeros((5, 4, 2), complex)), TypeError, "complex128"),
    "strings": (lambda: lstm()([["a", "b"]]), TypeError, "real numbers"),
    "objects": (lambda: lstm()(np.zeros((5, 4, 2), object)), TypeError, "object"),
    "ragged": (lambda: lstm()([[1.0, 2.0], [1.0]]), ValueError, "x must be an array"),
    "state alone": (
        lambda: lstm()(np.zeros((5, 4, 2)), np.zeros((1, 4, 3))),
        ValueError,
        r"\(h, c\)",
    ),
    "state count": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 4, 3)),)),
        ValueError,
        "got 1 items",
    ),
    "state shape": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 4, 3)), np.zeros((4, 3)))),
        ValueError,
        r"state c must have shape \(1, 4, 3\), got \(4, 3\)",
    ),
    "state batch": (
        lambda: lstm()(np.zeros((5, 4, 2)), (np.zeros((1, 5, 3)), np.zeros((1, 5, 3)))),
        ValueError,
        "state h must have shape",
    ),
    "dy shape": (
        lambda: (m := lstm()).backward(m.forward(np.zeros((5, 4, 2)))[2], np.zeros((5, 4, 2))),
        ValueError,
        r"shape of y, \(5, 4, 3\), got \(5, 4, 2\)",
    ),
    "no tape": (lambda: lstm().backward(None, np.zeros((5, 4, 3))), TypeError, "come from forward"),
    "another's tape": (
        lambda: lstm().backward(lstm().forward(np.zeros((5, 4, 2)))[2], np.zeros((5, 4, 3))),
        ValueError,
        "another layer",
    ),
    "linear": (lambda: bptt.Linear(3, 2)(np.zeros((5, 2))), ValueError, "3 features"),
    "one hot": (lambda: bptt.OneHot(3)([0, 3]), ValueError, "from 0 to 2, got 3"),
    "one hot reals": (lambda: bptt.OneHot(3)([0.0]), TypeError, "integer dtype"),
}

STATE_DICTS = {
    "missing": (lambda d: d.pop("bias_ih_l0"), ValueError, r"missing \['bias_ih_l0'\]"),
    "unknown": (lambda d: d.update(extra=0), ValueError, r"unknown \['extra'\]"),
    "shape": (
        lambda d: d.update(bias_hh_l0=np.zeros(3)),
        ValueError,
        r"bias_hh_l0 must have shape \(12,\), got \(3,\)",
    ),
    "dtype": (lambda d: d.update(bias_hh_l0=np.zeros(12, complex)), TypeError, "complex128"),
}


@pytest.mark.parametrize(
    "case", [*CONSTRUCTORS.values(), *CALLS.values()], ids=[*CONSTRUCTORS, *CALLS]
)
def test_constructors_and_calls(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()


@pytest.mark.parametrize("case", STATE_DICTS.values(), ids=STATE_DICTS)
def test_state_dicts(case):
    spoil, error, message = case
    layer = lstm()
    given = {name: array + 1 for name, array in layer.state_dict().items()}
    spoil(given)
    with pytest.raises(error, match=message):
        layer.load_state_dict(given)
    for name, array in lstm().parameters.items():
        np.testing.assert_array_equal(layer.parameters[name], array)


def test_a_state_dict_that_is_no_mapping():
    with pytest.raises(TypeError, match="must map names to arrays"):
        lstm().load_state_dict([1, 2])


def test_a_tape_serves_once():
    layer = lstm()
    y, _, tape = layer.forward(np.zeros((5, 4, 2)))
    layer.backward(tape, y)
    with pytest.raises(ValueError, match="used up"):
        layer.backward(tape, y)


def test_a_refused_backward_leaves_the_tape():
    layer = lstm()
    y, _, tape = layer.forward(np.zeros((5, 4, 2)))
    with pytest.raises(ValueError, match="shape of y"):
        layer.backward(tape, y[:-1])
    layer.backward(tape, y)


def test_a_tape_whose_input_was_reshaped():
    layer, x = lstm(), np.zeros((5, 4, 2), np.float32)
    y, _, tape = layer.forward(x)
    x.shape = (5, 8)
    assert layer.backward(tape, y)[0].shape == (5, 4, 2)


def test_read_only_parameters():
    m = model()
    m.layers[0]._flat.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        fit(m)


def test_a_step_that_overflows_is_not_kept():
    m = bptt.Sequential(bptt.Linear(2, 1, rng=0))
    before = m.state_dict()
    with pytest.raises(bptt.DivergedError, match="epoch 1"):
        fit(m, np.ones((2, 3, 2)), np.ones((2, 3, 1)), optimizer=bptt.SGD(3e39))
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_layer_in_use_while_a_model_is_trained():
    layer = bptt.RNN(1, 8, rng=0)
    m = bptt.Sequential(layer, bptt.Linear(8, 1, rng=0))
    long = np.zeros((1_000_000, 1, 1), np.float32)
    thread = threading.Thread(target=layer, args=(long,))
    thread.start()
    try:
        fit(m, np.ones((1, 3, 1)), np.ones((1, 3, 1)))
    except RuntimeError as error:  # if the thread was fast, there is none
        assert "in use by another thread" in str(error)
    thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory with setrlimit")
def test_what_does_not_fit_in_memory():
    code = """
import resource, numpy as np, bptt
works = [
    lambda: bptt.LSTM(1, 1).forward(np.zeros((2**26, 1, 1), np.float32)),
    lambda: bptt.Linear(1, 2**16, bias=False)(np.zeros((2**24, 1), np.float32)),
    lambda: bptt.Sequential(bptt.OneHot(2**40)).predict([[0]]),
    lambda: bptt.Sequential(bptt.OneHot(2**61)).predict([[0]]),
]
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
for work in works:
    try:
        work()
    except MemoryError:
        print("MemoryError")
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "BPTT_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "MemoryError\n" * 4), run.stderr


def test_a_layer_only_once_in_a_model():
    layer = bptt.LSTM(3, 3)
    with pytest.raises(ValueError, match="only once"):
        bptt.Sequential(layer, layer)


@pytest.mark.parametrize(
    ("name", "value"),
    [("BPTT_SIMD", "sse9"), ("BPTT_NUM_THREADS", "none"), ("BPTT_NUM_THREADS", "0")],
)
def test_environment(name, value):
    code = "import bptt, numpy; bptt.get_num_threads(); bptt.LSTM(2, 3)(numpy.zeros((5, 4, 2)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert f"ValueError: {name} is" in run.stderr


STATES = {
    "none": (None, TypeError),
    "number": (3, TypeError),
    "array": (np.zeros(3), TypeError),
    "list": ([("dtype", 3)], TypeError),
    "empty": ({}, ValueError),
    "no parameters": (lambda state: {**state, "flat": None}, ValueError),
    "short": (lambda state: {**state, "flat": state["flat"][1:]}, ValueError),
    "another dtype": (lambda state: {**state, "flat": state["flat"].astype("f8")}, ValueError),
    "another shape": (lambda state: {**state, "flat": state["flat"][None]}, ValueError),
    "objects": (lambda state: {**state, "flat": state["flat"].astype(object)}, ValueError),
    "another size": (lambda state: {**state, "in_features": 9, "input_size": 9}, ValueError),
    "a size of text": (lambda state: {**state, "in_features": "3", "input_size": "3"}, TypeError),
    "no generator": (lambda state: {**state, "_rng": 3}, TypeError),
}


@pytest.mark.parametrize(("change", "error"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("make", [lstm, lambda: bptt.GRU(2, 3), lambda: bptt.Linear(2, 3)])
def test_what_is_no_pickled_state(make, change, error):
    layer = make()
    if "_rng" not in vars(layer) and error is TypeError and callable(change):
        layer._rng = np.random.default_rng(0)
    before = layer.state_dict()
    state = change(layer.__getstate__()) if callable(change) else change
    with pytest.raises(error, match=f"this is no pickled state of {type(layer).__name__}"):
        layer.__setstate__(state)
    for name, array in layer.state_dict().items():
        assert array.tobytes() == before[name].tobytes()
    layer(np.ones((4, 2)))
