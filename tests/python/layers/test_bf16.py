"""compute="bf16" from Python."""

import copy
import pickle

import numpy as np
import pytest

import bptt

LAYERS = {"LSTM": bptt.LSTM, "GRU": bptt.GRU, "RNN": bptt.RNN}
OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"layer_norm": True, "zoneout": 0.2},
    {"recurrent_dropout": 0.3, "batch_first": True},
]


def rounded(array):
    """Rounded to bf16, in float64."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32).astype(np.float64)


def test_products_take_rounded_numbers():
    rng = np.random.default_rng(0)
    rnn = bptt.RNN(37, 19, nonlinearity="relu", rng=0, compute="bf16")
    x, dy = rng.standard_normal((2, 1, 5, 37)).astype(np.float32)
    dy, h = dy[..., :19], rng.standard_normal((1, 5, 19)).astype(np.float32)
    y, _, tape = rnn.forward(x, (h,))
    dx, (dh,), grads = rnn.backward(tape, dy)
    p = {name.removesuffix("_l0"): array for name, array in rnn.parameters.items()}
    w_ih, w_hh = rounded(p["weight_ih"]), rounded(p["weight_hh"])
    want = rounded(x[0]) @ w_ih.T + rounded(h[0]) @ w_hh.T
    want += p["bias_ih"].astype(np.float64) + p["bias_hh"]
    np.testing.assert_allclose(y[0], np.maximum(want, 0), atol=1e-6)
    da = dy[0] * (y[0] > 0)
    np.testing.assert_allclose(dx[0], rounded(da) @ w_ih, atol=1e-6)
    np.testing.assert_allclose(dh[0], rounded(da) @ w_hh, atol=1e-6)
    np.testing.assert_allclose(grads["weight_ih_l0"], rounded(da).T @ rounded(x[0]), atol=1e-5)
    np.testing.assert_allclose(grads["weight_hh_l0"], rounded(da).T @ rounded(h[0]), atol=1e-5)
    np.testing.assert_allclose(grads["bias_ih_l0"], da.astype(np.float64).sum(0), atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, options):
    """Near those of float32, of any lengths; checkpoints leave the bits as they are."""
    x = np.random.default_rng(1).standard_normal((6, 6, 3)).astype(np.float32)
    lengths, dy = [6, 4, 4, 2, 1, 0], np.ones((6, 6, 7 * (1 + options.get("bidirectional", 0))))
    found = {}
    for compute, checkpoint in ((None, None), ("bf16", None), ("bf16", "sqrt")):
        layer = LAYERS[name](3, 7, rng=0, compute=compute, **options)
        y, state, tape = layer.forward(x, lengths=lengths, checkpoint=checkpoint)
        dx, dstate, grads = layer.backward(tape, dy)
        found[compute, checkpoint] = [y, *state, dx, *dstate, *grads.values()]
    of_float32, of_bf16, again = found.values()
    assert all((a == b).all() for a, b in zip(of_bf16, again))
    for a, b in zip(of_bf16, of_float32):
        assert a.dtype == np.float32
        assert 0 < np.abs(a - b).max() < 0.05 * np.abs(b).max()


def test_steps_are_those_of_the_whole():
    layer = bptt.LSTM(3, 7, num_layers=2, proj_size=5, rng=0, compute="bf16")
    x = np.random.default_rng(2).standard_normal((5, 2, 3)).astype(np.float32)
    y, state = layer(x)
    stepper = layer.stepper(2)
    assert all((stepper.step(x_t) == y_t).all() for x_t, y_t in zip(x, y))
    _, halfway = layer(x[:2])
    rest, final = layer(x[2:], halfway)
    assert (rest == y[2:]).all() and all((a == b).all() for a, b in zip(final, state))


@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_files(name, tmp_path):
    layer = LAYERS[name](3, 7, rng=0, compute="bf16")
    assert repr(layer) == f"{name}(3, 7, compute='bf16')"
    assert "compute" not in repr(LAYERS[name](3, 7))
    x = np.random.default_rng(3).standard_normal((5, 2, 3)).astype(np.float32)
    y = layer(x)[0]
    assert (y != LAYERS[name](3, 7, rng=0)(x)[0]).any()
    bptt.Sequential(layer).save(tmp_path / "model.safetensors")
    loaded = bptt.load(tmp_path / "model.safetensors").layers[0]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert other.compute == "bf16"
        assert (other(x)[0] == y).all()


def test_training_learns():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((64, 8, 1)).astype(np.float32)
    y = np.cumsum(x, axis=1) / 4
    losses = {}
    for compute in (None, "bf16"):
        lstm = bptt.LSTM(1, 16, batch_first=True, rng=0, compute=compute)
        model = bptt.Sequential(lstm, bptt.Linear(16, 1, rng=0))
        history = model.fit(
            x, y, loss="mse", optimizer=bptt.Adam(0.02), epochs=30, batch_size=16, shuffle=False,
            progress=False,
        )  # fmt: skip
        losses[compute] = history.loss
    assert losses["bf16"][-1] < 0.1 * losses["bf16"][0]
    assert losses["bf16"] != losses[None]
    assert losses["bf16"][-1] < 1.5 * losses[None][-1]


def test_explain():
    x = np.zeros((5, 2, 3), np.float32)
    text = bptt.explain(bptt.LSTM(3, 7, compute="bf16"), x)
    assert "products in bf16, with the machine's instructions" in text or "emulated" in text
    assert "bf16" not in bptt.explain(bptt.LSTM(3, 7), x)


@pytest.mark.parametrize(
    ("value", "dtype", "error", "text"),
    [
        ("float16", "float32", ValueError, '"bf16", or None for products in the dtype, got \'flo'),
        (True, "float32", TypeError, 'must be "bf16" or None, got True'),
        (np.float32, "float32", TypeError, 'must be "bf16" or None'),
        ("bf16", "float64", ValueError, 'needs dtype="float32", got dtype="float64"'),
    ],
)
def test_what_is_refused(value, dtype, error, text):
    for layer in LAYERS.values():
        with pytest.raises(error, match=text):
            layer(3, 7, dtype=dtype, compute=value)
