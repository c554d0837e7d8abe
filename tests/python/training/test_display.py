"""What `fit` shows while it trains: in a notebook, a terminal, elsewhere; and where it cannot."""

import base64
import copy
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from fitting import fit, model, regression
from showing import Broken, Notebook, Terminal

import bptt
from bptt import lab
from bptt._data import sources
from bptt._support import screen
from bptt._training import display


@pytest.fixture
def eager(monkeypatch):
    """Everything is drawn at once, and the core comes back after every batch."""
    monkeypatch.setattr(display, "PATIENCE", 0.0)
    monkeypatch.setattr(sources, "SLICE", 0.0)
    monkeypatch.setattr(screen, "CARE", 0)
    for place in (screen.Notebook, screen.Terminal, screen.Lines):
        monkeypatch.setattr(place, "pause", lambda self, seconds: 0.0)


def terminal(monkeypatch, stream=None, **environment):
    stream = Terminal() if stream is None else stream
    monkeypatch.setattr(sys, "stderr", stream)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    return stream


def run(epochs=3, **settings):
    x, y = regression()
    options = {"batch_size": 4, "validation": (x, y), "metrics": ["rmse"], "progress": True}
    m = settings.pop("model", None) or model()
    return m, fit(m, x, y, epochs=epochs, **(options | settings))


def picture(html):
    """The SVG within HTML."""
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    return ElementTree.fromstring(base64.b64decode(data))


def polylines(html):
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in picture(html).iter("{http://www.w3.org/2000/svg}polyline")
    ]


def test_a_notebook_has_one_output_that_is_updated(monkeypatch, eager):
    notebook = Notebook(monkeypatch)
    _, history = run()
    (shown,) = notebook.outputs
    texts = [bundle["text/plain"] for bundle in shown]
    assert texts[0].startswith("epoch 1 of 3, 33% done, loss ")
    assert any(text.startswith("epoch 2 of 3, 67% done") for text in texts)
    assert any("validating 100%" in text for text in texts)
    loss, validation = history.loss[-1], history.validation_loss[-1]
    assert re.fullmatch(
        rf"3 epochs in \S+ s, loss {loss:.4g}, validation {validation:.4g}, best {validation:.4g} "
        rf"in epoch 3, rmse {history.rmse[-1]:.4g}, validation_rmse \S+",
        texts[-1],
    )
    assert all(bundle.keys() == {"text/plain", "text/html"} for bundle in shown)


def test_what_stays_in_the_notebook_is_static(monkeypatch, eager):
    notebook = Notebook(monkeypatch)
    run()
    for bundle in notebook.outputs[0]:
        html = bundle["text/html"].replace("<br>", "<br/>")
        html = re.sub(r"(<img [^>]*)>", r"\1/>", html)
        elements = list(ElementTree.fromstring(html).iter())
        # What JupyterLab keeps of the output of a notebook that it does not trust.
        assert {element.tag for element in elements} <= {
            *("div", "b", "br", "progress", "table", "thead", "tbody", "tr", "th", "td", "img")
        }
        attributes = {name for element in elements for name in element.attrib}
        assert attributes <= {"style", "value", "max", "width", "height", "alt", "src"}
        assert "currentColor" not in html  # is taken out there
    assert "<progress" in notebook.outputs[0][0]["text/html"]
    final = notebook.outputs[0][-1]["text/html"]
    assert "<progress" not in final and " left" not in final
    assert [len(points) for points in polylines(final)][-2:] == [3, 3]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", final)
    assert cells[:4] == ["", "loss", "rmse", "training"]
    assert "validation" in cells and "best: epoch 3" in cells


def test_the_same_is_not_shown_twice(monkeypatch):
    notebook = Notebook(monkeypatch)
    _, history = run()
    _, other = run(progress=False)
    assert history._repr_html_() is None and other._repr_html_() is not None
    notebook.execution_count += 1
    assert polylines(history._repr_html_()) == polylines(notebook.outputs[0][-1]["text/html"])


def test_a_second_fit_says_where_it_continues(monkeypatch, tmp_path):
    notebook = Notebook(monkeypatch)
    m, _ = run(5)
    assert "continues" not in notebook.outputs[0][-1]["text/html"]
    run(2, model=m)
    run(1, model=copy.copy(m))
    run(0, model=m)
    texts = [shown[-1]["text/plain"] for shown in notebook.outputs]
    assert len(texts) == 3
    assert "continues at epoch 6" in texts[1] and "continues at epoch 8" in texts[2]
    html = notebook.outputs[1][-1]["text/html"]
    assert "continues at epoch 6: this model was trained for 5 epochs before" in html
    path = tmp_path / "run.safetensors"
    run(3, checkpoint=path)
    run(4, checkpoint=path, resume=True, model=m)
    run(4, checkpoint=path, resume=True, model=m)  # there is nothing left to do
    run(1, model=m)
    texts = [shown[-1]["text/plain"] for shown in notebook.outputs[3:]]
    assert len(texts) == 3
    assert "resumed at epoch 4" in texts[1] and "continues at epoch 5" in texts[2]


def test_a_long_epoch_has_a_curve_of_its_own(monkeypatch, eager):
    notebook = Notebook(monkeypatch)
    x, y = regression(rows=40)
    fit(model(), x, y, epochs=1, batch_size=1, progress=True)
    counts = [len(polylines(bundle["text/html"])[0]) for bundle in notebook.outputs[0][1:]]
    assert counts[0] == 2 and counts[-1] >= 38 and counts == sorted(counts)


@pytest.mark.parametrize("epoch", [0, 1])
def test_curves_of_an_epoch_that_has_not_ended(monkeypatch, eager, epoch):
    notebook = Notebook(monkeypatch)
    x, y = regression(rows=40)

    def batches():
        yield from [(x[n : n + 1], y[n : n + 1]) for n in range(20)]
        if not left:
            raise KeyboardInterrupt
        left.pop()

    class Batches:
        def __iter__(self):
            return batches()

        def __len__(self):
            return 30

    left = [None] * epoch
    history = fit(model(), Batches(), epochs=3, progress=True)
    assert history.interrupted and len(history.loss) == epoch
    final = notebook.outputs[0][-1]["text/html"]
    points = [point for line in polylines(final) for point in line]
    assert len(points) > 15 and max(x for x, _ in points) <= 468


def test_a_terminal_has_one_line(monkeypatch, eager):
    stream = terminal(monkeypatch)
    m, history = run()
    text = stream.getvalue()
    assert text.endswith("\n") and text.count("\n") == 1
    lines = text.split("\r")
    assert lines[1].startswith("epoch 1 of 3, 33% done, loss ")
    assert all(len(line.rstrip()) <= 79 for line in lines[:-1])
    assert "left" in text
    for before, line in pairwise(lines):
        assert len(line) >= len(before.rstrip())  # nothing of the line before stays
    assert f"loss {history.loss[-1]:.4g}, validation {history.validation_loss[-1]:.4g}" in lines[-1]
    run(2, model=m)
    assert "continues at epoch 4" in stream.getvalue()


@pytest.mark.parametrize("columns", [1, 20, 40, 200])
def test_a_line_fits_the_terminal(monkeypatch, eager, columns):
    stream = terminal(monkeypatch)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    monkeypatch.setattr(stream, "fileno", lambda: 2, raising=False)
    run()
    *lines, last = stream.getvalue().split("\r")
    assert max(len(line.rstrip()) for line in lines) <= columns - 1
    assert "rmse" in last


CASES = {
    "a file": (Terminal, {"isatty": lambda: False}, {}),
    "a dumb terminal": (Terminal, {}, {"TERM": "dumb"}),
    "no answer": (Terminal, {"isatty": None}, {}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_elsewhere_there_are_few_lines(monkeypatch, case):
    make, attributes, environment = case
    stream = terminal(monkeypatch, make(), **environment)
    for name, value in attributes.items():
        monkeypatch.setattr(stream, name, value)
    run(20)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("20 epochs in ") and "\r" not in line and line.isascii()


def test_lines_come_every_few_seconds(monkeypatch, eager):
    stream = terminal(monkeypatch, TERM="dumb")
    run()
    lines = stream.getvalue().splitlines()
    assert len(lines) > 9 and lines[0].startswith("epoch 1 of 3, 33% done, loss ")
    monkeypatch.undo()
    pause = screen.Lines(stream).pause
    assert pause(0) == pause(50) == 5 and pause(3600) == 360


def closed():
    stream = Terminal()
    stream.close()
    return stream


BROKEN = {
    "none": lambda: None,
    "closed": closed,
    "closed pipe": lambda: Broken(0, BrokenPipeError()),
    "closed later": lambda: Broken(3, BrokenPipeError()),
    "full": lambda: Broken(1, OSError(28, "no space left on device")),
    "encoding": lambda: Broken(2, UnicodeEncodeError("ascii", "", 0, 1, "")),
    "no stream": object,
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_output_that_fails_never_ends_training(monkeypatch, eager, make):
    _, want = run(progress=False)
    terminal(monkeypatch)
    monkeypatch.setattr(sys, "stderr", make())
    _, history = run()
    assert history.loss == want.loss


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_notebook_that_fails_goes_on_in_lines(monkeypatch, eager, after):
    stream = terminal(monkeypatch, TERM="dumb")
    notebook = Notebook(monkeypatch)
    notebook.fails_after = after
    _, history = run()
    assert len(history.loss) == 3 and [len(shown) for shown in notebook.outputs] == [after]
    assert stream.getvalue().splitlines()[-1].startswith("3 epochs in ")
    assert "<img" in history._repr_html_()  # the cell has not shown it


def test_an_ipython_without_a_kernel_is_a_terminal(monkeypatch, eager):
    stream = terminal(monkeypatch)
    notebook = Notebook(monkeypatch)
    notebook.kernel = None
    run()
    assert not notebook.outputs and stream.getvalue().count("\n") == 1


def test_a_broken_ipython_is_a_terminal(monkeypatch, eager):
    stream = terminal(monkeypatch)
    Notebook(monkeypatch)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", None)
    run()
    assert stream.getvalue().count("\n") == 1


def test_no_progress_is_silent(monkeypatch, eager, capsys):
    notebook = Notebook(monkeypatch)
    m, _ = run(progress=False)
    run(progress=False, model=m)
    notebook.kernel = None
    run(progress=False)
    lab.train_rnn(epochs=2, progress=False)
    assert not notebook.outputs and capsys.readouterr() == ("", "")


class Stop(bptt.Callback):
    def on_epoch_end(self, epoch, logs):
        self.model.stop_training = epoch == 1


class Fail(bptt.Callback):
    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, epoch, logs):
        if epoch == 1:
            raise self.error


ENDS = {
    "stopped": ({"callbacks": [Stop()]}, "stopped after 2 of 9 epochs"),
    "interrupted": ({"callbacks": [Fail(KeyboardInterrupt())]}, "interrupted after 2 of 9 epochs"),
    "error": ({"callbacks": [Fail(RuntimeError())]}, "ended by an error after 2 of 9 epochs"),
    "diverged": ({"optimizer": bptt.SGD(1e30)}, "diverged in epoch [12] of 9"),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_the_display_says_how_training_ended(monkeypatch, eager, case):
    settings, want = case
    notebook = Notebook(monkeypatch)
    with suppress(RuntimeError, bptt.DivergedError):
        run(9, **settings)
    final = notebook.outputs[0][-1]
    assert re.match(rf"{want} in ", final["text/plain"])
    assert re.search(rf"<b>{want} in ", final["text/html"])


def test_batches_whose_number_is_unknown(monkeypatch, eager):
    notebook = Notebook(monkeypatch)
    x, y = regression()

    class Batches:
        def __iter__(self):
            return iter([(x, y)] * 4)

    fit(model(), Batches(), epochs=2, progress=True)
    texts = [bundle["text/plain"] for bundle in notebook.outputs[0]]
    assert re.match(r"epoch 1 of 2, loss ", texts[0])
    assert any(text.startswith("epoch 2 of 2, 25% done, loss ") for text in texts)
    fit(model(), [(x, y)] * 4, epochs=1, progress=True)
    assert notebook.outputs[1][0]["text/plain"].startswith("epoch 1 of 1, 25% done, loss ")


def test_the_lab_shows_its_training(monkeypatch, eager):
    notebook = Notebook(monkeypatch)
    trained = lab.train_rnn(epochs=3)
    final = notebook.outputs[0][-1]["text/plain"]
    assert final.startswith("3 epochs in ")
    assert f"loss {trained.history.loss[-1]:.4g}" in final
    assert notebook.outputs[0][0]["text/plain"].startswith("epoch 1 of 3")


def test_drawing_takes_little_of_the_time(monkeypatch):
    """A place that is slow is drawn on less often."""
    now = [0.0]
    monkeypatch.setattr(screen.time, "perf_counter", lambda: now[0])

    class Slow:
        def line(self, width):
            now[0] += 0.5
            return ""

    stream = terminal(monkeypatch)
    shown = screen.Screen(Slow(), True, 0.2)
    draws = []
    while now[0] < 400:
        before = len(stream.getvalue())
        shown.redraw()
        draws += [now[0]] * (len(stream.getvalue()) > before)
        now[0] += 0.05
    assert len(draws) == 4
    assert shown.drawn


def test_curves_of_any_numbers():
    nan, inf = float("nan"), float("inf")
    rng = np.random.default_rng(0)
    for losses, points in [
        ([1.0, nan, inf, 0.5], 2),
        ([2.0, 2.0], 2),
        ([0.0, 0.0], 2),
        ([-3.0, 5e299, 1e301], 2),
        ([1e-300, 1e299, 1.0], 3),
        ([0.6931471, 0.6931472, 0.6931471], 3),
        ((1 / np.arange(1.0, 50_000)).tolist(), 200),
        (rng.standard_normal(1000).tolist(), 200),
    ]:
        html = bptt.History(loss=losses)._repr_html_()
        (line,) = polylines(html)
        assert abs(len(line) - points) <= 2
        assert all(0 <= x <= 480 and 0 <= y <= 220 for x, y in line)
        texts = list(picture(html).iter("{http://www.w3.org/2000/svg}text"))
        for anchor in ("end", "middle"):  # the labels of the losses, and of the epochs
            labels = [text.text for text in texts if text.get("text-anchor") == anchor]
            labels = [label for label in labels if label != "epoch"]
            assert 2 <= len(labels) == len(set(labels)) <= 11, labels
    for losses in ([], [1.0], [nan, nan, nan], [inf, 1.0]):
        assert "<img" not in bptt.History(loss=losses)._repr_html_()


def test_extremes_survive_thinning():
    losses = np.ones(5000)
    losses[[1234, 4321]] = 3.0, 0.1
    (line,) = polylines(bptt.History(loss=losses.tolist())._repr_html_())
    heights = sorted({y for _, y in line})
    assert len(heights) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_long_epoch_is_alive_in_a_real_terminal():
    import pty

    code = """
import numpy as np, bptt
x = np.random.default_rng(0).standard_normal((20_000, 50, 1))
model = bptt.Sequential(bptt.LSTM(1, 32, rng=0), bptt.Linear(32, 1, rng=0))
model.fit(x, x, loss="mse", optimizer=bptt.SGD(0.01), epochs=1, batch_size=4)
"""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:
        pass  # the other side is closed
    os.close(ours)
    assert process.wait() == 0
    lines = seen.decode().split("\r")
    within = [line for line in lines if re.match(r"epoch 1 of 1, \d+% done, loss \d", line)]
    assert len(within) >= 2 and len({line.split("%")[0] for line in within}) >= 2
    assert re.match(r"1 epoch in .* s, loss \d", lines[-2])
