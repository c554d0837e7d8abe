"""The notebook's functions on the core, against a transcription of its formulas in NumPy."""

import numpy as np
import numpy_lab
import pytest

import bptt
from bptt import lab

# Losses (training, validation) that the published notebook prints, by epoch.
RNN_LOSSES = {
    0: (4.050465094974675, 4.80197183597815),
    100: (2.729834076579952, 3.2320576164041306),
}
LSTM_LOSSES = {
    0: (3.0654084603672573, 4.499707061171418),
    10: (1.2303475945466478, 1.426915349378811),
}


def seeded():
    np.random.seed(2023)  # noqa: NPY002


def marks(arrays):
    """The notebook's check of arrays: one number for each."""
    numbers = []
    for array in arrays:
        a = np.asarray(array, dtype=float)
        weighted = (a.ravel() * np.arange(a.size)).sum()
        numbers.append(a.max() + a.min() + a.mean() + np.median(a) + a.std() + a.sum() + weighted)
    return numbers


def assert_marks(ours, theirs):
    assert [np.shape(a) for a in ours] == [np.shape(a) for a in theirs]
    np.testing.assert_allclose(marks(ours), marks(theirs), rtol=1e-5, atol=1e-9)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def sequence(n=5, skip=0):
    """One-hot inputs and targets."""
    tokens = [0] * n + [1] * n + [2]
    return numpy_lab.one_hot(tokens[:-1])[skip:], numpy_lab.one_hot(tokens[1:])[skip:]


def column(rng, size=50):
    return rng.uniform(-0.5, 0.5, (size, 1))


def trained(kind):
    """Parameters after some training, so that states are not near zero."""
    epochs = 40 if kind == "rnn" else 3
    return getattr(numpy_lab, f"train_{kind}")(epochs)[1]


@pytest.mark.parametrize(("kind", "losses"), [("rnn", RNN_LOSSES), ("lstm", LSTM_LOSSES)])
def test_published_losses(kind, losses):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    run = getattr(lab, f"train_{kind}")(epochs=max(losses) + 1, progress=False)
    for epoch, want in losses.items():
        found = (run.history.loss[epoch], run.history.validation_loss[epoch])
        np.testing.assert_allclose(found, want, rtol=1e-9 if epoch == 0 else 1e-6)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_parameters_after_training(kind):
    want_losses, want = getattr(numpy_lab, f"train_{kind}")(3)
    run = getattr(lab, f"train_{kind}")(epochs=3, progress=False)
    assert_marks(run.params, want)
    found = zip(run.history.loss, run.history.validation_loss, strict=True)
    np.testing.assert_allclose(list(found), want_losses, rtol=1e-9)


def test_drawing_parameters():
    for kind, sizes in (("rnn", (50, 4)), ("lstm", (50, 4, 54))):
        draws = []
        for module in (lab, numpy_lab):
            seeded()
            init = getattr(module, f"init_{kind}")
            draws.append([*init(*sizes), *init(*sizes)])
        for a, b in zip(*draws, strict=True):
            np.testing.assert_array_equal(a, b)
    seeded()
    wide = lab.init_orthogonal(np.zeros((3, 7)))
    np.testing.assert_allclose(wide @ wide.T, np.eye(3), atol=1e-12)


def test_small_functions():
    x = np.linspace(-40, 40, 33).reshape(11, 3)
    for name in ("sigmoid", "tanh"):
        for derivative in (False, True):
            found = getattr(lab, name)(x, derivative)
            np.testing.assert_array_equal(found, getattr(numpy_lab, name)(x, derivative))
    np.testing.assert_array_equal(lab.softmax(x), numpy_lab.softmax(x))
    assert lab.sigmoid(-1e4) == 0.0


def test_clipping_and_updating_in_place():
    for scale in (1.0, 1e-3):
        ours = [scale * np.arange(1.0, 4.0), scale * np.ones((2, 2))]
        theirs = [array.copy() for array in ours]
        given = lab.clip_gradient_norm(ours)
        assert given is ours
        for a, b in zip(ours, numpy_lab.clip_gradient_norm(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    param = np.ones(3)
    assert lab.update_parameters([param], [np.arange(3)], lr=0.5)[0] is param
    np.testing.assert_array_equal(param, [1.0, 0.5, 0.0])


@pytest.mark.parametrize("as_lists", [True, False])
def test_rnn_passes(as_lists):
    params = trained("rnn")
    inputs, targets = sequence()
    h = column(np.random.default_rng(1))
    given = list(inputs) if as_lists else inputs
    outputs, states = lab.forward_pass(given, h, params)
    want_outputs, want_states = numpy_lab.forward_pass(inputs, h, params)
    assert isinstance(outputs, list) and isinstance(states, list)
    assert_marks(outputs, want_outputs)
    assert_marks(states, want_states)
    if not as_lists:
        outputs, states = np.array(outputs), np.array(states)
    loss, grads = lab.backward_pass(given, outputs, states, list(targets), params)
    want_loss, want = numpy_lab.backward_pass(inputs, want_outputs, want_states, targets, params)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
    assert_marks(grads, want)


@pytest.mark.parametrize("as_lists", [True, False])
@pytest.mark.parametrize("steps", [1, 10])
def test_lstm_passes(as_lists, steps):
    params = trained("lstm")
    inputs, targets = sequence(skip=10 - steps)
    rng = np.random.default_rng(2)
    h, C = column(rng), column(rng)
    kept = lab.forward(list(inputs) if as_lists else inputs, h, C, params)
    want_kept = numpy_lab.forward(inputs, h, C, params)
    for ours, theirs in zip(kept, want_kept, strict=True):
        assert isinstance(ours, list)
        assert_marks(ours, theirs)
    if not as_lists:
        kept = [np.array(part) for part in kept]
    loss, grads = lab.backward(*kept, targets, params)
    want_loss, want = numpy_lab.backward(*want_kept, targets, params)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
    assert_marks(grads, want)


def direction(grads):
    return np.concatenate([np.ravel(grad) for grad in grads])


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_exact_gradients_are_the_slopes_of_the_loss(kind):
    """Against central differences of the loss; the clipping only scales them all."""
    rng = np.random.default_rng(3)
    params = [np.array(param) for param in trained(kind)]
    inputs, targets = sequence()
    start = [column(rng) for _ in range(1 if kind == "rnn" else 2)]

    def loss():
        if kind == "rnn":
            outputs = numpy_lab.forward_pass(inputs, *start, params)[0]
        else:
            outputs = numpy_lab.forward(inputs, *start, params)[-1]
        return -float((targets * np.log(outputs)).sum())

    if kind == "rnn":
        outputs, states = lab.forward_pass(inputs, *start, params)
        settings = {"exact": True, "hidden_state": start[0]}
        _, grads = lab.backward_pass(inputs, outputs, states, targets, params, **settings)
        _, published = lab.backward_pass(inputs, outputs, states, targets, params)
    else:
        kept = lab.forward(inputs, *start, params)
        _, grads = lab.backward(*kept, targets, params, exact=True)
        _, published = lab.backward(*kept, targets, params)

    slopes = []
    for param in params:
        slope = np.zeros(param.size)
        for n in rng.choice(param.size, min(param.size, 25), replace=False):
            value = param.flat[n]
            pair = []
            for step in (1e-5, -1e-5):
                param.flat[n] = value + step
                pair.append(loss())
            param.flat[n] = value
            slope[n] = (pair[0] - pair[1]) / 2e-5
        slopes.append(slope)
    found = direction(slopes)
    picked = np.flatnonzero(found)
    exact = direction(grads)[picked]
    scale = exact @ found[picked] / (exact @ exact)
    np.testing.assert_allclose(scale * exact, found[picked], atol=1e-7 * np.abs(found).max() + 1e-9)
    # The published ones point elsewhere, the LSTM's more so.
    ours = direction(published)[picked]
    cosine = ours @ exact / np.linalg.norm(ours) / np.linalg.norm(exact)
    assert cosine < (0.9999 if kind == "rnn" else 0.95)


def test_training_with_other_data_and_parameters():
    pairs = [(["a", "b", "b"], ["b", "b", "EOS"]), (np.array([0, 1]), [1, 2])]
    seeded()
    params = lab.init_lstm(7, 4)
    before = [param.copy() for param in params]
    for exact in (False, True):
        run = lab.train_lstm(pairs, params=params, epochs=30, exact=exact, progress=False)
        assert run.history.loss[-1] < run.history.loss[0]
        assert run.history.validation_loss == []
        assert [param.shape for param in run.params] == [param.shape for param in before]
    for param, kept in zip(params, before, strict=True):
        np.testing.assert_array_equal(param, kept)


def test_losses_a_token():
    inputs, targets = [0, 0, 1, 1], [0, 1, 1, 2]
    run = lab.train_rnn([(inputs, targets)], epochs=1, lr=0.0, progress=False)
    np.testing.assert_allclose(run.history.loss[0] * 4 / len(inputs), run.per_token.loss[0])
    np.testing.assert_allclose(run.per_token.loss[0], run.score[0])


def test_training_that_diverges_says_so():
    seeded()
    params = [np.full_like(param, np.nan) for param in lab.init_rnn(5, 4)]
    with pytest.raises(bptt.DivergedError, match="epoch 1"):
        lab.train_rnn(params=params, epochs=2, progress=False)


def test_data():
    seeded()
    sequences = lab.generate_data()
    words, names, count, size = lab.seqs_to_dicts(sequences)
    assert words == {"a": 0, "b": 1, "EOS": 2, "UNK": 3}
    assert (names[2], count, size) == ("EOS", 100, 4)
    sets = lab.create_datasets(sequences)
    assert [len(part) for part in sets] == [80, 10, 10]
    assert [[words[t] for t in s] for s in sequences] == numpy_lab.sequences()
    inputs, targets = sets[0][0]
    assert inputs == ["a"] * 8 + ["b"] * 8 and targets == ["a"] * 7 + ["b"] * 8 + ["EOS"]
    np.testing.assert_array_equal(
        lab.one_hot_encode_sequence(inputs, 4), numpy_lab.one_hot([words[t] for t in inputs])
    )
    assert lab.one_hot_encode_sequence(["?"], 4)[0, 3, 0] == 1
    mine = {"a": 1, "UNK": 0}
    assert lab.one_hot_encode_sequence(["a", "b"], 2, mine)[..., 0].tolist() == [[0, 1], [1, 0]]


Z = np.zeros
RNN = (Z((5, 4)), Z((5, 5)), Z((4, 5)), Z((5, 1)), Z((4, 1)))
LSTM = (*[Z((5, 9))] * 4, Z((4, 5)), *[Z((5, 1))] * 4, Z((4, 1)))
KEPT = [Z((3, n, 1)) for n in (9, 5, 5, 5)] + [Z((4, 5, 1)), Z((3, 5, 1)), Z((4, 5, 1))]
KEPT += [Z((3, 4, 1)), np.full((3, 4, 1), 0.25)]
X = Z((3, 4, 1))


def swapped(items, n, value):
    return [value if k == n else item for k, item in enumerate(items)]


BAD = {
    "inputs must have shape (T, 4, 1), got (3, 4)": lambda: lab.forward_pass(
        Z((3, 4)), Z((5, 1)), RNN
    ),
    "inputs must have shape (T, 4, 1) with T >= 1": lambda: lab.forward_pass([], Z((5, 1)), RNN),
    "hidden_state must have shape (5, 1), got (5,)": lambda: lab.forward_pass(X, Z(5), RNN),
    "params must be a sequence (U, V, W": lambda: lab.forward_pass(X, Z((5, 1)), RNN[:4]),
    "params[1] (V) must have shape (H=5, H=5), got (5, 4)": lambda: lab.forward_pass(
        X, Z((5, 1)), swapped(RNN, 1, Z((5, 4)))
    ),
    "outputs must have shape (3, 4, 1)": lambda: lab.backward_pass(
        X, Z((2, 4, 1)), Z((3, 5, 1)), X, RNN
    ),
    "hidden_states must have shape (3, 5, 1)": lambda: lab.backward_pass(
        X, X, Z((3, 4, 1)), X, RNN
    ),
    "targets must have shape (3, 4, 1)": lambda: lab.backward_pass(X, X, Z((3, 5, 1)), X[:2], RNN),
    "C_prev must have shape (5, 1)": lambda: lab.forward(X, Z((5, 1)), Z((4, 1)), LSTM),
    "p[0] (W_f) must have H + V = 9 columns": lambda: lab.forward(
        X, Z((5, 1)), Z((5, 1)), [*[Z((5, 8))] * 4, *LSTM[4:]]
    ),
    "C must have shape (4, 5, 1)": lambda: lab.backward(*swapped(KEPT, 4, Z((3, 5, 1))), X, LSTM),
    "f must have shape (3, 5, 1)": lambda: lab.backward(*swapped(KEPT, 1, Z((3, 4, 1))), X, LSTM),
    "z_size must be hidden_size + vocab_size = 54": lambda: lab.init_lstm(50, 4, 50),
    "param must be a matrix": lambda: lab.init_orthogonal(Z(3)),
    "grads[0] must have shape (2,), got (3,)": lambda: lab.update_parameters([Z(2)], [Z(3)]),
    "params and grads must have the same length, got 1 and 2": lambda: lab.update_parameters(
        [Z(2)], [Z(2), Z(2)]
    ),
    "training_set[0] must have a target for every input": lambda: lab.train_rnn([([0, 1], [1])]),
    "lr must be at least 0": lambda: lab.train_rnn(lr=-1.0),
    "max_norm must be above 0": lambda: lab.train_lstm(max_norm=0.0),
    "must be at least 0 and add up to 1": lambda: lab.create_datasets([], p_train=0.5),
    "'b' is not in word_to_idx": lambda: lab.one_hot_encode_sequence(["b"], 2, {"a": 0}),
    "window must be at most 28": lambda: lab.airline_passengers(29),
    "count must be at least 0": lambda: lab.sequence_sets(-1),
    "sequence must hold numbers from 0 to 3, got 4": lambda: lab.one_hot_encode_sequence([4], 4),
    "training_set is empty": lambda: lab.train_rnn([]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    with pytest.raises(ValueError) as error:
        BAD[message]()
    assert message in str(error.value)


def test_what_cannot_be_changed_is_left_as_it_was():
    grads = [np.ones(3), np.ones(3)]
    grads[1].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        lab.clip_gradient_norm(grads)
    with pytest.raises(ValueError, match="read-only"):
        lab.update_parameters(grads, grads)
    np.testing.assert_array_equal(grads, np.ones((2, 3)))
    with pytest.raises(TypeError, match="int64"):
        lab.update_parameters([np.ones(3, dtype=np.int64)], [np.ones(3)])
    with pytest.raises(TypeError, match="list"):
        lab.clip_gradient_norm([[1.0]])
    with pytest.raises(TypeError, match="generator"):
        lab.clip_gradient_norm(grad for grad in grads)
    large = [np.full(3, 1e30, np.float32)]
    np.testing.assert_allclose(np.linalg.norm(lab.clip_gradient_norm(large)[0]), 0.25, rtol=1e-5)
    with pytest.raises(TypeError, match="real numbers"):
        lab.forward_pass(X.astype(complex), Z((5, 1)), RNN)
