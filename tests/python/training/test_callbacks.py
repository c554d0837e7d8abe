"""Callbacks that write files: models and tables."""

import copy
import csv
import pickle

import numpy as np
import pytest

import bptt

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 5, 1))


def model(seed=0):
    return bptt.Sequential(bptt.GRU(1, 4, rng=seed), bptt.Linear(4, 1, rng=seed))


def fit(callback, epochs=12, m=None, **options):
    options = {"loss": "mse", "optimizer": bptt.Adam(0.1), "rng": 0} | options
    data = {"validation": (X[10:], -X[10:])} | options.pop("data", {})
    m = model() if m is None else m
    callbacks = [callback]
    return m.fit(
        X[:10], -X[:10], epochs=epochs, progress=False, callbacks=callbacks, **data, **options
    )


def test_the_best_model_is_saved(tmp_path):
    saver = bptt.ModelCheckpoint(tmp_path / "best")
    history = fit(saver, 40)
    best = int(np.argmin(history.validation_loss))
    assert saver.best == history.validation_loss[best] and saver.best_epoch == best < 39
    assert saver.saved == tmp_path / "best"
    loaded = bptt.load(saver.saved)
    assert loaded.evaluate(X[10:], -X[10:], loss="mse") == saver.best
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_every_epoch_can_be_saved_with_its_numbers_in_the_name(tmp_path):
    saver = bptt.ModelCheckpoint(
        str(tmp_path / "{epoch:02d}-{validation_loss:.3f}-{lr}"), best_only=False
    )
    history = fit(saver, 3)
    want = [f"{n:02d}-{v:.3f}-0.1" for n, v in enumerate(history.validation_loss, 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == want


def test_higher_is_better_where_it_is(tmp_path):
    class Fake(bptt.ModelCheckpoint):
        """Numbers that are not those of training."""

        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, {"accuracy": [0.5, 0.7, float("nan"), 0.6][epoch]})

    labels = (X[:10, :, 0] > 0).astype(int)
    net = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 2, rng=0))
    options = {"loss": "cross_entropy", "optimizer": bptt.Adam(), "metrics": ["accuracy"]}
    for mode, best in (("auto", 1), ("max", 1), ("min", 0)):
        saver = Fake(tmp_path / "m", monitor="accuracy", mode=mode)
        net.fit(X[:10], labels, epochs=4, callbacks=[saver], progress=False, **options)
        assert saver.best_epoch == best


def test_a_resumed_run_keeps_what_was_best(tmp_path):
    whole, parts = bptt.ModelCheckpoint(tmp_path / "a"), bptt.ModelCheckpoint(tmp_path / "b")
    fit(whole, 40)
    options = {"checkpoint": tmp_path / "run", "resume": True}
    fit(parts, 30, **options)
    again = bptt.ModelCheckpoint(tmp_path / "b")
    fit(again, 40, model(1), **options)
    assert (again.best, again.best_epoch) == (whole.best, whole.best_epoch)
    assert again.saved == tmp_path / "b"
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("path", "kind", "match"),
    [
        ("{nothing}", ValueError, "may have epoch, loss, .*in braces, got 'nothing'"),
        ("{validation_rmse}", ValueError, "got 'validation_rmse'"),
        ("none/m", FileNotFoundError, "existing directory"),
    ],
)
def test_wrong_paths_are_refused_before_training(path, kind, match, tmp_path):
    m = model()
    before = m.state_dict()
    with pytest.raises(kind, match=match):
        fit(bptt.ModelCheckpoint(tmp_path / path), m=m)
    assert all((before[name] == array).all() for name, array in m.state_dict().items())


def test_what_cannot_be_is_refused():
    with pytest.raises(TypeError, match="path must be"):
        bptt.ModelCheckpoint(3)
    with pytest.raises(ValueError, match="a text for str"):
        bptt.ModelCheckpoint("{epoch")
    with pytest.raises(TypeError, match="best_only"):
        bptt.ModelCheckpoint("m", best_only=1)
    with pytest.raises(ValueError, match="mode must be"):
        bptt.ModelCheckpoint("m", mode="best")
    with pytest.raises(ValueError, match="monitor of ModelCheckpoint"):
        fit(bptt.ModelCheckpoint("m", monitor="rmse"))
    with pytest.raises(TypeError, match="path must be"):
        bptt.CSVLogger(3)


def test_a_table_has_a_row_for_each_epoch(tmp_path):
    path = tmp_path / "run.csv"

    class Look(bptt.CSVLogger):
        lines = ()

        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            self.lines = (*self.lines, len(path.read_text().splitlines()))

    look = Look(path)
    history = fit(look, 3, metrics=["rmse"])
    assert look.lines == (2, 3, 4), "each is there at once"
    with path.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert list(rows[0]) == ["epoch", "loss", "validation_loss", "rmse", "validation_rmse", "lr"]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == values, name


def test_a_table_begins_anew_or_goes_on(tmp_path):
    path = tmp_path / "run.csv"
    fit(bptt.CSVLogger(path), 3)
    fit(bptt.CSVLogger(path), 2)
    assert len(path.read_text().splitlines()) == 3
    more = bptt.CSVLogger(path, append=True)
    fit(more, 2)
    fit(more, 1)
    lines = path.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "1", "2", "1"]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="has the columns epoch, loss, validation_loss, lr, this"):
        fit(more, 2, metrics=["rmse"])
    assert path.read_bytes() == before


def test_a_table_is_complete_after_ctrl_c(tmp_path):
    class Stop(bptt.Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt

    m, logger = model(), bptt.CSVLogger(tmp_path / "run.csv")
    options = {"loss": "mse", "optimizer": bptt.Adam(0.1), "progress": False}
    m.fit(X, -X, epochs=5, callbacks=[logger, Stop()], **options)
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 3


def test_copies(tmp_path):
    logger = bptt.CSVLogger(tmp_path / "run.csv")
    logger.on_train_begin()
    for twin in (copy.deepcopy(logger), pickle.loads(pickle.dumps(logger))):
        assert twin.path == logger.path
    logger.on_train_end()
    stopping = pickle.loads(pickle.dumps(bptt.EarlyStopping(patience=3)))
    assert stopping.patience == 3
    assert bptt.callbacks.EarlyStopping is bptt.EarlyStopping
