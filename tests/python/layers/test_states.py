"""States of an RNN or GRU: h alone or (h,) go in, (h,) comes out."""

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
def test_h_alone_is_a_steppers_state(layer):
    h = np.random.default_rng(0).standard_normal((2, 1, 5), np.float32)
    ours, theirs = layer.stepper(), layer.stepper()
    ours.state, theirs.state = (h,), ((h,),)
    x = np.ones((1, 3), np.float32)
    assert ours.step(x).tobytes() == theirs.step(x).tobytes()
    assert ours.state[0][0].shape == h.shape


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
