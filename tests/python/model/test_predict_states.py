"""predict from given states, and to the states after the last step."""

import itertools

import numpy as np
import pytest
from fitting import mapped

import bptt

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 12, 2)).astype(np.float32)
TOKENS = RNG.integers(0, 5, (7, 12))

MODELS = {
    "LSTM": lambda *end: bptt.Sequential(bptt.LSTM(2, 3, rng=0), *end),
    "projection": lambda *end: bptt.Sequential(
        bptt.LSTM(2, 5, num_layers=2, proj_size=3, rng=0), *end
    ),
    "GRU float64": lambda *end: bptt.Sequential(
        bptt.GRU(2, 3, num_layers=2, dtype="float64", rng=0), *end
    ),
    "several": lambda *end: bptt.Sequential(
        bptt.RNN(2, 4, rng=0),
        bptt.Dropout(0.5),
        bptt.LSTM(4, 6, rng=1),
        bptt.LayerNorm(6),
        bptt.GRU(6, 3, rng=2),
        *end,
    ),
    "bf16": lambda *end: bptt.Sequential(bptt.GRU(2, 3, compute="bf16", rng=0), *end),
}
ENDS = {"steps": (), "last step": (bptt.LastStep(),)}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("cut", [1, 5, 11])
def test_two_halves_are_the_whole(make, end, cut):
    model = make(*end)
    whole, final = model.predict(X, return_state=True)
    np.testing.assert_array_equal(model.predict(X), whole)
    first, state = model.predict(X[:, :cut], return_state=True)
    second, after = model.predict(X[:, cut:], state=state, return_state=True)
    got = second if end else np.concatenate([first, second], axis=1)
    np.testing.assert_array_equal(got, whole)
    for a, b in zip(after, final, strict=True):
        for part, want in zip(a, b, strict=True):
            np.testing.assert_array_equal(part, want)
            assert part.dtype == model.dtype
    np.testing.assert_array_equal(model.predict(X[:, cut:], state=state), second)  # kept as it was


def test_tokens_in_pieces():
    model = bptt.Sequential(bptt.Embedding(5, 3, rng=0), bptt.LSTM(3, 4, rng=1))
    pieces, state = [], None
    for start in range(0, 12, 3):
        y, state = model.predict(TOKENS[:, start : start + 3], state=state, return_state=True)
        pieces.append(y)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), model.predict(TOKENS))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_states_are_those_of_the_layer(kind, options):
    layer = getattr(bptt, kind)(2, 3, batch_first=True, rng=0, **options)
    model = bptt.Sequential(layer)
    start = tuple(RNG.standard_normal(shape).astype(np.float32) for shape in layer._state_shapes(7))
    want, final = layer(X, start)
    forms = [start, list(start), (start,), [start]]
    forms += [] if kind == "LSTM" else [start[0], start[0].tolist(), start[0][::-1][::-1]]
    for given in forms:
        got, (state,) = model.predict(X, state=given, return_state=True)
        np.testing.assert_array_equal(got, want)
        for a, b in zip(state, final, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sequences_of_different_lengths_keep_their_rows():
    model = MODELS["several"]()
    lengths = [3, 12, 1, 7, 7, 2, 9]
    lists = [x[:n] for x, n in zip(X, lengths, strict=True)]
    y, state = model.predict(lists, return_state=True)
    for n, x in enumerate(lists):
        alone, own = model.predict(x[None], return_state=True)
        np.testing.assert_array_equal(y[n], alone[0])
        for a, b in zip(itertools.chain(*state), itertools.chain(*own), strict=True):
            np.testing.assert_array_equal(a[:, n], b[:, 0])
    rest = [x[n:] for x, n in zip(X, lengths, strict=True) if n < 12]
    on = tuple(tuple(part[:, np.array(lengths) < 12] for part in s) for s in state)
    continued = model.predict(rest, state=on)
    whole = model.predict(X[np.array(lengths) < 12])
    for got, want in zip(continued, whole, strict=True):
        np.testing.assert_array_equal(got, want[-len(got) :])


def test_more_sequences_than_one_batch_of_the_core():
    model = MODELS["several"]()
    x = RNG.standard_normal((600, 4, 2)).astype(np.float32)
    first, state = model.predict(x[:, :2], return_state=True)
    second = model.predict(x[:, 2:], state=state)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), model.predict(x))


def test_mapped_files_are_read_by_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("bptt._training.evaluate._at_a_time", lambda source: 2)
    model = MODELS["several"]()
    x = [mapped(tmp_path / f"{n}.npy", part, "float16") for n, part in enumerate(X)]
    plain = [np.asarray(part, np.float32) for part in x]
    got, state = model.predict([part[:5] for part in x], return_state=True)
    want, same = model.predict([part[:5] for part in plain], return_state=True)
    for a, b in zip(
        [*got, *itertools.chain(*state)], [*want, *itertools.chain(*same)], strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(
        model.predict([part[5:] for part in x], state=state),
        model.predict([part[5:] for part in plain], state=state),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_stepper_takes_the_states_on():
    model = MODELS["several"]()
    _, state = model.predict(X[:, :5], return_state=True)
    stepper = model.stepper(7)
    stepper.state = state
    np.testing.assert_array_equal(stepper.step(X[:, 5]), model.predict(X[:, :6])[:, -1])
    after = model.predict(X[:, 6:7], state=stepper.state)
    np.testing.assert_array_equal(after, model.predict(X[:, :7])[:, 6:])


def test_a_model_without_recurrent_layers():
    model = bptt.Sequential(bptt.Linear(2, 1, rng=0))
    y, state = model.predict(X, return_state=True)
    assert state == ()
    np.testing.assert_array_equal(model.predict(X, state=state), y)


@pytest.mark.parametrize(
    ("name", "state", "error", "message"),
    [
        ("LSTM", np.zeros((1, 7, 3)), ValueError, r"must be a tuple \(h, c\), got ndarray"),
        ("LSTM", (np.zeros((1, 6, 3)),) * 2, ValueError, r"must have shape \(1, 7, 3\), got"),
        ("LSTM", (np.zeros((1, 7, 3)),) * 3, ValueError, r"recurrent layer \(1\), got 3 items"),
        ("several", (np.zeros((1, 7, 3)),), ValueError, r"recurrent layer \(3\), got 1 items"),
        ("several", 3, ValueError, r"recurrent layer \(3\), got int"),
        ("GRU float64", np.zeros((2, 7, 4)), ValueError, r"must have shape \(2, 7, 3\), got"),
        ("GRU float64", {"h": 1}, TypeError, "state must hold real numbers"),
        ("GRU float64", np.zeros((2, 7, 3), complex), TypeError, "must hold real numbers"),
    ],
)
def test_what_is_no_state(name, state, error, message):
    model = MODELS[name]()
    with pytest.raises(error, match=message):
        model.predict(X, state=state)
    with pytest.raises(TypeError, match="return_state must be True or False"):
        model.predict(X, return_state=1)


def test_states_that_are_not_finite_are_refused_unless_wanted():
    model = bptt.Sequential(bptt.LSTM(2, 3, rng=0), bptt.Linear(3, 1, rng=1))
    x, h, c = np.zeros((2, 4, 2)), np.zeros((1, 2, 3)), np.zeros((1, 2, 3))
    c[0, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"state has a number .* in sequence 1, feature 2"):
        model.predict(x, state=(h, c))
    y = model.predict(x, state=(h, c), check_finite=False)
    assert np.isfinite(y[0]).all() and np.isnan(y[1]).all()
