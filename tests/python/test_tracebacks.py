"""Tracebacks in notebooks: from the user's line to the check, and nothing between."""

import numpy as np
import pytest
from refused import X, Y, model

import bptt


def frames(work):
    """Return (module, whether IPython hides it) of the frames of an error."""
    with pytest.raises(Exception) as caught:
        work()
    found, trace = [], caught.value.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        hidden = bool(frame.f_locals.get("__tracebackhide__"))
        module = frame.f_globals["__name__"].partition(".")[0]
        found.append(("bptt" if module in ("contextlib", "numpy") else module, hidden))
    return found


class Wrong(bptt.Callback):
    def on_epoch_end(self, epoch, logs):
        raise ValueError("my own")


MISTAKES = {
    "fit": lambda: model().fit(X, Y, loss="mse", optimizer="adam"),
    "a name of fit": lambda: model().fit(X, Y, loss="mse", verbose=1),
    "predict": lambda: model().predict(X[0]),
    "evaluate": lambda: model().evaluate(X, Y, loss="x"),
    "call": lambda: model()(X[0]),
    "generate": lambda: model().generate([0], 3),
    "a layer": lambda: bptt.LSTM(1, 2, units=3),
    "sizes": lambda: bptt.LSTM(1, -2),
    "a model": lambda: bptt.Sequential(3),
    "an optimiser": lambda: bptt.Adam(rate=3),
    "stopping": lambda: bptt.EarlyStopping(patience=-1),
    "load": lambda: bptt.load("nowhere.safetensors"),
    "nan": lambda: model().fit(X * np.nan, Y, loss="mse", optimizer=bptt.Adam()),
}


def estimators():
    sklearn = pytest.importorskip("bptt.sklearn")
    classifier, series = sklearn.SequenceClassifier(max_iter=1), np.arange(9.0)
    yield lambda: classifier.fit(X, np.zeros(3))
    yield lambda: classifier.predict(X)
    yield lambda: classifier.partial_fit(X, ["a"] * 4, classes=["b"])
    yield lambda: sklearn.SequenceForecaster(20, 3).fit(series)
    yield lambda: sklearn.make_windows(series, 20)


def test_frames_of_estimators_are_hidden():
    for work in estimators():
        assert ("bptt", False) not in frames(work)


def test_warnings_of_estimators_point_at_the_users_line():
    sklearn = pytest.importorskip("bptt.sklearn")
    with pytest.warns(UserWarning) as caught:
        fit = sklearn.SequenceForecaster(4, 1, hidden_size=4, max_iter=1).fit(np.arange(40.0))
        fit.predict(1e9 * np.arange(1.0, 9.0)[None, :, None])
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("work", MISTAKES.values(), ids=MISTAKES)
def test_frames_of_the_package_are_hidden(work):
    found = frames(work)
    assert ("bptt", False) not in found
    assert all(not hidden for module, hidden in found if module != "bptt")
    assert found[-1] == ("bptt", True)


def test_frames_of_the_users_own_callback_are_shown():
    settings = {"loss": "mse", "optimizer": bptt.Adam(), "progress": False}
    found = frames(lambda: model().fit(X, Y, callbacks=[Wrong()], **settings))
    assert found[-1] == (__name__, False) and ("bptt", False) not in found


def test_faults_of_the_package_itself_are_shown_whole(monkeypatch):
    def fault(*_):
        raise AssertionError

    monkeypatch.setattr("bptt.model.sequential.check_stateful", fault)
    found = frames(lambda: model().fit(X, Y, loss="mse", optimizer=bptt.Adam()))
    assert ("bptt", False) in found and ("bptt", True) not in found


def test_ipython_shows_the_users_line_and_the_check():
    ultratb = pytest.importorskip("IPython.core.ultratb")
    try:
        model().predict(X[0])
    except ValueError as error:
        formatter = ultratb.FormattedTB(mode="Context", theme_name="nocolor")
        told = formatter.structured_traceback(type(error), error, error.__traceback__)
    text = "\n".join(told)
    assert "model().predict(X[0])" in text and "skipping hidden" in text
    assert text.count("sequences.py") == 1 and "sources.py" not in text
    assert "numpy" not in text
