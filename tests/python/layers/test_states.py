"""States of an RNN or GRU: h alone or (h,) goes in, (h,) comes out."""

import numpy as np
import pytest

import bptt

LAYERS = [bptt.GRU(3, 5, num_layers=2, rng=0), bptt.RNN(3, 5, num_layers=2, rng=0)]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("batched", [True, False])
def test_h_alone_is_a_state(layer, batched):
    rng = np.random.default_rng(0)
    rows = (4,) if batched else ()
    x = rng.standard_normal((6, *rows, 3), np.float32)
    h = rng.standard_normal((2, *rows, 5), np.float32)
    results = []
    for state in (h, (h,), [h]):
        y, final = layer(x, state)
        y_again, final_again, tape = layer.forward(x, state)
        dx, initial, grads = layer.backward(tape, np.ones_like(y), state)
        assert all(isinstance(out, tuple) for out in (final, final_again, initial))
        assert len(final) == len(initial) == 1
        arrays = [y, *final, y_again, dx, *initial, *grads.values()]
        results.append([array.tobytes() for array in arrays])
    assert results[0] == results[1] == results[2]
    assert layer(x)[0].tobytes() != layer(x, h)[0].tobytes()


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("in_model", [False, True], ids=["layer", "model"])
def test_h_alone_is_a_steppers_state(layer, in_model):
    whole = bptt.Sequential(layer, bptt.Linear(5, 2, rng=0)) if in_model else layer
    h = np.random.default_rng(0).standard_normal((2, 1, 5), np.float32)
    x = np.ones((1, 3), np.float32)
    outputs = []
    for state in (h, (h,), ((h,),)):
        stepper = whole.stepper()
        stepper.state = state
        assert isinstance(stepper.state, tuple) and isinstance(stepper.state[0], tuple)
        assert stepper.state[0][0].tobytes() == h.tobytes()
        outputs.append(stepper.step(x).tobytes())
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0] != whole.stepper().step(x).tobytes()


def test_what_is_no_steppers_state():
    h = np.zeros((1, 1, 5), np.float32)
    gru, lstm = bptt.GRU(3, 5, rng=0), bptt.LSTM(3, 5, rng=0)
    two = bptt.Sequential(bptt.GRU(3, 5, rng=0), bptt.GRU(5, 5, rng=0))
    for whole, state, message in (
        (gru, h[0], r"a state of GRU\(3, 5\) must have shape \(1, 1, 5\), got \(1, 5\)"),
        (gru, (h, h), r"for each recurrent layer \(1\), got 2 items"),
        (gru, 3, r"for each recurrent layer \(1\), got int"),
        (lstm, h, r"the state of LSTM\(3, 5\) must be a tuple \(h, c\), got ndarray"),
        (two, h, r"for each recurrent layer \(2\), got ndarray"),
    ):
        stepper = whole.stepper()
        stepper.step(np.ones((1, 3), np.float32))
        before = [part.tobytes() for state_of in stepper.state for part in state_of]
        with pytest.raises(ValueError, match=message):
            stepper.state = state
        assert before == [part.tobytes() for state_of in stepper.state for part in state_of]


def test_what_is_no_state():
    x, h = np.ones((6, 4, 3)), np.zeros((1, 4, 5))
    with pytest.raises(ValueError, match=r"state must be h or a tuple \(h,\), got 2 items"):
        bptt.GRU(3, 5)(x, (h, h))
    with pytest.raises(ValueError, match=r"state must be h or a tuple \(h,\), got int"):
        bptt.GRU(3, 5)(x, 3)
    with pytest.raises(ValueError, match=r"state h must have shape \(1, 4, 5\), got \(4, 5\)"):
        bptt.GRU(3, 5)(x, h[0])
    with pytest.raises(ValueError, match=r"state must be a tuple \(h, c\), got ndarray"):
        bptt.LSTM(3, 5)(x, h)
