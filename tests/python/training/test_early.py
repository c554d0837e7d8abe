"""What is wrong with a call of `fit` is told before it trains, and nothing has changed."""

import copy
import os
import time

import numpy as np
import pytest

import bptt

X, Y = np.zeros((4, 5, 2)), np.zeros((4, 5, 1))
LARGE = np.zeros((2,) * 22)  # its text has a hundred megabytes
SURROGATE = "run\ud800"


class Counts(bptt.Callback):
    """A callback that is never to be called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch):
        self.calls.append(epoch)


def model():
    layers = bptt.LSTM(2, 3, num_layers=2, dropout=0.5, rng=0), bptt.Linear(3, 1, rng=0)
    return bptt.Sequential(*layers)


def refused(error, match, x=X, y=Y, m=None, **options):
    """Check that a fit is refused at once and changes nothing."""
    m, callback, rng = model() if m is None else m, Counts(), np.random.default_rng(0)
    before = m.state_dict()
    draws = repr([vars(layer).get("_rng").bit_generator.state for layer in m.layers[:1]])
    optimizer = bptt.Adam(0.01)
    settings = {"loss": "mse", "optimizer": optimizer, "rng": rng, "progress": False}
    start = time.process_time()
    with pytest.raises(error, match=match) as raised:
        m.fit(x, y, epochs=3, callbacks=[callback], **(settings | options))
    assert time.process_time() - start < 1
    assert len(str(raised.value)) < 1500
    assert callback.calls == [] and m.history is None and m._training is None
    assert all(array.tobytes() == before[name].tobytes() for name, array in m.state_dict().items())
    assert repr([vars(layer).get("_rng").bit_generator.state for layer in m.layers[:1]]) == draws
    assert repr(rng.bit_generator.state) == repr(np.random.default_rng(0).bit_generator.state)


class Again:
    """An iterable that can start again."""

    def __init__(self, *batches):
        self.batches, self.started = batches, 0

    def __iter__(self):
        self.started += 1
        return iter(self.batches)


BATCHES = {
    "nothing": ((), "has no batches"),
    "text": (("abc",), r"batch 0 must be a tuple \(x, y\)"),
    "array": ((X,), "batch 0 must be a tuple"),
    "one": (((X,),), "batch 0 must be a tuple"),
    "features": (((X[..., :1], Y),), "batch 0 x must have 2 features"),
    "targets": (((X, Y[:, 1:]),), r"batch 0 y\[0\] must have a target"),
    "outputs": (((X, X),), "batch 0 y must have 1 features"),
    "complex": (((X * 1j, Y),), "batch 0 x must hold real numbers"),
}


@pytest.mark.parametrize(("batches", "message"), BATCHES.values(), ids=BATCHES)
def test_a_bad_first_batch(batches, message):
    refused((ValueError, TypeError), f"validation.*{message}", validation=Again(*batches))
    refused((ValueError, TypeError), message, Again(*batches), None)


def test_the_first_batch_is_taken_once():
    """An iterable is started once an epoch, also where its first batch was looked at."""
    x, validation = Again((X, Y), (X, Y)), Again((X, Y + 1))
    options = {"loss": "mse", "optimizer": bptt.SGD(0.1), "progress": False}
    history = model().fit(x, validation=validation, epochs=3, **options)
    assert x.started == validation.started == 3
    plain = model().fit(x, validation=(X, Y + 1), epochs=3, **options)
    assert (history.loss, history.validation_loss) == (plain.loss, plain.validation_loss)
    one = model().fit(iter([(X, Y)] * 2), validation=iter([(X, Y + 1)]), epochs=1, **options)
    assert one.validation_loss == plain.validation_loss[:1]
    model().fit(Again(), validation=Again(), epochs=0, **options)


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("fifo")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file", "folder", "loop"]


PATHS = {
    "surrogate": (SURROGATE, ValueError, "a character that no path may have"),
    "zero": ("a\0b", ValueError, "a character that no path may have"),
    "missing folder": ("none/run", FileNotFoundError, "existing directory"),
    "in a file": ("file/run", OSError, "existing directory"),
    "folder": ("folder", IsADirectoryError, "folder"),
    "empty": ("", IsADirectoryError, "directory"),
    "here": (".", IsADirectoryError, "directory"),
    "fifo": ("fifo", OSError, "must be a regular file, this is a named pipe"),
    "device": ("/dev/null", OSError, "must be a regular file, this is a device"),
    "loop": ("loop", OSError, "symbolic links"),
    "long": ("x" * 300, OSError, "name too long"),
    "array": (LARGE, TypeError, "path must be a str or a path, got ndarray of shape"),
    "list": ([LARGE], TypeError, "path must be a str or a path, got .ndarray of shape"),
    "bytes": (b"run", TypeError, "path must be a str or a path"),
    "number": (3, TypeError, "path must be a str or a path"),
    "false": (False, TypeError, "path must be a str or a path"),
}


@pytest.mark.parametrize(("path", "error", "message"), PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("resume", [False, True])
def test_a_bad_checkpoint_path(path, error, message, resume, paths):
    refused(error, message, checkpoint=path, resume=resume)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    refused(PermissionError, "Permission", checkpoint=tmp_path / "run")


def test_a_full_disk_or_a_read_only_one(tmp_path, monkeypatch):
    make = os.open

    def read_only(path, flags, *rest):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", path)
        return make(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    refused(OSError, "Read-only file system: .*run'$", checkpoint=tmp_path / "run")


def test_layers_that_no_file_can_have(tmp_path):
    class Mine(bptt.Linear):
        pass

    m = bptt.Sequential(*model().layers[:1], Mine(3, 1, rng=0))
    refused(TypeError, "only layers of bptt can be saved", m=m, checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_state_that_no_file_can_have_is_told_clearly(tmp_path):
    class Bad(bptt.Callback):
        def state_dict(self):
            return {"seen": {1, 2}}

        def load_state_dict(self, state):
            pass

    options = {"loss": "mse", "optimizer": bptt.SGD(0.1), "progress": False}
    with pytest.raises(TypeError, match="state_dict of a callback must have numbers, strings"):
        model().fit(X, Y, callbacks=[Bad()], checkpoint=tmp_path / "run", **options)
    assert not list(tmp_path.iterdir())


class Strange:
    """An object whose every conversion fails in its own way, as a tensor's may."""

    shape, ndim = (2, 3), 2

    def fail(self, *_):
        raise RuntimeError("a tensor of 6 numbers has no single value")

    __index__ = __float__ = __bool__ = __len__ = __eq__ = __repr__ = fail
    __hash__ = None


OPTIONS = [
    "loss",
    "optimizer",
    "epochs",
    "batch_size",
    "validation",
    "clip_norm",
    "shuffle",
    "rng",
    "progress",
    "tbptt",
    "stateful",
    "schedule",
    "metrics",
    "early_stopping",
    "callbacks",
    "accumulate",
    "checkpoint_every",
    "resume",
]
VALUES = [LARGE, [LARGE], np.ones(3), np.ma.masked, Strange(), object(), 1j, b"x", {3: LARGE}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_wrong_type(name, value):
    m, rng = model(), np.random.default_rng(0)
    before = copy.deepcopy(m.state_dict())
    options = {"loss": "mse", "optimizer": bptt.SGD(0.1), "rng": rng, "progress": False}
    start = time.process_time()
    with pytest.raises((TypeError, ValueError)) as raised:
        m.fit(X, Y, **(options | {name: value}))
    assert time.process_time() - start < 1
    text = str(raised.value)
    assert name.split("_")[0] in text and len(text) < 1500, text
    assert "truth value" not in text and "single value" not in text
    assert all((array == before[key]).all() for key, array in m.state_dict().items())
    assert m.history is None


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_arguments_of_layers_of_a_wrong_type(value):
    for make in (
        lambda: bptt.LSTM(value, 3),
        lambda: bptt.LSTM(2, value),
        lambda: bptt.LSTM(2, 3, dropout=value),
        lambda: bptt.LSTM(2, 3, bias=value),
        lambda: bptt.LSTM(2, 3, dtype=value),
        lambda: bptt.LSTM(2, 3, compute=value),
        lambda: bptt.RNN(2, 3, nonlinearity=value),
        lambda: bptt.LSTM(2, 3).forward(X, checkpoint=value),
        lambda: bptt.Dropout(value),
        lambda: bptt.load(value),
        lambda: model().save(value),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            make()
        assert "truth value" not in str(raised.value) and len(str(raised.value)) < 1500
