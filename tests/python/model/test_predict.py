"""Predicting and evaluating: files by pieces, Ctrl-C, progress."""

import mmap
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fitting import FORMS, mapped, model, regression, tokens

import bptt
from bptt._data import sources
from bptt._support import progress


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("layers", [(), (bptt.LastStep(),)], ids=["steps", "last step"])
def test_mapped_arrays_are_predicted_as_arrays_are(layers, form, tmp_path):
    m = bptt.Sequential(*model().layers, *layers)
    x = mapped(tmp_path / "x.npy", regression(rows=300)[0], **form)
    got, want = m.predict(x), m.predict(np.array(x))
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("layers", [(), (bptt.LastStep(),)], ids=["steps", "last step"])
def test_lists_of_mapped_arrays_are_predicted_by_pieces(layers, tmp_path, monkeypatch):
    monkeypatch.setattr("bptt._training.evaluate._at_a_time", lambda source: 2)
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 5, steps) for steps in (3, 1, 6, 2, 4)]
    files = [mapped(tmp_path / f"{n}.npy", part, "uint8") for n, part in enumerate(x)]
    m = bptt.Sequential(*tokens().layers, *layers)
    for got, want in zip(m.predict(files), m.predict(x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_mapped_file_that_does_not_fit(tmp_path):
    x = regression()[0]
    with pytest.raises(ValueError, match="x must have 2 features"):
        model().predict(mapped(tmp_path / "x.npy", x[..., :1]))
    with pytest.raises(ValueError, match=r"x must be an array \(N, T, 2\)"):
        model().predict(mapped(tmp_path / "y.npy", x[0]))
    with pytest.raises(ValueError, match="x is empty"):
        model().predict(mapped(tmp_path / "z.npy", x)[:0])


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="cannot let go of pages")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("work", ["predict(x)", "evaluate(x, y, loss='mse')"])
def test_a_mapped_file_larger_than_what_memory_is_used(work, dtype, tmp_path):
    """512 MiB of zeros (a sparse file), gone through in less than half as much."""
    code = f"""
import resource, sys
import numpy as np
import bptt
dtype = np.dtype(sys.argv[2])
x = np.memmap(sys.argv[1], dtype, "w+", shape=(2**29 // dtype.itemsize // 2**16, 64, 1024))
y = np.zeros((len(x), 64, 1), np.float32)
model = bptt.Sequential(bptt.Linear(1024, 1, bias=False, rng=0))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
start = peak()
got = model.{work}
assert np.shape(got) in (y.shape, ()) and (np.asarray(got) == 0).all()
print(x.nbytes / 2**20, peak() - start)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x", dtype], capture_output=True, text=True
    )
    size, grown = map(float, run.stdout.split() or [0, 0])
    assert size == 512, run.stderr
    assert grown < 256, f"{grown} MiB"


# Long work.

LONG = np.zeros((200_000, 100, 1), np.float32)


@pytest.mark.parametrize("work", ["predict", "evaluate"])
def test_ctrl_c_ends_it_and_changes_nothing(work):
    m = bptt.Sequential(bptt.LSTM(1, 128, rng=0), bptt.LastStep(), bptt.Linear(128, 1, rng=0))
    want, before = m.predict(LONG[:3]), m.state_dict()
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        if work == "predict":
            m.predict(LONG, progress=False)
        else:
            m.evaluate(LONG, np.zeros((len(LONG), 1)), loss="mse", progress=False)
    waited = time.perf_counter() - sent[0]
    thread.join()
    assert waited < 2  # about 0.1 s; a loaded machine may need longer
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(m.predict(LONG[:3]), want)


class Bars:
    """In place of tqdm: what would be shown."""

    def __init__(self):
        self.made = []

    def __call__(self, total, initial, unit):
        self.total, self.n, self.unit, self.closed = total, initial, unit, False
        self.seen = [initial]
        self.made.append(self)
        return self

    def update(self, more):
        self.n += more
        self.seen.append(self.n)

    def close(self):
        self.closed = True


def predict(m, x, y, **options):
    m.predict(x, **options)


def evaluate(m, x, y, **options):
    m.evaluate(x, y, loss="mse", **options)


def evaluate_batches(m, x, y, **options):
    m.evaluate([(x[:300], y[:300]), (x[300:], y[300:])], loss="mse", **options)


@pytest.mark.parametrize("work", [predict, evaluate, evaluate_batches])
def test_long_work_has_a_bar_and_short_work_has_none(work, monkeypatch):
    bars = Bars()
    monkeypatch.setattr(progress, "_tqdm", lambda: bars)
    monkeypatch.setattr(sources, "SLICE", 0.0)  # come back after every batch
    m, (x, y) = model(), regression(rows=600)
    work(m, x, y)
    assert not bars.made
    monkeypatch.setattr(progress, "PATIENCE", -1.0)  # as if it had taken long
    work(m, x, y, progress=False)
    assert not bars.made
    work(m, x, y)
    (bar,) = bars.made
    known = work is not evaluate_batches
    assert (bar.total, bar.unit, bar.closed) == (600 if known else None, "sequence", True)
    assert bar.seen == ([256, 512, 600] if known else [256, 300, 556, 600])
    work(m, x[:10], y[:10]) if known else None  # done at once: nothing to wait for
    assert len(bars.made) == 1


def test_a_bar_ends_with_ctrl_c(monkeypatch):
    bars = Bars()
    monkeypatch.setattr(progress, "_tqdm", lambda: bars)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sources, "SLICE", 0.0)

    def interrupted(self, more):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bars, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model().predict(regression(rows=600)[0])
    assert bars.made[0].closed


def test_without_tqdm_long_work_goes_on_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sources, "SLICE", 0.0)
    m, (x, y) = model(), regression(rows=600)
    with pytest.warns(UserWarning, match="no progress bar") as caught:
        m.predict(x)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="no progress bar") as caught:
        m.evaluate(x, y, loss="mse")
    assert len(caught) == 1 and caught[0].filename == __file__
