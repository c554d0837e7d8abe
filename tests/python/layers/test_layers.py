"""Layers: names, shapes, layouts, copies, and what they do with unusual arrays."""

import copy
import pickle

import numpy as np
import pytest

import bptt

LAYERS = [
    lambda **options: bptt.LSTM(3, 5, rng=0, **options),
    lambda **options: bptt.RNN(3, 5, rng=0, **options),
    lambda **options: bptt.RNN(3, 5, nonlinearity="relu", rng=0, **options),
]
layers = pytest.mark.parametrize("make", LAYERS)


def x_of(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@layers
def test_parameters_have_torchs_names_and_shapes(make):
    layer = make()
    gates = 4 if isinstance(layer, bptt.LSTM) else 1
    assert {name: array.shape for name, array in layer.parameters.items()} == {
        "weight_ih_l0": (gates * 5, 3),
        "weight_hh_l0": (gates * 5, 5),
        "bias_ih_l0": (gates * 5,),
        "bias_hh_l0": (gates * 5,),
    }
    assert list(make(bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]
    for array in layer.parameters.values():
        assert array.dtype == np.float32
        assert np.abs(array).max() <= 5**-0.5


@layers
def test_the_same_seed_draws_the_same_parameters(make):
    for a, b in zip(make().parameters.values(), make().parameters.values()):
        np.testing.assert_array_equal(a, b)


@layers
def test_batch_first_and_unbatched_agree_with_time_major(make):
    x = x_of(7, 4, 3)
    y, state = make()(x)
    y_first, state_first = make(batch_first=True)(x.swapaxes(0, 1))
    np.testing.assert_array_equal(y, y_first.swapaxes(0, 1))
    np.testing.assert_array_equal(state, state_first)
    for b in range(4):
        alone, state_alone = make()(x[:, b])
        np.testing.assert_array_equal(alone, y[:, b])
        np.testing.assert_array_equal(np.array(state_alone)[:, 0], np.array(state)[:, 0, b])


@layers
def test_backward_of_both_layouts_agrees(make):
    x, dy = x_of(7, 4, 3), x_of(7, 4, 5, seed=2)
    a, b = make(), make(batch_first=True)
    dx, dstate, grads = a.backward(a.forward(x)[2], dy)
    tape = b.forward(x.swapaxes(0, 1))[2]
    dx_first, dstate_first, grads_first = b.backward(tape, dy.swapaxes(0, 1))
    np.testing.assert_array_equal(dx, dx_first.swapaxes(0, 1))
    np.testing.assert_array_equal(dstate, dstate_first)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grad, grads_first[name])


@layers
def test_forward_gives_what_calling_gives(make):
    layer, x = make(), x_of(7, 4, 3)
    y, state = layer(x)
    recorded, final, _ = layer.forward(x)
    np.testing.assert_array_equal(y, recorded)
    np.testing.assert_array_equal(state, final)


@layers
def test_only_the_final_states_gradient(make):
    layer, x = make(), x_of(7, 4, 3)
    _, state, tape = layer.forward(x)
    dstate = tuple(np.ones_like(part) for part in state)
    dx, _, _ = layer.backward(tape, None, dstate)
    last = np.zeros((7, 4, 5), np.float32)
    last[-1] = 1
    _, _, tape = layer.forward(x)
    zero_h = (np.zeros_like(state[0]), *dstate[1:])
    np.testing.assert_array_equal(dx, layer.backward(tape, last, zero_h)[0])


@layers
@pytest.mark.parametrize("shape", [(0, 4, 3), (7, 0, 3), (0, 0, 3)])
def test_no_steps_or_no_rows_work(make, shape):
    layer = make()
    y, state, tape = layer.forward(np.zeros(shape))
    assert y.shape == (*shape[:2], 5)
    assert all(part.shape == (1, shape[1], 5) and not part.any() for part in state)
    dx, _, grads = layer.backward(tape, np.zeros_like(y))
    assert dx.shape == shape
    assert not any(grad.any() for grad in grads.values())


@layers
def test_unusual_arrays_of_numbers_work(make):
    layer = make()
    x = np.round(x_of(7, 4, 3) * 4)
    want = layer(x)[0]
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((7, 4, 6), np.float32)
    wide[..., ::2] = x
    misaligned = np.frombuffer(b"?" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    for same in [
        x.astype(np.float64),
        x.astype(np.float16),
        x.astype(np.int8),
        x.astype(">f4"),
        x.astype(np.longdouble),
        np.asfortranarray(x),
        wide[..., ::2],
        x[::-1][::-1],
        frozen,
        misaligned,
        x.tolist(),
    ]:
        np.testing.assert_array_equal(layer(same)[0], want)


def test_inputs_are_left_alone():
    layer, x = bptt.LSTM(3, 5), x_of(7, 4, 3)
    state = (np.ones((1, 4, 5), np.float32), np.ones((1, 4, 5), np.float32))
    before = x.copy()
    y, _, tape = layer.forward(x, state)
    dy = np.ones_like(y)
    layer.backward(tape, dy, state)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(state, np.ones((2, 1, 4, 5)))
    np.testing.assert_array_equal(dy, np.ones_like(y))


@layers
def test_parameters_are_written_in_place(make):
    layer, x = make(), x_of(7, 4, 3)
    before = layer(x)[0]
    layer.parameters["weight_ih_l0"][:] = 0
    assert not np.array_equal(layer(x)[0], before)
    with pytest.raises(TypeError):
        layer.parameters["weight_ih_l0"] = np.zeros((20, 3))


@pytest.mark.parametrize("make", [*LAYERS, lambda: bptt.Linear(3, 2), lambda: bptt.OneHot(3)])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_equal_and_apart(make, clone):
    layer = make()
    twin = clone(layer)
    assert repr(twin) == repr(layer)
    for name, array in getattr(layer, "parameters", {}).items():
        np.testing.assert_array_equal(array, twin.parameters[name])
        twin.parameters[name][:] = 9
        assert not (array == 9).any()
    if isinstance(layer, bptt.Linear):
        assert (twin(np.ones(3)) == 9 * 4).all()


def test_state_dicts_move_weights():
    a, b = bptt.LSTM(3, 5, rng=0), bptt.LSTM(3, 5, rng=1)
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a(x_of(7, 4, 3))[0], b(x_of(7, 4, 3))[0])


def test_float64_layers_compute_in_float64():
    a = bptt.LSTM(3, 5, rng=0)
    b = bptt.LSTM(3, 5, dtype=np.float64)
    b.load_state_dict(a.state_dict())
    y32, y64 = a(x_of(9, 4, 3))[0], b(x_of(9, 4, 3))[0]
    assert y64.dtype == np.float64
    assert 0 < np.abs(y32 - y64).max() < 1e-6


def test_reprs():
    assert repr(bptt.LSTM(3, 5)) == "LSTM(3, 5)"
    assert repr(bptt.RNN(3, 5, nonlinearity="relu", bias=False, dtype="float64")) == (
        "RNN(3, 5, nonlinearity='relu', bias=False, dtype=float64)"
    )
    assert repr(bptt.Linear(3, 2, bias=False)) == "Linear(3, 2, bias=False)"
    assert repr(bptt.OneHot(4)) == "OneHot(4)"


def test_linear_is_a_matrix_product():
    layer, x = bptt.Linear(3, 2, dtype="float64", rng=0), np.random.default_rng(0).random((4, 7, 3))
    want = x @ layer.parameters["weight"].T + layer.parameters["bias"]
    np.testing.assert_allclose(layer(x), want, rtol=1e-14)
    assert layer(np.zeros((0, 3))).shape == (0, 2)


def test_threads():
    before = bptt.get_num_threads()
    bptt.set_num_threads(3)
    assert bptt.get_num_threads() == 3
    bptt.set_num_threads(before)
    assert bptt.simd_level() in ("avx512", "avx2", "portable")


def test_weights_that_change_between_calls_are_seen():
    """Layers keep packed weights for inference while they stay the same."""
    layer = bptt.LSTM(3, 20, num_layers=2, rng=0)
    x = np.ones((4, 2, 3), np.float32)
    first = layer(x)[0]
    np.testing.assert_array_equal(layer(x)[0], first)
    for name in layer.parameters:
        kept = layer.parameters[name].copy()
        layer.parameters[name].flat[-1] += 1
        changed = layer(x)[0]
        assert not np.array_equal(changed, first), name
        fresh = bptt.LSTM(3, 20, num_layers=2)
        fresh.load_state_dict(layer.state_dict())
        np.testing.assert_array_equal(changed, fresh(x)[0])
        layer.parameters[name][...] = kept
        np.testing.assert_array_equal(layer(x)[0], first)


def test_tapes_of_one_layer_do_not_disturb_each_other():
    """A layer keeps the memory of a tape that is used up for the next one."""
    layer = bptt.GRU(3, 20, rng=0)
    xs = [np.full((n + 2, 2, 3), n, np.float32) for n in range(3)]

    def gradient(x):
        fresh = bptt.GRU(3, 20, rng=0)
        y, _, tape = fresh.forward(x)
        return fresh.backward(tape, y)[2]["weight_hh_l0"]

    passes = [(x, *layer.forward(x)) for x in xs]
    for x, y, _, tape in passes[::-1]:
        grads = layer.backward(tape, y)[2]
        np.testing.assert_array_equal(grads["weight_hh_l0"], gradient(x))
        again, _, other = layer.forward(x)
        np.testing.assert_array_equal(again, y)
        layer.backward(other, again)
        with pytest.raises(ValueError, match="used up"):
            layer.backward(tape, y)


def test_one_layer_in_two_threads():
    from concurrent.futures import ThreadPoolExecutor

    layer = bptt.LSTM(8, 40, rng=0)
    xs = [np.full((30, 6, 8), n / 8, np.float32) for n in range(8)]
    wanted = [layer(x)[0] for x in xs]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            for found, want in zip(pool.map(lambda x: layer(x)[0], xs), wanted, strict=True):
                np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [bptt.LSTM, bptt.GRU, bptt.RNN])
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_a_saturated_gate_has_the_slope_0(make, infinity, dtype):
    """With an infinite x, weight gradients are 0 times infinity: NaN, as IEEE says."""
    layer = make(2, 5, dtype=dtype, rng=0)
    x = np.zeros((1, 1, 2), dtype)
    x[0, 0, 0] = infinity
    y, _, tape = layer.forward(x)
    assert np.isfinite(y).all()
    _, _, grads = layer.backward(tape, np.ones_like(y))
    weights = grads["weight_ih_l0"]
    assert np.isnan(weights[:, 0]).all()
    np.testing.assert_array_equal(weights[:, 1], 0)
    np.testing.assert_array_equal(grads["bias_ih_l0"], 0)
