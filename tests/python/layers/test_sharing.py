"""How passes are shared: what `explain` tells, calls from several threads, denormal numbers."""

import threading

import numpy as np
import pytest

import bptt


@pytest.fixture
def two_threads():
    """Two threads, whatever the machine has."""
    before = bptt.get_num_threads()
    bptt.set_num_threads(2)
    yield
    bptt.set_num_threads(before)


@pytest.mark.parametrize(
    ("rows", "hidden", "options", "told"),
    [
        (1, 8, {}, "one thread"),
        (1, 256, {}, "units are shared: 2 threads"),
        (1, 256, {"bidirectional": True}, "one task of each direction"),
        (64, 128, {}, "rows are shared"),
        (1, 256, {"layer_norm": True}, "one thread"),
    ],
)
def test_explain(two_threads, rows, hidden, options, told):
    layer = bptt.GRU(16, hidden, num_layers=2, **options)
    text = bptt.explain(layer, np.zeros((50, rows, 16), np.float32))
    assert text.count(told) == 2
    assert text.count("layer ") == 2
    assert ("multiplied ahead" in text) == (rows <= 4)


def test_explain_counts_what_is_computed():
    layer = bptt.LSTM(3, 5)
    text = bptt.explain(layer, np.zeros((50, 4, 3), np.float32), lengths=[50, 20, 1, 0])
    assert "71 of 200 (step, row) pairs" in text


@pytest.mark.parametrize(
    ("layer", "x", "error"),
    [
        (bptt.Linear(3, 5), np.zeros((2, 2, 3)), TypeError),
        (bptt.LSTM(3, 5), np.zeros((2, 2, 4)), ValueError),
        (bptt.LSTM(3, 5), np.zeros(3), ValueError),
    ],
)
def test_explain_refuses(layer, x, error):
    with pytest.raises(error):
        bptt.explain(layer, x)


@pytest.mark.parametrize(("rows", "hidden"), [(1, 160), (32, 48)])
def test_calls_at_once(two_threads, rows, hidden):
    """More threads than cores, sharing units or rows: all finish, with the right results."""
    rng = np.random.default_rng(0)
    layers = [bptt.LSTM(24, hidden, rng=seed) for seed in range(4)]
    x = rng.standard_normal((40, rows, 24)).astype(np.float32)

    def call(layer):
        y, _, tape = layer.forward(x)
        return [y, *layer.backward(tape, np.ones_like(y))[2].values()]

    want = [call(layer) for layer in layers]
    wrong = []

    def work(layer, want):
        for _ in range(10):
            if not all(np.array_equal(a, b) for a, b in zip(call(layer), want, strict=True)):
                wrong.append(layer)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(layers, want, strict=True)]
    # Two callers of one layer, too.
    threads.append(threading.Thread(target=work, args=(layers[0], want[0])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_denormal_numbers_count_as_zero(kind):
    """A kernel takes numbers below the normal range for zero, so that they cost no time."""
    layer = getattr(bptt, kind)(2, 3, dtype="float32", rng=0)
    tiny = np.float32(1e-40)
    x = np.full((1, 1, 2), tiny)
    for name, values in layer.parameters.items():
        values[:] = 1 if name.startswith("weight_ih") else 0
    np.testing.assert_array_equal(layer(x)[0], 0)
    # c = i g, h = o tanh c and n = tanh, with i = o = z = 1/2 and tanh x = x
    smallest = np.finfo("float32").tiny
    scale = {"LSTM": 0.25, "GRU": 0.5, "RNN": 1.0}[kind]
    h = layer(np.full((1, 1, 2), 8 * smallest))[0][0, 0]
    np.testing.assert_allclose(h, 16 * scale * smallest, rtol=1e-6)
