"""The learning rate range test: what it returns, and that it leaves the model as it was."""

import pickle

import numpy as np
import pytest

import bptt

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6, 2))
Y = np.cumsum(X, axis=1)[..., :1]
LOSS = {"loss": "mse", "optimizer": bptt.Adam()}


def model(seed=0):
    return bptt.Sequential(
        bptt.GRU(2, 6, rng=seed), bptt.Dropout(0.2, rng=seed), bptt.Linear(6, 1, rng=seed)
    )


def state(m):
    """All that another `fit` starts from."""
    return pickle.dumps((m.state_dict(), m.history, m.stop_training, m._training, m.layers))


def test_it_returns_the_losses_over_the_rates_and_suggests_one():
    found = model().find_lr(X, Y, rng=0, **LOSS)
    count = len(found.lr)
    assert 50 < count <= 100 and len(found.loss) == len(found.smoothed) == count
    assert np.allclose(found.lr, np.geomspace(1e-7, 10, 100)[:count])
    assert np.isfinite(found.loss).all()
    assert 1e-4 < found.suggestion < 0.5
    assert f"suggestion {found.suggestion:.3g}" in repr(found)
    again = model().find_lr(X, Y, rng=0, **LOSS)
    assert again.loss.tolist() == found.loss.tolist()


def test_the_losses_are_those_of_fit_with_these_rates():
    rates = np.geomspace(1e-3, 0.1, 10)

    class Given(bptt.schedules.Schedule):
        per = "step"

        def _start(self, lr):
            return {"step": 0}

        def _plan(self, state, steps):
            pass

        def _rate(self, state, lr, ahead=0):
            return rates[min(state["step"] + ahead, 9)], None

        def _step(self, state, logs, count=1):
            state["step"] += count

    m = bptt.Sequential(bptt.GRU(2, 6, rng=0), bptt.Linear(6, 1, rng=0))
    options = {**LOSS, "batch_size": 8, "shuffle": False}
    found = m.find_lr(X, Y, low=1e-3, high=0.1, steps=10, **options)
    history = m.fit(X, Y, epochs=2, schedule=Given(), progress=False, **options)
    assert found.loss.tolist() == history.steps.loss.tolist()
    assert np.allclose(found.lr, history.steps.lr)


def test_the_smoothed_loss_by_hand():
    found = model().find_lr(X, Y, rng=0, **LOSS)
    mean = 0.0
    for n, (loss, smoothed) in enumerate(zip(found.loss, found.smoothed), 1):
        mean = 0.98 * mean + 0.02 * loss
        assert smoothed == pytest.approx(mean / (1 - 0.98**n))
    best = 10 + found.smoothed[10:].argmin()
    assert found.suggestion == found.lr[best] / 10
    assert (found.smoothed[:-1] <= 4 * np.minimum.accumulate(found.smoothed)[:-1]).all()


@pytest.mark.parametrize("trained", [False, True])
def test_the_model_stays_as_it_was(trained):
    m, twin = model(), model()
    optimizer = bptt.Adam(0.01)
    options = {"loss": "mse", "optimizer": optimizer, "rng": 3, "progress": False}
    if trained:
        m.fit(X, Y, **options), twin.fit(X, Y, **options)
    before = state(m)
    m.find_lr(X, Y, loss="mse", optimizer=optimizer, tbptt=3, clip_norm=1.0)
    assert state(m) == before
    a, b = (net.fit(X, Y, epochs=2, **options) for net in (m, twin))
    assert a.loss == b.loss, "also dropout and the moments of Adam"


def test_the_model_stays_as_it_was_after_ctrl_c_and_errors():
    class Batches:
        def __init__(self, error):
            self.error = error

        def __iter__(self):
            yield X[:8], Y[:8]
            yield X[8:16], Y[8:16]
            raise self.error

    m = model()
    m.fit(X, Y, progress=False, **LOSS)
    before = state(m)
    for error in (KeyboardInterrupt(), RuntimeError("no more")):
        with pytest.raises(type(error)):
            m.find_lr(Batches(error), loss="mse")
        assert state(m) == before


def test_few_batches_are_gone_through_again():
    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    found = model().find_lr(batches, steps=15, **LOSS)
    assert len(found.lr) == 15
    with pytest.raises(ValueError, match="an iterator"):
        model().find_lr(iter(batches), **LOSS)


def test_it_ends_where_the_loss_explodes():
    found = model().find_lr(X, Y, high=1e6, loss="mse", optimizer=bptt.SGD(0.1), rng=0)
    assert len(found.lr) < 100 and found.lr[-1] < 1e5
    assert np.isfinite(found.loss).all()


def test_without_a_falling_loss_there_is_no_suggestion():
    found = model().find_lr(X, Y, low=1e-9, high=1e-8, batch_size=20, rng=0, **LOSS)
    assert found.suggestion is None and "the loss does not fall" in repr(found)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"low": 0.0}, "0 < low < high"),
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"high": float("inf")}, "0 < low < high"),
        ({"steps": 9}, "steps must be at least 10"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"optimizer": None}, "optimizer is missing"),
        ({"loss": "none"}, "loss"),
    ],
)
def test_what_does_not_fit_is_refused(options, match):
    m = model()
    before = state(m)
    with pytest.raises(ValueError, match=match):
        m.find_lr(X, Y, **{**LOSS, **options})
    assert state(m) == before


def test_a_loss_that_is_not_finite_at_first():
    m = model()
    m.layers[2].parameters["bias"][:] = np.inf
    with pytest.raises(ValueError, match="not finite at the lowest learning rate, 1e-07"):
        m.find_lr(X, Y, **LOSS)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    found = model().find_lr(X, Y, rng=0, **LOSS)
    ax = found.plot()
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "learning rate"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["batch", "smoothed", f"suggestion {found.suggestion:.2g}"]
    assert found.plot(ax) is ax
