"""Predicting and evaluating: files by pieces, Ctrl-C, progress."""

import mmap
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from fitting import FORMS, mapped, model, regression, tokens
from showing import Notebook, Terminal

import bptt
from bptt._data import sources
from bptt._support import progress, screen


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


def predict(m, x, y, **options):
    m.predict(x, **options)


def evaluate(m, x, y, **options):
    m.evaluate(x, y, loss="mse", **options)


def evaluate_batches(m, x, y, **options):
    m.evaluate([(x[:300], y[:300]), (x[300:], y[300:])], loss="mse", **options)


@pytest.mark.parametrize("work", [predict, evaluate, evaluate_batches])
def test_long_work_is_shown_and_short_work_is_not(work, monkeypatch):
    notebook = Notebook(monkeypatch)
    monkeypatch.setattr(sources, "SLICE", 0.0)  # come back after every batch
    monkeypatch.setattr(screen.Notebook, "pause", lambda self, seconds: 0.0)
    monkeypatch.setattr(screen, "CARE", 0)
    m, (x, y) = model(), regression(rows=600)
    work(m, x, y)
    assert not notebook.outputs
    monkeypatch.setattr(progress, "PATIENCE", -1.0)  # as if it had taken long
    work(m, x, y, progress=False)
    assert not notebook.outputs
    work(m, x, y)
    (shown,) = notebook.outputs
    texts = [bundle["text/plain"] for bundle in shown]
    doing, known = work.__name__.split("_")[0], work is not evaluate_batches
    counts = [256, 512] if known else [256, 300, 556, 600]
    of = " of 600" if known else ""
    assert [text.split(" sequences")[0] for text in texts[:-1]] == [
        f"{doing}: {count}{of}" for count in counts
    ]
    assert re.fullmatch(rf"{doing}: 600 sequences in \S+ s", texts[-1])
    for bundle in shown:
        ElementTree.fromstring(bundle["text/html"].replace("<br>", "<br/>"))
    assert ("<progress" in shown[0]["text/html"]) == known
    assert "<progress" not in shown[-1]["text/html"]
    work(m, x[:10], y[:10]) if known else None  # done at once: nothing to wait for
    assert len(notebook.outputs) == 1


def test_progress_ends_with_ctrl_c(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sources, "SLICE", 0.0)
    advance = progress.SequenceProgress.advance

    def interrupted(self, done):
        advance(self, done)
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.SequenceProgress, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model().predict(regression(rows=600)[0])
    *_, last = stream.getvalue().split("\r")
    assert re.match(r"predict: 256 sequences in \S+ s *\n$", last)
