"""The numbers of every step of the optimiser, and callbacks around each."""

import copy
import json
import pickle

import numpy as np
import pytest

import bptt
from bptt._history import steps as steps_module
from bptt._history.steps import Steps
from bptt._support import safetensors

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10, 6, 2))
Y = np.cumsum(X, axis=1)[..., :1]


def model(seed=0):
    return bptt.Sequential(bptt.GRU(2, 4, rng=seed), bptt.Linear(4, 1, rng=seed))


def fit(m, epochs=3, **options):
    options = {"loss": "mse", "optimizer": bptt.SGD(0.05), "batch_size": 4, "rng": 0} | options
    return m.fit(X, Y, epochs=epochs, progress=False, **options)


def bits(m):
    return [array.tobytes() for array in m.state_dict().values()]


def test_a_step_has_its_loss_norm_and_rate():
    m = model()
    before = m.evaluate(X[:4], Y[:4], loss="mse")
    params = np.concatenate([a.ravel() for a in m.state_dict().values()])
    history = m.fit(X[:4], Y[:4], loss="mse", optimizer=bptt.SGD(0.05), progress=False)
    moved = np.concatenate([a.ravel() for a in m.state_dict().values()]) - params
    steps = history.steps
    assert len(steps) == 1 and steps.step.tolist() == [1] and steps.lr.tolist() == [0.05]
    assert steps.loss[0] == history.loss[0] and abs(steps.loss[0] - before) < 1e-6
    assert abs(steps.gradient_norm[0] * 0.05 / np.linalg.norm(moved) - 1) < 1e-4


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 9), ({"tbptt": 2}, 27), ({"accumulate": 2}, 6), ({"accumulate": 50}, 3)],
)
def test_there_are_as_many_as_the_optimiser_takes(options, count):
    history = fit(model(), **options)
    assert history.steps.step.tolist() == list(range(1, count + 1))
    assert np.isfinite(history.steps.loss).all() and (history.steps.gradient_norm > 0).all()


def test_the_norm_is_that_before_clipping():
    free, clipped = fit(model(), 1).steps, fit(model(), 1, clip_norm=0.01).steps
    assert abs(clipped.gradient_norm[0] / free.gradient_norm[0] - 1) < 1e-5
    assert free.gradient_norm[0] > 0.1


def test_rates_are_those_of_the_schedule():
    schedule = bptt.LinearLR(start_factor=0.5, total_iters=6, per="step")
    history = fit(model(), schedule=schedule)
    want = 0.05 * np.minimum(0.5 + 0.5 * np.arange(9) / 6, 1)
    assert np.allclose(history.steps.lr, want) and history.lr == history.steps.lr[::3].tolist()


def test_iterables_have_steps_too():
    batches = [(X[n : n + 4], Y[n : n + 4]) for n in range(0, 10, 4)]
    options = {"loss": "mse", "optimizer": bptt.SGD(0.05), "epochs": 2, "progress": False}
    history = model().fit(batches, **options)
    want = model().fit(X, Y, batch_size=4, shuffle=False, **options)
    assert history.steps.loss.tolist() == want.steps.loss.tolist()


def test_a_loss_of_nothing_is_nan():
    y = np.zeros((2, 4), int)
    y[:, :2] = -100
    m = bptt.Sequential(bptt.GRU(2, 4, rng=0), bptt.Linear(4, 3, rng=0))
    options = {"loss": "cross_entropy", "optimizer": bptt.SGD(0.1), "progress": False}
    history = m.fit(X[:2, :4], y, tbptt=2, **options)
    assert np.isnan(history.steps.loss).tolist() == [True, False]
    assert history.steps.gradient_norm[0] == 0


def test_resumed_runs_have_the_steps_of_the_whole(tmp_path):
    whole = fit(model(), 5).steps
    options = {"checkpoint": tmp_path / "run", "resume": True}
    fit(model(), 2, **options)
    resumed = fit(model(1), 5, **options).steps
    for name in ("step", "loss", "gradient_norm", "lr"):
        assert getattr(resumed, name).tolist() == getattr(whole, name).tolist()


def rewritten(path, change):
    tensors, texts = safetensors.read(path)
    training = json.loads(texts["bptt.training"])
    change(training["parts"]["history"], tensors)
    safetensors.write(path, tensors, {**texts, "bptt.training": json.dumps(training)})


def test_a_file_without_steps_is_resumed(tmp_path):
    """As version 0.1.0 wrote it."""
    options = {"checkpoint": tmp_path / "run", "resume": True}
    fit(model(), 2, **options)
    rewritten(tmp_path / "run", lambda history, tensors: history.pop("steps"))
    history = fit(model(), 3, **options)
    assert len(history.loss) == 3
    assert history.steps.step.tolist() == [1, 2, 3]


def set_row(history, tensors, column, value):
    tensors[history["steps"]["rows"]["tensor"]][1, column] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda h, t: h["steps"].pop("taken"),
        lambda h, t: h["steps"].update(taken=7),
        lambda h, t: h["steps"].update(taken=-1),
        lambda h, t: h["steps"].update(taken=6.0),
        lambda h, t: h["steps"].update(every=2),
        lambda h, t: h["steps"].update(every=0),
        lambda h, t: h["steps"].update(rows=[1.0]),
        lambda h, t: h.update(steps=3),
        lambda h, t: set_row(h, t, 0, np.inf),
        lambda h, t: set_row(h, t, 1, -1),
        lambda h, t: set_row(h, t, 2, np.nan),
    ],
)
def test_wrong_steps_in_a_checkpoint_are_refused(change, tmp_path):
    options = {"checkpoint": tmp_path / "run", "resume": True}
    fit(model(), 2, **options)
    rewritten(tmp_path / "run", change)
    m = model(1)
    before = bits(m)
    with pytest.raises(ValueError, match="state of history"):
        fit(m, 3, **options)
    assert bits(m) == before


def rows(first, count):
    return np.arange(3.0 * first, 3.0 * (first + count)).reshape(-1, 3)


@pytest.mark.parametrize("piece", [1, 3, 7, 64])
def test_memory_is_bounded(piece, monkeypatch):
    monkeypatch.setattr(steps_module, "MOST", 8)
    steps, all_rows = Steps(), rows(0, 50)
    for first in range(0, 50, piece):
        steps._extend(all_rows[first : first + piece])
        assert len(steps) <= 8
    assert steps.step.tolist() == list(range(1, 51, 8))
    assert steps.loss.tolist() == all_rows[::8, 0].tolist()
    assert steps.lr.tolist() == all_rows[::8, 2].tolist()
    assert repr(steps).startswith("<Steps: 50 steps, one in 8 kept, loss ")


def test_copies_and_pickles():
    history = fit(model())
    for twin in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        assert twin == history and twin.steps.loss.tolist() == history.steps.loss.tolist()
        twin.steps._extend(rows(0, 2))
        assert (len(twin.steps), len(history.steps)) == (11, 9)
    history.steps.loss[:] = 0
    assert (history.steps.loss > 0).all(), "arrays are copies"


class Seen(bptt.Callback):
    def __init__(self, stop_at=None):
        self.calls, self.logs, self.stop_at = [], [], stop_at

    def on_epoch_begin(self, epoch):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch):
        self.calls.append(f"begin {batch}")

    def on_train_batch_end(self, batch, logs):
        self.calls.append(f"end {batch}")
        self.logs.append(logs)
        if len(self.logs) == self.stop_at:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs):
        self.calls.append(f"epoch end {epoch}")


@pytest.mark.parametrize(
    ("options", "count"), [({}, 3), ({"tbptt": 2}, 9), ({"accumulate": 2}, 2), ({"tbptt": 4}, 6)]
)
def test_hooks_are_called_around_every_step(options, count):
    seen, m, twin = Seen(), model(), model()
    history, want = fit(m, 2, callbacks=[seen], **options), fit(twin, 2, **options)
    batches = [f"{word} {n}" for n in range(count) for word in ("begin", "end")]
    assert seen.calls == [
        *("epoch 0", *batches, "epoch end 0"),
        *("epoch 1", *batches, "epoch end 1"),
    ]
    assert bits(m) == bits(twin) and history.loss == want.loss, "they change nothing"
    steps = history.steps
    for name in ("loss", "gradient_norm", "lr"):
        assert [logs[name] for logs in seen.logs] == getattr(steps, name).tolist()
    assert steps.loss.tolist() == want.steps.loss.tolist()


@pytest.mark.parametrize("options", [{}, {"tbptt": 2}, {"accumulate": 3}])
def test_a_hook_ends_the_epoch_after_the_batch(options):
    seen = Seen(stop_at=1)
    history = fit(model(), 5, callbacks=[seen], validation=(X, Y), **options)
    assert len(history.loss) == len(history.validation_loss) == 1
    assert seen.calls[-1] == "epoch end 0"
    assert len(seen.logs) == {"tbptt": 3}.get(next(iter(options), ""), 1)
    if not options:
        assert history.loss == [seen.logs[0]["loss"]]


def test_a_run_stopped_before_its_first_batch_does_that_batch():
    class Stop(Seen):
        def on_epoch_begin(self, epoch):
            self.model.stop_training = True

    history = fit(model(), 5, callbacks=[Stop()])
    assert len(history.steps) == len(history.loss) == 1


def test_only_hooks_that_do_something_stop_training_after_each_step():
    class Plain:
        def on_train_batch_end(self, batch, logs):
            pass

    def each_step(callback):
        return bptt.callbacks.Calls(model(), [callback], None).each_step

    assert each_step(Plain()) and each_step(Seen())
    assert not each_step(bptt.EarlyStopping()) and not each_step(bptt.Callback())


def test_an_error_of_a_hook_leaves_the_layers_of_the_last_epoch():
    class Wrong(bptt.Callback):
        def on_train_batch_end(self, batch, logs):
            if len(self.model.history.steps) == 5:
                raise RuntimeError("enough")

    m, twin = model(), model()
    fit(twin, 1)
    with pytest.raises(RuntimeError, match="enough"):
        fit(m, 3, callbacks=[Wrong()])
    assert bits(m) == bits(twin) and len(m.history.steps) == 5


def test_ctrl_c_in_a_hook_keeps_what_is_learnt():
    class Stop(bptt.Callback):
        def on_train_batch_end(self, batch, logs):
            if batch == 1:
                raise KeyboardInterrupt

    m = model()
    before = bits(m)
    history = fit(m, 3, callbacks=[Stop()])
    assert history.interrupted and len(history.steps) == 2 and history.loss == []
    assert bits(m) != before


def test_a_run_that_diverges_has_the_steps_before():
    with pytest.raises(bptt.DivergedError) as error:
        fit(model(), 200, optimizer=bptt.SGD(1e6))
    steps = error.value.history.steps
    assert len(steps) > 0 and np.isfinite(steps.loss).all()
