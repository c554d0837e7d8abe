"""Layer normalisation, peepholes, recurrent dropout, zoneout and checkpoints, from Python."""

import numpy as np
import pytest

import bptt

LAYERS = {
    "LSTM": lambda **options: bptt.LSTM(3, 6, dtype="float64", rng=0, **options),
    "GRU": lambda **options: bptt.GRU(3, 6, dtype="float64", rng=0, **options),
    "RNN": lambda **options: bptt.RNN(3, 6, dtype="float64", rng=0, **options),
}
OPTIONS = [
    {"layer_norm": True},
    {"recurrent_dropout": 0.3},
    {"zoneout": 0.3},
    {"layer_norm": True, "recurrent_dropout": 0.3, "zoneout": 0.3, "num_layers": 2},
    {"layer_norm": True, "zoneout": 0.3, "bidirectional": True},
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalised(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def parameters(layer, rng):
    """The layer's parameters, drawn, by their names without the layer's number."""
    for array in layer.parameters.values():
        array[...] = rng.standard_normal(array.shape)
    return {name.removesuffix("_l0"): array for name, array in layer.parameters.items()}


def haste_lstm(x, p, peepholes):
    """Haste's LayerNormLSTM (of its published Python form), with ONNX's peepholes."""
    h = c = np.zeros((x.shape[1], p["weight_hh"].shape[1]))
    bias, outputs = p["bias_ih"] + p["bias_hh"], []
    p_i, p_f, p_o = np.split(p["peephole"], 3) if peepholes else (0, 0, 0)
    for x_t in x:
        v = normalised(x_t @ p["weight_ih"].T) * p["gain_ih"] + bias
        v = v + normalised(h @ p["weight_hh"].T) * p["gain_hh"]
        i, f, g, o = np.split(v, 4, axis=-1)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
        h = sigmoid(o + p_o * c) * np.tanh(normalised(c) * p["gain_c"] + p["bias_c"])
        outputs.append(h)
    return np.array(outputs), h, c


def haste_gru(x, p):
    """Haste's LayerNormGRU (of its published Python form)."""
    h, outputs = np.zeros((x.shape[1], p["weight_hh"].shape[1])), []
    for x_t in x:
        from_x = normalised(x_t @ p["weight_ih"].T) * p["gain_ih"] + p["bias_ih"]
        from_h = normalised(h @ p["weight_hh"].T) * p["gain_hh"] + p["bias_hh"]
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(from_x, 3, -1), np.split(from_h, 3, -1)
        z = sigmoid(z_x + z_h)
        h = z * h + (1 - z) * np.tanh(n_x + sigmoid(r_x + r_h) * n_h)
        outputs.append(h)
    return np.array(outputs), h


@pytest.mark.parametrize("peepholes", [False, True])
def test_layer_norm_lstm_is_hastes(peepholes):
    rng = np.random.default_rng(1)
    layer = bptt.LSTM(3, 7, layer_norm=True, peepholes=peepholes, dtype="float64")
    x = rng.standard_normal((9, 4, 3))
    wanted = haste_lstm(x, parameters(layer, rng), peepholes)
    y, (h, c) = layer(x)
    for found, want in zip((y, h[0], c[0]), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


def test_layer_norm_gru_is_hastes():
    rng = np.random.default_rng(1)
    layer = bptt.GRU(3, 7, layer_norm=True, dtype="float64")
    x = rng.standard_normal((9, 4, 3))
    wanted = haste_gru(x, parameters(layer, rng))
    y, (h,) = layer(x)
    for found, want in zip((y, h[0]), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_gains_start_as_ones(kind):
    layer = LAYERS[kind](layer_norm=True)
    for name, array in layer.parameters.items():
        if name.startswith("gain_"):
            assert (array == 1).all()
        elif name.startswith("bias_c"):
            assert (array == 0).all()
        else:
            assert np.abs(array).max() > 0


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("lengths", [None, [40, 7, 0]])
def test_checkpoints_do_not_show(kind, options, lengths):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((700, 1, 3) if lengths is None else (40, 3, 3))
    results = []
    for checkpoint in (None, "sqrt"):
        layer = LAYERS[kind](**options)  # the same rng, so the same dropout
        y, state, tape = layer.forward(x, lengths=lengths, checkpoint=checkpoint)
        dx, dstate, grads = layer.backward(tape, np.cos(y))
        results.append([y, *state, dx, *dstate, *grads.values()])
    for whole, parts in zip(*results, strict=True):
        np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("kind", LAYERS)
def test_regularised_in_training_only(kind):
    layer = LAYERS[kind](recurrent_dropout=0.5, zoneout=0.5)
    x = np.ones((5, 2, 3))
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(x)[0], layer(x)[0])
    stepper = layer.stepper(batch=2)
    steps = np.array([stepper.step(x_t).copy() for x_t in x])
    np.testing.assert_array_equal(steps, layer(x)[0])


def test_gates_are_those_of_inference():
    layer = bptt.LSTM(3, 6, recurrent_dropout=0.5, zoneout=0.5, layer_norm=True, rng=0)
    x = np.ones((5, 2, 3), np.float32)
    y, state, values = layer(x, return_gates=True, return_cells=True)
    np.testing.assert_array_equal(y, layer(x)[0])
    np.testing.assert_array_equal(values["c_l0"][-1], state[1][0])


def test_fit_trains_everything():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 12, 3))
    y = np.cumsum(x[..., :1], axis=1) / 4
    for layer in (
        bptt.LSTM(3, 12, layer_norm=True, peepholes=True, zoneout=0.05, rng=0),
        bptt.GRU(3, 12, layer_norm=True, recurrent_dropout=0.05, rng=0),
    ):
        before = layer.state_dict()
        model = bptt.Sequential(layer, bptt.Linear(12, 1, rng=1))
        start = model.evaluate(x, y, loss="mse")
        model.fit(x, y, loss="mse", optimizer=bptt.Adam(0.01), epochs=60, rng=0, progress=False)
        assert model.evaluate(x, y, loss="mse") < 0.5 * start
        for name, array in layer.parameters.items():
            assert not np.array_equal(array, before[name]), name


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan")])
def test_probabilities_are_checked(name, bad):
    with pytest.raises(ValueError, match=rf"^{name} must be in \[0, 1\), got"):
        bptt.LSTM(3, 4, **{name: bad})
    with pytest.raises(TypeError, match=name):
        bptt.LSTM(3, 4, **{name: "0.1"})


def test_what_does_not_go_together():
    with pytest.raises(ValueError, match="reset_after=True"):
        bptt.GRU(3, 4, layer_norm=True, reset_after=False)
    layer = bptt.GRU(3, 4)
    with pytest.raises(ValueError, match="checkpoint must be"):
        layer.forward(np.ones((2, 1, 3)), checkpoint="all")
    tape = bptt.GRU(3, 4).forward(np.ones((2, 1, 3)), checkpoint="sqrt")[2]
    with pytest.raises(ValueError, match="another layer"):
        layer.backward(tape, np.ones((2, 1, 4)))
    for flag in ("layer_norm", "peepholes"):
        with pytest.raises(TypeError, match=flag):
            bptt.LSTM(3, 4, **{flag: 1})


def test_repr_and_pickle_keep_the_options():
    import pickle

    layer = bptt.LSTM(3, 4, peepholes=True, layer_norm=True, zoneout=0.1, recurrent_dropout=0.2)
    assert repr(layer) == (
        "LSTM(3, 4, peepholes=True, layer_norm=True, recurrent_dropout=0.2, zoneout=0.1)"
    )
    copy = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(copy(np.ones((3, 3)))[0], layer(np.ones((3, 3)))[0])
