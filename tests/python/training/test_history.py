"""`History` by name, as a frame and as a plot."""

import copy
import pickle
import sys

import pytest

import bptt

LOSSES = {
    "loss": [3.0, 2.0, 1.0, 0.5],
    "validation_loss": [3.0, 1.0, 2.0, 2.5],
    "metrics": {"accuracy": [0.1, 0.2, 0.4, 0.9], "validation_accuracy": [0.1, 0.6, 0.5, 0.4]},
    "lr": [0.1, 0.1, 0.01, 0.001],
}


def history(**changed):
    return bptt.History(**copy.deepcopy({**LOSSES, **changed}), loss_name="cross_entropy")


def test_numbers_by_name():
    h = history()
    names = ["loss", "validation_loss", "accuracy", "validation_accuracy", "lr"]
    assert list(h) == list(h.keys()) == names and len(h) == 5
    for name in names:
        assert h[name] is getattr(h, name) and name in h
    assert dict(h) == {name: getattr(h, name) for name in names}
    assert "val_loss" not in h and h.get("val_loss", 3) == 3
    assert list(bptt.History()) == ["loss", "lr"] and bool(bptt.History())


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("val_loss", r'type history(\["validation_loss"\]|\.validation_loss)'),
        ("val_accuracy", r'type history(\["validation_accuracy"\]|\.validation_accuracy)'),
        ("val_acc", r'type history(\["validation_accuracy"\]|\.validation_accuracy)'),
        ("acc", r'type history(\["accuracy"\]|\.accuracy)'),
        ("learning_rate", r'type history(\["lr"\]|\.lr)'),
        ("history", r'type history(\["loss"\]|\.loss)'),
        ("rmse", "it has loss, validation_loss, accuracy, .*metrics="),
    ],
)
def test_names_that_it_has_not(name, match):
    with pytest.raises(KeyError, match=match):
        history()[name]
    with pytest.raises(AttributeError, match=match):
        getattr(history(), name)


def test_without_validation_data():
    h = bptt.History(loss=[1.0], lr=[0.1])
    assert h.validation_loss == []
    for name in ("validation_loss", "val_loss"):
        with pytest.raises(KeyError, match=r"give fit validation=\(x, y\)"):
            h[name]


def test_copies_and_old_pickles():
    h = history()
    assert copy.deepcopy(h) == pickle.loads(pickle.dumps(h)) == copy.copy(h) == h
    old = bptt.History.__new__(bptt.History)
    state = {**vars(h)}
    del state["steps"], state["loss_name"]
    old.__setstate__(state)  # as a pickle of version 0.1.0 does
    assert old == h and len(old.steps) == 0 and old.accuracy == h.accuracy


def test_frames():
    pytest.importorskip("pandas")
    frame = history().to_frame()
    assert list(frame.columns) == list(history()) and frame.index.name == "epoch"
    assert frame.index.tolist() == [1, 2, 3, 4]
    assert frame["validation_loss"].idxmin() == 2
    assert bptt.History().to_frame().shape == (0, 2)
    m = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    x = [[[1.0], [2.0]]]
    steps = m.fit(x, x, loss="mse", optimizer=bptt.SGD(0.1), epochs=3, progress=False).steps
    frame = steps.to_frame()
    assert list(frame.columns) == ["loss", "gradient_norm", "lr"]
    assert frame.index.tolist() == [1, 2, 3] and frame["loss"].tolist() == steps.loss.tolist()


def test_without_pandas_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        history().to_frame()


@pytest.fixture
def pyplot():
    pytest.importorskip("matplotlib").use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot
    pyplot.close("all")


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_plot_has_panels_titles_units_and_the_best_epoch(pyplot):
    ax = history().plot(metrics=["accuracy"])
    loss, accuracy, rate = ax.figure.axes
    assert loss is ax
    assert (loss.get_title(), accuracy.get_title()) == ("Loss", "Accuracy")
    assert loss.get_ylabel() == "cross-entropy (nats)"
    assert accuracy.get_ylabel() == "accuracy (share of targets)"
    assert texts(loss) == texts(accuracy) == ["training", "validation", "best epoch 2"]
    assert [line.get_color() for line in loss.lines] == ["#0072B2", "#D55E00"]
    assert list(accuracy.lines[1].get_ydata()) == [0.1, 0.6, 0.5, 0.4]
    assert rate.get_yscale() == "log" and rate.get_xlabel() == "epoch"
    assert list(rate.lines[0].get_ydata()) == LOSSES["lr"]
    assert all(line.get_linewidth() >= 1.5 for a in ax.figure.axes for line in a.lines)


def test_a_rate_that_stays_has_no_panel(pyplot):
    assert len(history(lr=[0.1] * 4).plot().figure.axes) == 1


def test_runs_with_labels_share_axes(pyplot):
    _, ax = pyplot.subplots()
    assert history().plot(ax, label="LSTM") is ax
    history(validation_loss=[]).plot(ax, label="other")
    assert texts(ax) == ["LSTM training", "LSTM validation", "LSTM best epoch 2", "other training"]
    lstm, validation, other = ax.lines
    assert lstm.get_color() == validation.get_color() == "#0072B2" != other.get_color()
    assert (lstm.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert len(ax.figure.axes) == 1


def test_axes_for_every_panel(pyplot):
    _, axes = pyplot.subplots(1, 2)
    assert history().plot(axes, metrics=["accuracy"]) is axes[0]
    assert axes[1].get_title() == "Accuracy"


def test_what_cannot_be_plotted(pyplot):
    with pytest.raises(ValueError, match="metrics must be among those of the history, accuracy; "):
        history().plot(metrics=["rmse"])
    with pytest.raises(ValueError, match="which has none"):
        bptt.History(loss=[1.0], lr=[0.1]).plot(metrics=["accuracy"])
    with pytest.raises(TypeError, match="metrics must be a list"):
        history().plot(metrics="accuracy")
    with pytest.raises(TypeError, match="label must be a text"):
        history().plot(label=3)
    with pytest.raises(ValueError, match="axes for each of loss, accuracy: 2, got 1"):
        history().plot(pyplot.subplots()[1], metrics=["accuracy"])


@pytest.mark.parametrize(
    "h",
    [
        bptt.History(),
        bptt.History(loss=[1.0], lr=[0.1]),
        bptt.History(loss=[1.0, float("nan")], validation_loss=[float("inf")] * 2, lr=[0.1, 0.0]),
    ],
)
def test_histories_of_every_length_are_drawn(h, pyplot, tmp_path):
    h.plot(log=True).figure.savefig(tmp_path / "plot.png")
