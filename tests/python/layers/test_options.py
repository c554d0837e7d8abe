"""Layers, directions, projections, dropout, lengths and steppers, seen from Python."""

import pickle

import numpy as np
import pytest

import bptt

KINDS = {
    "RNN": lambda **options: bptt.RNN(3, 6, rng=0, **options),
    "GRU": lambda **options: bptt.GRU(3, 6, rng=0, **options),
    "GRU, reset first": lambda **options: bptt.GRU(3, 6, reset_after=False, rng=0, **options),
    "LSTM": lambda **options: bptt.LSTM(3, 6, rng=0, **options),
    "projected": lambda **options: bptt.LSTM(3, 6, proj_size=2, rng=0, **options),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_are_each_sequence_alone(kind, batch_first):
    layer = KINDS[kind](num_layers=2, bidirectional=True, batch_first=batch_first, dtype="float64")
    x, lengths = data(5, 7, 3), [4, 7, 0, 1, 7]  # (B, T, I)
    state = tuple(data(*shape, seed=n) for n, shape in enumerate(layer._state_shapes(5)))
    given = x if batch_first else x.swapaxes(0, 1)
    y, final = layer(given, state, lengths)
    y = y if batch_first else y.swapaxes(0, 1)
    for b, length in enumerate(lengths):
        own = tuple(part[:, b] for part in state)
        alone, end = layer(x[b, :length], own)
        np.testing.assert_array_equal(y[b, :length], alone)
        assert not y[b, length:].any()
        for a, whole in zip(end, final, strict=True):
            np.testing.assert_array_equal(a, whole[:, b])


@every_kind
def test_gradients_with_lengths_are_the_sums_of_each_alone(kind):
    layer = KINDS[kind](num_layers=2, bidirectional=True, dtype="float64")
    x, lengths, dy = data(7, 4, 3), [7, 2, 0, 5], data(7, 4, layer._outputs, seed=1)
    tape = layer.forward(x, lengths=lengths)[2]
    dx, _, grads = layer.backward(tape, dy)
    sums = {name: 0.0 for name in grads}
    for b, length in enumerate(lengths):
        tape = layer.forward(x[:length, b])[2]
        own, _, alone = layer.backward(tape, dy[:length, b])
        np.testing.assert_allclose(dx[:length, b], own, rtol=1e-12, atol=1e-14)
        assert not dx[length:, b].any()
        for name, grad in alone.items():
            sums[name] = sums[name] + grad
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, sums[name], rtol=1e-10, atol=1e-12)


@every_kind
def test_the_second_direction_is_the_first_turned_round(kind):
    both = KINDS[kind](bidirectional=True, dtype="float64")
    one = KINDS[kind](dtype="float64")
    one.load_state_dict({name: both.parameters[f"{name}_reverse"] for name in one.parameters})
    x = data(6, 2, 3)
    y, _ = both(x)
    back, _ = one(x[::-1])
    np.testing.assert_array_equal(y[..., one._outputs :], back[::-1])


@every_kind
def test_a_stepper_takes_the_steps_of_a_pass(kind):
    layer = KINDS[kind](num_layers=2)
    x = data(9, 4, 3).astype(np.float32)
    stepper = layer.stepper(batch=4)
    want, final = layer(x)
    for t, x_t in enumerate(x):
        if t == 5:
            middle = stepper.state
        np.testing.assert_array_equal(stepper.step(x_t), want[t])
    for a, b in zip(stepper.state[0], final, strict=True):
        np.testing.assert_array_equal(a, b)
    stepper.state = middle
    np.testing.assert_array_equal(stepper.step(x[5].tolist()), want[5])  # a list will do
    stepper.reset()
    np.testing.assert_array_equal(stepper.step(x[0]), want[0])


def test_a_models_stepper_predicts():
    model = bptt.Sequential(bptt.OneHot(5), bptt.GRU(5, 7, rng=0), bptt.Linear(7, 5, rng=1))
    tokens = [3, 1, 4, 1, 0]
    stepper = model.stepper()
    found = [stepper.step(token)[0].copy() for token in tokens]
    np.testing.assert_allclose(found, model.predict([tokens])[0], rtol=1e-6)


def test_what_a_stepper_refuses():
    with pytest.raises(ValueError, match="two directions"):
        bptt.RNN(3, 4, bidirectional=True).stepper()
    stepper = bptt.GRU(3, 4, rng=0).stepper(batch=2)
    stepper.step(np.ones((2, 3)))
    before = stepper.state
    for bad in (np.ones((3, 3)), np.ones(3), np.ones((2, 4))):
        with pytest.raises(ValueError, match=r"x must have shape \(2, 3\)"):
            stepper.step(bad)
    with pytest.raises(ValueError, match="must have shape"):
        stepper.state = ((np.ones((1, 2, 5)),),)
    with pytest.raises(ValueError, match="for each recurrent layer"):
        stepper.state = ()
    np.testing.assert_array_equal(stepper.state[0][0], before[0][0])
    tokens = bptt.Sequential(bptt.OneHot(3), bptt.RNN(3, 2, rng=0)).stepper()
    with pytest.raises(ValueError, match="must hold numbers from 0 to 2"):
        tokens.step(3)
    with pytest.raises(ValueError, match="out of range"):
        tokens.step(np.array([7], np.uint32))


def test_the_original_gru():
    layer = bptt.GRU(3, 4, reset_after=False, dtype="float64", rng=0)
    assert repr(layer) == "GRU(3, 4, reset_after=False, dtype=float64)"
    p = layer.parameters
    x, h = data(5, 3), np.zeros(4)
    (w_r, w_z, w_n), (u_r, u_z, u_n) = (
        p[f"weight_{part}_l0"].reshape(3, 4, -1) for part in ("ih", "hh")
    )
    b, d = (p[f"bias_{part}_l0"].reshape(3, 4) for part in ("ih", "hh"))

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for x_t, y_t in zip(x, layer(x)[0], strict=True):
        r = sigmoid(w_r @ x_t + b[0] + u_r @ h + d[0])
        z = sigmoid(w_z @ x_t + b[1] + u_z @ h + d[1])
        n = np.tanh(w_n @ x_t + b[2] + u_n @ (r * h) + d[2])
        h = (1 - z) * n + z * h
        np.testing.assert_allclose(y_t, h, rtol=1e-12)


def test_gates_and_cells():
    x, lengths = data(4, 6, 3), [6, 2, 5, 0]
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}
    lstm = bptt.LSTM(3, 5, dtype="float64", rng=0, **options)
    y, (_, c), values = lstm(x, lengths=lengths, return_gates=True, return_cells=True)
    np.testing.assert_array_equal(y, lstm(x, lengths=lengths)[0])
    assert set(values) == {
        f"{gate}_l{n}{end}" for gate in "ifgoc" for n in (0, 1) for end in ("", "_reverse")
    }
    np.testing.assert_allclose(y[..., :5], values["o_l1"] * np.tanh(values["c_l1"]), rtol=1e-12)
    np.testing.assert_array_equal(values["c_l1_reverse"][:, 0][:3], c[3][:3])
    before = np.concatenate([np.zeros((4, 1, 5)), values["c_l0"][:, :-1]], axis=1)
    want = values["f_l0"] * before + values["i_l0"] * values["g_l0"]
    np.testing.assert_allclose(values["c_l0"][0], want[0], rtol=1e-12)
    gru = bptt.GRU(3, 5, dtype="float64", rng=0)
    y, _, values = gru(x[0], return_gates=True)
    before = np.concatenate([np.zeros((1, 5)), y[:-1]])
    z, n = values["z_l0"], values["n_l0"]
    np.testing.assert_allclose(y, (1 - z) * n + z * before, rtol=1e-12)
    with pytest.raises(ValueError, match="no cell state"):
        gru(x[0], return_cells=True)
    with pytest.raises(ValueError, match="no gates"):
        bptt.RNN(3, 5)(x[0], return_gates=True)


def test_gates_are_drawn_one_sequence_at_a_time():
    pytest.importorskip("matplotlib")
    _, _, values = bptt.GRU(3, 5, rng=0)(data(6, 2, 3), return_gates=True)
    with pytest.raises(ValueError, match="the values of one sequence"):
        bptt.plot.gates(values)
    one = {name: value[:, 0] for name, value in values.items()}
    with pytest.raises(ValueError, match="each of the 6 steps, got 5"):
        bptt.plot.gates(one, tokens="hello")
    assert len(bptt.plot.gates(one, tokens="hello!").axes) == 6


def test_dropout_is_the_layers_own_and_only_in_training():
    x = data(8, 3, 3)

    def outputs(seed, dropout=0.5):
        layer = bptt.LSTM(3, 40, num_layers=2, dropout=dropout, rng=seed)
        return [layer(x)[0], layer.forward(x)[0], layer.forward(x)[0]]

    inference, first, second = outputs(1)
    np.testing.assert_array_equal(inference, outputs(1, dropout=0.0)[1])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, outputs(1)[2])
    layer = bptt.LSTM(3, 40, num_layers=2, dropout=0.5, rng=1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(layer)).forward(x)[0], first)


def test_fit_trains_ragged_batches_through_all_options():
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((int(n), 2)) for n in rng.integers(2, 9, 40)]
    y = [np.cumsum(part, axis=0) for part in x]
    model = bptt.Sequential(
        bptt.GRU(2, 16, num_layers=2, bidirectional=True, dropout=0.1, rng=0),
        bptt.LSTM(32, 12, proj_size=6, rng=1),
        bptt.Linear(6, 2, rng=2),
    )
    history = model.fit(
        x, y, loss="mse", optimizer=bptt.Adam(0.01), epochs=60, batch_size=8, rng=0, progress=False
    )
    assert history.loss[-1] < 0.3 * history.loss[0]


X = data(4, 2, 3)
BAD = {
    "too long": (lambda: bptt.RNN(3, 4)(X, lengths=[5, 1]), ValueError, "from 0 to 4.*got 5"),
    "negative": (lambda: bptt.RNN(3, 4)(X, lengths=[4, -1]), ValueError, "from 0 to 4.*got -1"),
    "count": (lambda: bptt.RNN(3, 4)(X, lengths=[4]), ValueError, r"shape \(2,\).*got \(1,\)"),
    "floats": (lambda: bptt.RNN(3, 4)(X, lengths=[4.0, 1.0]), TypeError, "whole numbers"),
    "dropout": (lambda: bptt.GRU(3, 4, dropout=1.0), ValueError, r"\[0, 1\), got 1"),
    "proj_size": (lambda: bptt.LSTM(3, 4, proj_size=4), ValueError, "below hidden_size.*got 4"),
    "num_layers": (lambda: bptt.GRU(3, 4, num_layers=0), ValueError, "num_layers.*got 0"),
    "state": (
        lambda: bptt.GRU(3, 4, num_layers=2)(X, (np.zeros((1, 2, 4)),)),
        ValueError,
        r"shape \(2, 2, 4\), got \(1, 2, 4\)",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_what_layers_refuse(case):
    work, error, message = case
    with pytest.raises(error, match=message):
        work()
