"""Training: data in every form, history, progress, interruption, divergence."""

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from fitting import fit, model, parameters, regression

import bptt


def test_loss_falls_and_validation_is_recorded():
    x, y = regression()
    m = model()
    history = fit(m, x, y, epochs=60, batch_size=4, validation=regression(seed=1))
    assert len(history.loss) == len(history.validation_loss) == 60
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert history.validation_loss[-1] == m.evaluate(*regression(seed=1), loss="mse")
    assert m.history is history
    assert history.seconds > 0
    assert "60 epochs" in repr(history)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(threads):
    x, y = regression(rows=64, steps=30)

    def train():
        m = bptt.Sequential(
            bptt.LSTM(2, 40, rng=1), bptt.RNN(40, 30, rng=2), bptt.Linear(30, 1, rng=3)
        )
        fit(m, x, y, epochs=3, batch_size=32)
        return parameters(m)

    before = bptt.get_num_threads()
    try:
        bptt.set_num_threads(1)
        want = train()
        bptt.set_num_threads(threads)
        np.testing.assert_array_equal(train(), want)
    finally:
        bptt.set_num_threads(before)


def test_lists_and_arrays_train_alike():
    x, y = regression()
    a, b = model(), model()
    fit(a, x, y, epochs=3, batch_size=4)
    fit(b, list(x), [part.tolist() for part in y], epochs=3, batch_size=4)
    np.testing.assert_array_equal(parameters(a), parameters(b))


def test_sequences_of_different_lengths_one_at_a_time():
    x, y = regression()
    lengths = [1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 5, 2]
    xs = [part[:n] for part, n in zip(x, lengths)]
    ys = [part[:n] for part, n in zip(y, lengths)]
    m = model()
    history = fit(m, xs, ys, epochs=20, batch_size=1)
    assert history.loss[-1] < history.loss[0]
    predictions = m.predict(xs)
    assert [len(part) for part in predictions] == lengths
    errors = np.concatenate(predictions) - np.concatenate(ys)
    assert np.isclose(m.evaluate(xs, ys, loss="mse"), np.mean(errors**2), rtol=1e-5)
    # Prediction is causal: the outputs for a longer sequence begin with those for its start.
    np.testing.assert_array_equal(m.predict(x[:1])[0, :1], predictions[0])


def test_a_ragged_batch_is_the_mean_over_its_tokens():
    x, y = regression(rows=3)
    xs, ys = [x[0][:1], x[1], x[2][:3]], [y[0][:1], y[1], y[2][:3]]
    lengths = [len(part) for part in xs]
    m = model()
    each = [m.evaluate(a[None], b[None], loss="mse") for a, b in zip(xs, ys)]
    history = fit(m, xs, ys, batch_size=3, optimizer=bptt.SGD(0.0))
    assert np.isclose(history.loss[0], np.average(each, weights=lengths), rtol=1e-6)


def test_the_last_batch_may_be_smaller():
    x, y = regression(rows=10)
    assert len(fit(model(), x, y, epochs=2, batch_size=4).loss) == 2


@pytest.mark.parametrize("settings", [{}, {"tbptt": 2}, {"accumulate": 2}], ids=str)
def test_training_and_evaluation_tell_the_same_mean_over_steps(settings):
    """However the sequences are put into batches: what is watched is what is trained on."""
    x, y = regression(rows=5)
    lengths = [1, 5, 3, 2, 5]
    xs, ys = ([part[:n] for part, n in zip(whole, lengths)] for whole in (x, y))
    m = model()
    errors = np.concatenate(m.predict(xs)) - np.concatenate(ys)
    for batch_size in (1, 2, 5):
        options = {"batch_size": batch_size, "optimizer": bptt.SGD(0.0), **settings}
        history = fit(m, xs, ys, validation=(xs, ys), **options)
        assert np.isclose(history.loss[0], np.mean(errors**2), rtol=1e-6)
        assert np.isclose(history.validation_loss[0], np.mean(errors**2), rtol=1e-6)


def test_training_by_rust_is_training_by_hand():
    """Three SGD steps through fit against the layers' own backward, in float64."""
    x, y = regression(rows=4)
    rng = np.random.default_rng(0)
    lstm = bptt.LSTM(2, 9, batch_first=True, dtype="float64", rng=rng)
    linear = bptt.Linear(9, 1, dtype="float64", rng=rng)
    m = model(dtype="float64")
    fit(m, x, y, epochs=3, batch_size=4, shuffle=False, optimizer=bptt.SGD(0.1), clip_norm=0.5)
    for _ in range(3):
        h, _, tape = lstm.forward(x)
        d = 2 * (linear(h) - y) / y.size
        grads = lstm.backward(tape, d @ linear.parameters["weight"])[2]
        grads["weight"] = np.einsum("nto,nth->oh", d, h)
        grads["bias"] = d.sum(axis=(0, 1))
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        for layer in (lstm, linear):
            for name, array in layer.parameters.items():
                array -= 0.1 * min(1, 0.5 / (norm + 1e-6)) * grads[name]
    for trained, by_hand in zip(m.layers, (lstm, linear)):
        for name, array in by_hand.parameters.items():
            np.testing.assert_allclose(trained.parameters[name], array, rtol=1e-11, atol=1e-13)


def test_predictions_have_the_form_of_the_data():
    x, _ = regression()
    m = model()
    assert m.predict(x).shape == (12, 5, 1)
    assert m.predict(list(x))[3].shape == (5, 1)
    np.testing.assert_array_equal(m.predict(x)[3], m.predict(list(x))[3])


def test_state_dict_of_a_model():
    a, b = model(0), model(1)
    assert "0.weight_ih_l0" in a.state_dict() and "1.bias" in a.state_dict()
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(parameters(a), parameters(b))


def test_divergence_keeps_history_and_the_last_good_parameters():
    x, y = regression()
    m = model()
    with pytest.raises(bptt.DivergedError, match=r"epoch \d+") as caught:
        fit(m, x * 1e18, y * 1e18, optimizer=bptt.SGD(1e3), epochs=50, batch_size=4)
    assert caught.value.history is m.history
    assert len(m.history.loss) < 50
    assert np.isfinite(parameters(m)).all()

    m = model()
    before = parameters(m)
    x[3, 1, 0] = np.nan
    with pytest.raises(bptt.DivergedError, match="epoch 1"):
        fit(m, x, y, batch_size=4, shuffle=False, check_finite=False)
    np.testing.assert_array_equal(parameters(m), before)


def test_ctrl_c_returns_the_history_so_far():
    x, y = regression(rows=512, steps=50)
    m = bptt.Sequential(bptt.LSTM(2, 64, rng=0), bptt.Linear(64, 1, rng=0))
    before = parameters(m)
    sent = []

    def interrupt():
        time.sleep(0.7)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    history = fit(m, x, y, epochs=100_000)
    waited = time.perf_counter() - sent[0]
    thread.join()
    assert history.interrupted
    assert waited < 5  # 0.2 s is what users are told; a loaded machine may need longer
    assert not np.array_equal(parameters(m), before)
    assert np.isfinite(parameters(m)).all()


def test_history_plot(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    x, y = regression()
    history = fit(model(), x, y, epochs=3, validation=(x, y))
    ax = history.plot(log=True)
    assert [line.get_label() for line in ax.lines] == ["training", "validation"]
    assert ax.get_xlabel() == "epoch"
    pyplot.close("all")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        history.plot()


def test_a_forked_child_can_train():
    x, y = regression(rows=64, steps=30)
    m = bptt.Sequential(bptt.LSTM(2, 64, rng=0), bptt.Linear(64, 1, rng=0))
    fit(m, x, y, batch_size=64)  # starts the parent's threads
    want = m.predict(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is the point
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if np.array_equal(m.predict(x), want) else 1)
    assert os.waitpid(child, 0)[1] == 0
