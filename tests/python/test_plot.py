"""Pictures of training and of what models do: what is drawn, and input that cannot be."""

from itertools import pairwise

import matplotlib.colors
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as PlainFigure

import bptt
from bptt import plot
from bptt._support import palette

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def texts(figure):
    """The texts of cells by their places, (row, column)."""
    places = {text.get_position()[::-1]: text.get_text() for text in figure.axes[0].texts}
    return {place: text for place, text in places.items() if place[1] % 1 == 0}


def recalls(figure):
    """The texts on the right of the cells, downwards."""
    places = {text.get_position()[::-1]: text.get_text() for text in figure.axes[0].texts}
    return [text for place, text in sorted(places.items()) if place[1] % 1 and text != "recall"]


def history(loss, validation_loss=(), **metrics):
    return bptt.History(loss=list(loss), validation_loss=list(validation_loss), metrics=metrics)


def gates_of(layer, steps=9, **options):
    rng = np.random.default_rng(0)
    return layer(rng.standard_normal((steps, layer.input_size)), return_gates=True, **options)[2]


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]


# Confusion


def test_confusion_counts_each_pair_in_its_row_and_column():
    figure = plot.confusion([0, 0, 0, 1, 2, 2], [0, 0, 2, 1, 0, 2])
    assert texts(figure) == {
        (0, 0): "2\n67 %",
        (0, 2): "1\n33 %",
        (1, 1): "1\n100 %",
        (2, 0): "1\n50 %",
        (2, 2): "1\n50 %",
    }
    ax = figure.axes[0]
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares, [[2 / 3, 0, 1 / 3], [0, 1, 0], [0.5, 0, 0.5]])
    assert ax.get_ylabel() == "true class"
    assert "66.7 % of 6" in ax.get_title()


def test_confusion_takes_the_order_of_the_labels_and_classes_that_do_not_occur():
    figure = plot.confusion(["b", "a"], ["b", "b"], labels=["b", "c", "a"])
    assert texts(figure) == {(0, 0): "1\n100 %", (2, 0): "1\n100 %"}
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["b", "c", "a"]
    assert recalls(figure) == ["100 %", "-", "0 %"]


def test_recall_is_exact_at_its_ends():
    true = [0] * 1000 + [1] * 1000 + [2]
    predicted = [0] * 999 + [1] + [0] * 999 + [1] + [2]
    assert recalls(plot.confusion(true, predicted)) == ["99 %", "1 %", "100 %"]


@pytest.mark.parametrize("count", [2, 8, 9, 20])
@pytest.mark.parametrize("name", ["{}", "a class with a name of many words, number {}"])
def test_nothing_overlaps_in_a_matrix(count, name):
    classes = [name.format(LETTERS[n]) for n in range(count)]
    true = np.repeat(classes, 400)
    predicted = np.where(np.arange(len(true)) % 3, true, np.roll(true, 400))
    figure = plot.confusion(true, predicted)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    width, height = (ax.bbox.width / count, ax.bbox.height / count)
    for text in ax.texts:
        extent = text.get_window_extent()
        in_cell = text.get_position()[0] % 1 == 0
        assert extent.height < height and (extent.width < width or not in_cell), text
    beside = [text for text in ax.texts if text.get_position()[0] % 1]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels(), beside):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
        assert all(box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height for box in boxes)
        assert all(label.get_fontsize() >= 10 for label in labels)


# Gates


@pytest.mark.parametrize("kind", ["image", "lines"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}])
def test_gates_of_every_layer_and_direction_have_axes(kind, options):
    values = gates_of(bptt.GRU(3, 50, rng=0, **options))
    figure = plot.gates(values, tokens="characters"[:9], kind=kind)
    assert len(titles(figure)) == len(values)
    reverse = "reset gate r, reverse" in titles(figure)
    assert reverse == options.get("bidirectional", False)
    assert ("reset gate r, layer 1" in titles(figure)) == ("num_layers" in options)
    if reverse:
        left, right = figure.axes[:2]
        assert left.get_position().x1 < right.get_position().x0
        assert left.get_title(loc="left") == "reset gate r, forward"


def test_activity_chooses_and_sorts_units():
    still, slow, wild = np.zeros(6), np.linspace(0, 0.1, 6), np.array([0, 1, 0, 1, 0, 1.0])
    values = {"i": np.stack([slow, wild, still], 1), "f": np.stack([still, wild, slow], 1)}
    shown = {
        "all": plot.gates(values),
        "most": plot.gates(values, units=1),
        "sorted": plot.gates(values, sort=True),
        "these": plot.gates(values, units=[2, 1]),
        "these sorted": plot.gates(values, units=[2, 1], sort=True),
    }
    names = {
        name: [label.get_text() for label in figure.axes[0].get_yticklabels()]
        for name, figure in shown.items()
    }
    assert names == {
        "all": ["0", "1", "2"],
        "most": ["1"],
        "sorted": ["1", "0", "2"],
        "these": ["2", "1"],
        "these sorted": ["1", "2"],
    }
    rows = shown["these"].axes[0].images[0].get_array()
    np.testing.assert_array_equal(rows, [still, wild])


def test_lines_name_their_units():
    values = gates_of(bptt.LSTM(3, 50, rng=0))
    figure = plot.gates(values, kind="lines")
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == 7 and len(set(names)) == 7
    one = plot.gates(values, kind="lines", units=[41])
    (line,) = one.axes[1].lines[:1]
    np.testing.assert_allclose(line.get_ydata(), values["f_l0"][:, 41])


def test_labels_of_steps_show_spaces_and_no_formulas():
    figure = plot.gates({"h": np.eye(4)}, tokens=["a b", " ", "\n", "$x$"])
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["a␣b", "␣", "↵", r"\$x\$"]


@pytest.mark.parametrize("steps", [1, 40, 400])
def test_labels_of_steps_do_not_overlap(steps):
    figure = plot.gates({"h": np.ones((steps, 3))}, tokens=["m"] * steps)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


# Forecasts


def test_forecasts_are_drawn_where_they_begin():
    series = np.arange(10.0)
    figure = plot.forecast(series, {"a": [1, 2], "b": [3]}, start=8, times=np.arange(10) / 2)
    truth, a, b = figure.axes[0].lines[:3]
    assert matplotlib.colors.to_hex(truth.get_color()) == plot.COLORS["series"]
    assert a.get_xdata().tolist() == [4.0, 4.5]
    assert b.get_ydata().tolist() == [3.0]
    beyond = plot.forecast(series, [1, 2, 3]).axes[0]
    assert beyond.lines[1].get_xdata().tolist() == [10, 11, 12]
    assert beyond.lines[1].get_label() == "forecast"
    assert (beyond.get_xlabel(), beyond.get_ylabel()) == ("step", "value")


DATES = pd.date_range("2024-01-31", periods=12, freq="ME", name="month")
BEYOND = pd.date_range("2025-01-31", periods=3, freq="ME").to_numpy()
SALES = pd.Series(np.arange(12.0), DATES, name="sales")


def drawn(*arguments, **options):
    """The axes, and x of the series and the forecasts."""
    ax = plot.forecast(*arguments, **options).axes[0]
    return ax, [np.asarray(line.get_xdata(orig=True)) for line in ax.lines[:-1]]


def test_dates_of_a_series_are_continued():
    ax, (truth, ahead) = drawn(SALES, [1, 2, 3])
    np.testing.assert_array_equal(truth, DATES.to_numpy())
    np.testing.assert_array_equal(ahead, BEYOND)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("month", "sales")
    ax, _ = drawn(SALES, [1, 2, 3], xlabel="time of sale", ylabel="US$")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time of sale", r"US\$")


def test_forecasts_with_dates_are_drawn_at_them():
    held_out = pd.Series([1.0, 2.0], DATES[8:10])
    _, (_, own, plain) = drawn(SALES, {"net": held_out, "naive": np.array([3.0, 3.0])})
    np.testing.assert_array_equal(own, DATES[8:10].to_numpy())
    np.testing.assert_array_equal(plain, own)
    _, (_, own, _) = drawn(SALES, {"net": held_out, "naive": np.array([3.0])}, start=5)
    np.testing.assert_array_equal(own, DATES[5:7].to_numpy())
    # What pandas gives to data without an index is none.
    _, (_, own) = drawn(SALES, pd.Series([1.0, 2.0]))
    np.testing.assert_array_equal(own, BEYOND[:2])
    _, (_, own) = drawn(pd.Series(np.arange(5.0)), pd.Series([1.0, 2.0]))
    assert own.tolist() == [5, 6]


def polars():
    return pytest.importorskip("polars")


SERIES = {
    "periods": lambda: SALES.to_period("M"),
    "time zone": lambda: SALES.tz_localize("Europe/Berlin"),
    "dates": lambda: pd.Series(SALES.to_numpy(), pd.Index(DATES.date)),
    "frame": lambda: SALES.to_frame(),
    "column of dates": lambda: pd.DataFrame({"month": DATES, "sales": SALES.to_numpy()}),
    "polars": lambda: polars().DataFrame({"month": DATES.to_numpy(), "sales": SALES.to_numpy()}),
    "numbers": lambda: pd.Series(SALES.to_numpy(), np.arange(1950, 1962)),
    "names": lambda: pd.Series(SALES.to_numpy(), list("abcdefghijkl")),
    "polars series": lambda: polars().Series("sales", SALES.to_numpy()),
    "list": lambda: SALES.tolist(),
}


@pytest.mark.parametrize("kind", SERIES)
def test_forecasts_of_the_estimator_are_drawn_after_their_series(kind):
    from bptt.sklearn import SequenceForecaster

    series = SERIES[kind]()
    forecaster = SequenceForecaster(4, 2, cell="rnn", max_iter=1, random_state=0)
    with pytest.warns(Warning, match="Maximum iterations"):
        ahead = forecaster.fit(series).forecast(3)
    _, (truth, own) = drawn(series, ahead)
    _, (_, continued) = drawn(series, np.zeros(3))
    assert len(truth) == 12 and len(own) == 3 and own[0] > truth[-1]
    np.testing.assert_array_equal(own, continued)
    assert (truth.dtype.kind == "M") == (kind not in ("numbers", "names", "polars series", "list"))


def test_a_frame_is_a_forecast_in_each_column():
    ahead = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, DATES[-2:])
    ax, _ = drawn(SALES, ahead)
    assert [line.get_label() for line in ax.lines[1:3]] == ["a", "b"]
    with pytest.raises(ValueError, match="choose one of them"):
        plot.forecast(ahead, [1])


def test_a_legend_hides_no_data():
    figure = plot.forecast(np.arange(50.0), {f"forecast {n}": np.zeros(9) for n in range(6)})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


# Runs


def test_runs_have_their_mean_and_their_band():
    seeds = [history([3, 2, 1], [6, 4, 2]), history([5, 4, 3], [8, 6, 4]), history([1], [1])]
    figure = plot.compare({"LSTM": seeds, "mine": history([2, 2, 2], [2, 2, 2])})
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["LSTM"].get_ydata(), [5, 5, 3])
    np.testing.assert_allclose(lines["_training of LSTM"].get_ydata(), [3, 3, 2])
    assert (
        lines["LSTM"].get_linestyle() == "--" and lines["LSTM"].get_color() == plot.COLORS["LSTM"]
    )
    assert lines["_training of LSTM"].get_linestyle() == "-"
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    assert {tuple(corner) for corner in corners} >= {(1, 1), (1, 8), (2, 4), (2, 6), (3, 2), (3, 4)}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["LSTM", "mine", "training", "validation"]
    quartiles = plot.compare({"LSTM": seeds}, band="quartiles").axes[0].collections[0]
    assert quartiles.get_paths()[0].vertices[:, 1].max() < 8
    assert not plot.compare({"LSTM": seeds}, band=None).axes[0].collections


def test_metrics_have_axes_of_their_own():
    run = history([1, 2], accuracy=[0.5, 0.6], validation_accuracy=[0.4, 0.5])
    figure = plot.compare({"a": run}, metrics=["loss", "accuracy"])
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy"]
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), [0.4, 0.5])
    given = PlainFigure()
    ax = given.subplots()
    assert plot.compare({"a": run}, metrics="accuracy", ax=ax) is given
    assert len(ax.lines) == 2 and ax.get_legend() is not None


def test_losses_that_are_not_finite_are_gaps():
    runs = [history([3, np.inf, np.nan]), history([1, 2, np.nan])]
    (line,) = plot.compare({"a": runs}).axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [2, 2, np.nan])


def test_a_fit_is_compared_and_its_gradients_are_drawn():
    x = np.random.default_rng(0).standard_normal((20, 5, 1))
    model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=0))
    options = {"loss": "mse", "optimizer": bptt.Adam(), "validation": (x, x), "progress": False}
    run = model.fit(x, x, epochs=2, rng=0, **options)
    assert len(plot.compare({"GRU": run}).axes[0].lines) == 2
    figure = plot.weights(model, run)
    assert titles(figure)[0] == "0.weight_ih_l0 (12, 1)"
    assert len(titles(figure)) - len(model.named_parameters()) == hasattr(run, "steps")


# Weights


def test_every_parameter_has_its_histogram():
    model = bptt.Sequential(bptt.LSTM(3, 8, rng=0), bptt.LayerNorm(8), bptt.Linear(8, 2, rng=1))
    for given in (model, model.state_dict()):
        figure = plot.weights(given)
        names = [title.split(" ")[0] for title in titles(figure)]
        assert names == list(model.named_parameters())
        for ax, array in zip(figure.axes, model.named_parameters().values()):
            assert sum(patch.get_height() for patch in ax.patches) == array.size
    assert len(titles(plot.weights(model.layers[0]))) == 4


def test_histograms_tell_what_is_not_finite():
    figure = plot.weights({"w": np.array([[1.0, np.nan], [np.inf, 2.0]])})
    assert "2 not finite" in figure.axes[0].texts[0].get_text()
    assert "1 not finite" in plot.weights({"w": [np.nan]}).axes[0].texts[0].get_text()


def test_gradient_norms_are_drawn_over_the_steps():
    class Steps:
        step = 1 + 2 * np.arange(300)
        gradient_norm = np.geomspace(10, 0.1, 300)

    run = history([1])
    run.steps = Steps()
    figure = plot.weights({"w": np.ones(3)}, run)
    raw, smooth = figure.axes[-1].lines
    assert figure.axes[-1].get_yscale() == "log"
    assert raw.get_xdata()[[0, -1]].tolist() == [1, 599]
    assert len(smooth.get_xdata()) < 100


# All of them


FIGURES = {
    "confusion": lambda: plot.confusion([0], [0]),
    "gates": lambda: plot.gates({"i": np.ones((3, 2))}),
    "lines of gates": lambda: plot.gates({"c": np.ones((1, 2))}, kind="lines"),
    "forecast": lambda: plot.forecast([1.0], [2.0]),
    "compare": lambda: plot.compare({"a": history([1])}),
    "weights": lambda: plot.weights({"w": [1.0]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_notebooks_show_a_figure_without_pyplot(name):
    assert FIGURES[name]()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_follow_the_style_and_are_readable_at_half_size(name):
    with matplotlib.style.context("dark_background"):
        figure = FIGURES[name]()
    assert figure.get_facecolor()[:3] == (0, 0, 0)
    figure.draw_without_rendering()
    for ax in figure.axes:
        shown = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        shown += [*ax.get_xticklabels(), *ax.get_yticklabels(), ax._left_title]
        for text in shown:
            assert not text.get_text() or text.get_fontsize() >= 10, text
        for line in ax.lines:
            assert line.get_linewidth() >= 1.5 or line.get_linewidth() < 1, line  # or a hint


def luminance(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    return np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


@pytest.mark.parametrize("color", sorted({*palette.CYCLE, *palette.COLORS.values()}))
def test_colours_are_seen_on_white_and_on_black(color):
    # The contrast of the Web Content Accessibility Guidelines (WCAG 2.1).
    assert 1.05 / (luminance(color) + 0.05) > 2  # on white
    assert (luminance(color) + 0.05) / 0.05 > 3  # on black


def test_a_cell_has_one_colour():
    assert palette.colors_of(["a", "GRU 2", "my_lstm", "LSTM", "b"]) == {
        "a": palette.VERMILLION,
        "GRU 2": palette.ORANGE,
        "my_lstm": palette.BLUE,
        "LSTM": palette.GREEN,
        "b": palette.PURPLE,
    }
    many = palette.colors_of(map(str, range(20)))
    assert len(many) == 20 and len(set(many.values())) == len(palette.CYCLE)


ONE = history([1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot.confusion([0, 1], [0]), ValueError, r"got shapes \(2,\) and \(1,\)"),
        (lambda: plot.confusion([], []), ValueError, "at least one"),
        (lambda: plot.confusion([[0]], [[0]]), ValueError, r"classes \(n,\)"),
        (
            lambda: plot.confusion([0], [1], labels=[0]),
            ValueError,
            r"every class, but 1 is not in \[0\]",
        ),
        (lambda: plot.confusion([0], [0], labels=[0, 0]), ValueError, "must differ"),
        (lambda: plot.confusion([0], ["a"]), TypeError, "classes of one type"),
        (lambda: plot.confusion([0], [0], 3), TypeError, "labels must be a sequence, got 3"),
        (lambda: plot.forecast([], [1]), ValueError, r"series must be \(steps,\)"),
        (lambda: plot.forecast([[1]], [1]), ValueError, r"got shape \(1, 1\): choose one"),
        (lambda: plot.forecast([1j], [1]), TypeError, "real numbers"),
        (lambda: plot.forecast([1], {}), ValueError, "at least one forecast"),
        (lambda: plot.forecast([1], {"x": [[1]]}), ValueError, "forecast 'x' must be"),
        (lambda: plot.forecast([1], [1], start=2), ValueError, "start must be at most 1"),
        (lambda: plot.forecast([1], [1], start=-1), ValueError, "start must be at least 0"),
        (lambda: plot.forecast([1], [1], start=0.5), TypeError, "whole number"),
        (lambda: plot.forecast([1], [1], times=[0]), ValueError, r"times must be \(2,\)"),
        (lambda: plot.gates(np.ones((3, 2))), TypeError, "values must be a dict of arrays"),
        (lambda: plot.gates([("i", np.ones((3, 2)))]), TypeError, "a dict of arrays, such as"),
        (lambda: plot.gates(None), TypeError, "got None"),
        (lambda: plot.gates({}), ValueError, "at least one array"),
        (lambda: plot.gates({"i": [["a"]]}), TypeError, "i must hold real numbers"),
        (lambda: plot.gates({"i": np.ones((3, 2, 4))}), ValueError, r"v\[:, 0\] for name, v"),
        (lambda: plot.gates({"i": [[1]]}, 3), TypeError, "tokens must be a sequence, got 3"),
        (lambda: plot.gates({"i": [[1]]}, "ab"), ValueError, "each of the 1 steps, got 2"),
        (
            lambda: plot.gates({"i": [[1]], "f": [[1], [2]]}),
            ValueError,
            "i has 1, f has 2",
        ),
        (lambda: plot.gates({"i": [[1]], "f": [[1, 2]]}), ValueError, "as many units as i, 1"),
        (lambda: plot.gates({"i": [[1]]}, units=[1]), ValueError, "from 0 to 0, got 1"),
        (lambda: plot.gates({"i": [[1]]}, units=[-1]), ValueError, "at least 0, got -1"),
        (lambda: plot.gates({"i": [[1]]}, units=[]), ValueError, "at least one unit"),
        (lambda: plot.gates({"i": [[1]]}, units=0), ValueError, "units must be at least 1"),
        (lambda: plot.gates({"i": [[1]]}, units=True), TypeError, "units must be a number"),
        (lambda: plot.gates({"i": [[1]]}, units="12"), TypeError, "units must be a number"),
        (lambda: plot.gates({"i": [[1]]}, kind="line"), ValueError, '"image" or "lines"'),
        (lambda: plot.gates({"i": [[1]]}, sort=1), TypeError, "sort must be True or False"),
        (lambda: plot.compare(ONE), TypeError, "dict of histories by name"),
        (lambda: plot.compare({}), ValueError, "at least one history"),
        (lambda: plot.compare({"a": [1.0, 2.0]}), TypeError, "'a' must hold histories"),
        (lambda: plot.compare({"a": 3}), TypeError, "'a' must be a history"),
        (lambda: plot.compare({"a": []}), ValueError, "'a' must have at least one epoch"),
        (lambda: plot.compare({"a": bptt.History()}), ValueError, "at least one epoch"),
        (lambda: plot.compare({"a": ONE}, metrics="acc"), ValueError, "no 'acc': it has loss"),
        (lambda: plot.compare({"a": ONE}, metrics=[]), ValueError, "at least one name"),
        (lambda: plot.compare({"a": ONE}, metrics=[1]), TypeError, "metrics must be names"),
        (lambda: plot.compare({"a": ONE}, band="std"), ValueError, 'band must be "range"'),
        (lambda: plot.compare({"a": ONE}, log=1), TypeError, "log must be True or False"),
        (
            lambda: plot.compare({"a": ONE}, ax=PlainFigure().subplots(1, 2)),
            ValueError,
            "as there are metrics, 1, got 2",
        ),
        (lambda: plot.weights(3), TypeError, "model must be a Sequential, a layer"),
        (lambda: plot.weights({}), ValueError, "must have parameters"),
        (lambda: plot.weights(bptt.LastStep()), ValueError, "must have parameters"),
        (lambda: plot.weights({"w": "a"}), TypeError, "w must hold real numbers"),
        (lambda: plot.weights({"w": [1]}, 3), TypeError, "history must be what fit returns"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
