"""Truncated BPTT and stateful training through fit; evaluation and prediction of ragged data."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import bptt
from bptt._data import sources
from bptt._training import display


def data(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((length, 2)) for length in lengths]
    return x, [part.sum(axis=-1, keepdims=True).cumsum(axis=0) / 3 for part in x]


def model(dtype="float64", **options):
    rng = np.random.default_rng(0)
    return bptt.Sequential(
        bptt.LSTM(2, 9, dtype=dtype, rng=rng, **options), bptt.Linear(9, 1, dtype=dtype, rng=rng)
    )


def fit(m, x, y, **settings):
    defaults = {"loss": "mse", "optimizer": bptt.Adam(0.01), "rng": 0, "progress": False}
    return m.fit(x, y, **(defaults | settings))


def parameters(m):
    return np.concatenate([array.ravel() for array in m.state_dict().values()])


def test_chunks_are_what_the_layers_do_by_hand():
    x, y = data(7, 4, 3)  # as fit sorts them, so that rows stay where they are
    m, by_hand = model(), model()
    settings = {"batch_size": 3, "shuffle": False, "tbptt": 3, "clip_norm": 0.1}
    history = fit(m, x, y, optimizer=bptt.SGD(0.1), **settings)
    lstm, linear = by_hand.layers
    state = (np.zeros((1, 3, 9)), np.zeros((1, 3, 9)))
    total = 0.0
    for first in (0, 3, 6):
        lengths = [max(0, min(3, len(part) - first)) for part in x]
        chunk_x, target = np.zeros((3, 3, 2)), np.zeros((3, 3, 1))
        real = np.arange(3)[:, None] < lengths
        for b, length in enumerate(lengths):
            chunk_x[:length, b] = x[b][first : first + length]
            target[:length, b] = y[b][first : first + length]
        h, state, tape = lstm.forward(chunk_x, state, lengths=lengths)
        error = (linear(h) - target) * real[..., None]
        total += (error**2).sum()
        d = 2 * error / real.sum()
        grads = lstm.backward(tape, d @ linear.parameters["weight"])[2]
        grads["weight"] = np.einsum("nto,nth->oh", d, h)
        grads["bias"] = d.sum(axis=(0, 1))
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        for layer in (lstm, linear):
            for name, array in layer.parameters.items():
                array -= 0.1 * min(1, 0.1 / (norm + 1e-6)) * grads[name]
    np.testing.assert_allclose(parameters(m), parameters(by_hand), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(history.loss, [total / 14], rtol=1e-12)


@pytest.mark.parametrize("steps", [9, np.int64(10), 2**61])
def test_chunks_as_long_as_the_longest_sequence_change_nothing(steps):
    x, y = data(4, 9, 1, 6, 5)
    deep = {"num_layers": 2, "dropout": 0.3}
    whole, chunks = model(**deep), model(**deep)
    validation = data(3, 8, seed=1)
    want = fit(whole, x, y, epochs=3, batch_size=2, validation=validation)
    got = fit(chunks, x, y, epochs=3, batch_size=2, validation=validation, tbptt=steps)
    assert (got.loss, got.validation_loss) == (want.loss, want.validation_loss)
    np.testing.assert_array_equal(parameters(chunks), parameters(whole))


def test_a_long_sequence_is_learnt_in_chunks():
    wave = np.sin(0.3 * np.arange(3001)).reshape(1, -1, 1)
    m = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.Linear(8, 1, rng=1))
    history = fit(m, wave[:, :-1], wave[:, 1:], epochs=5, tbptt=50)
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert m.evaluate(wave[:, :-1], wave[:, 1:], loss="mse") < history.loss[-1] * 1.5


@pytest.mark.parametrize("tbptt", [None, 2])
def test_pieces_that_carry_their_states_are_one_sequence(tbptt):
    x, y = (np.array(part) for part in data(12, 12))

    def cut(whole):  # the first piece of both, the second of both, the third of both
        return whole.reshape(2, 3, 4, -1).swapaxes(0, 1).reshape(6, 4, -1)

    whole, pieces = model(), model()
    want = fit(whole, x, y, epochs=3, batch_size=2, shuffle=False, tbptt=tbptt or 4)
    settings = {"epochs": 3, "batch_size": 2, "shuffle": False, "tbptt": tbptt}
    got = fit(pieces, cut(x), cut(y), stateful=True, **settings)
    np.testing.assert_array_equal(parameters(pieces), parameters(whole))
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-14)
    apart = model()
    fit(apart, cut(x), cut(y), **settings)
    assert not np.array_equal(parameters(apart), parameters(whole))


def test_states_are_zero_at_the_start_of_an_epoch_and_in_evaluation():
    x, y = (np.array(part) for part in data(5, 5, 5))
    m = model()
    settings = {"batch_size": 1, "shuffle": False, "optimizer": bptt.SGD(0.0)}
    history = fit(m, x, y, epochs=3, stateful=True, validation=(x, y), **settings)
    assert len(set(history.loss)) == len(set(history.validation_loss)) == 1
    each = m.evaluate(x, y, loss="mse")
    assert history.validation_loss[0] == each != history.loss[0]
    # A batch_size above the number of sequences takes them all, in one batch.
    fit(m, x, y, stateful=True, **(settings | {"batch_size": 32}))


def test_ctrl_c_and_the_display_are_not_kept_waiting_by_a_long_sequence(monkeypatch):
    x = np.random.default_rng(0).standard_normal((1, 200_000, 1))
    m = bptt.Sequential(bptt.LSTM(1, 256, rng=0), bptt.Linear(256, 1, rng=0))
    before = parameters(m)
    shares, sent = [], []
    monkeypatch.setattr(display.Display, "within", lambda _, share, *losses: shares.append(share))

    def interrupt():
        while len(shares) < 3:
            time.sleep(0.01)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    history = fit(m, x, x, epochs=1000, tbptt=100)
    waited = time.perf_counter() - sent[0]
    thread.join()
    assert history.interrupted
    assert 0 < shares[0] < shares[1] < shares[2] < 1  # all in the first epoch, which has one batch
    assert waited < 2  # about 0.1 s; a loaded machine may need longer
    assert not np.array_equal(parameters(m), before)
    assert np.isfinite(parameters(m)).all()


def test_shares_of_an_epoch_count_sequences_and_their_steps(monkeypatch):
    monkeypatch.setattr(sources, "SLICE", 0.0)  # come back after every chunk
    shares = []
    monkeypatch.setattr(display.Display, "within", lambda _, share, *losses: shares.append(share))
    fit(model(), *data(4, 2, 4), batch_size=2, shuffle=False, tbptt=1)
    np.testing.assert_allclose(shares, np.array([0.5, 1, 1.5, 2, 2.25, 2.5, 2.75, 3]) / 3)


@pytest.mark.parametrize("settings", [{"tbptt": 3}, {"stateful": True, "shuffle": False}])
def test_what_is_refused_draws_nothing(settings):
    x, y = (np.array(part) for part in data(5, 5))
    options = {"num_layers": 2, "dropout": 0.5, "bidirectional": True, "dtype": "float64"}
    m, fresh = (
        bptt.Sequential(
            bptt.LSTM(2, 4, rng=0, **options), bptt.Linear(8, 1, dtype="float64", rng=0)
        )
        for _ in range(2)
    )
    with pytest.raises(ValueError, match="layer 0 has two directions"):
        fit(m, x, y, **settings)
    assert m.history is None
    fit(m, x, y)  # the same dropout as if nothing had been refused
    fit(fresh, x, y)
    np.testing.assert_array_equal(parameters(m), parameters(fresh))


def test_ragged_data_are_evaluated_and_predicted_like_single_sequences():
    lengths = [1 + n * n % 11 for n in range(300)]  # more than are taken at a time
    x, y = data(*lengths)
    m = model("float32")
    alone = [m.predict([part])[0] for part in x]
    for together, one in zip(m.predict(x), alone, strict=True):
        np.testing.assert_array_equal(together, one)
    losses = [m.evaluate([a], [b], loss="mse") for a, b in zip(x, y)]
    mean = np.average(losses, weights=lengths)
    np.testing.assert_allclose(m.evaluate(x, y, loss="mse"), mean, rtol=1e-12)
