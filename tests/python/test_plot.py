"""Pictures of what models do: what is drawn, and input that cannot be."""

import matplotlib.colors
import numpy as np
import pytest

import bptt


def texts(figure):
    return {text.get_position()[::-1]: int(text.get_text()) for text in figure.axes[0].texts}


def test_confusion_counts_each_pair_in_its_row_and_column():
    figure = bptt.plot.confusion([0, 0, 0, 1, 2, 2], [0, 0, 2, 1, 0, 2])
    assert texts(figure) == {(0, 0): 2, (0, 2): 1, (1, 1): 1, (2, 0): 1, (2, 2): 1}
    ax = figure.axes[0]
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares, [[2 / 3, 0, 1 / 3], [0, 1, 0], [0.5, 0, 0.5]])
    assert ax.get_ylabel() == "true"
    assert "66.7% of 6" in ax.get_title()


def test_confusion_takes_the_order_of_the_labels_and_classes_that_do_not_occur():
    figure = bptt.plot.confusion(["b", "a"], ["b", "b"], labels=["b", "c", "a"])
    assert texts(figure) == {(0, 0): 1, (2, 0): 1}
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bptt.plot.confusion([0, 1], [0]), ValueError, r"got shapes \(2,\) and \(1,\)"),
        (lambda: bptt.plot.confusion([], []), ValueError, "at least one"),
        (lambda: bptt.plot.confusion([[0]], [[0]]), ValueError, r"classes \(n,\)"),
        (
            lambda: bptt.plot.confusion([0], [1], labels=[0]),
            ValueError,
            r"every class, but 1 is not in \[0\]",
        ),
        (lambda: bptt.plot.confusion([0], [0], labels=[0, 0]), ValueError, "must differ"),
        (lambda: bptt.plot.confusion([0], ["a"]), TypeError, "classes of one type"),
        (lambda: bptt.plot.forecast([], [1]), ValueError, r"series must be \(steps,\)"),
        (lambda: bptt.plot.forecast([[1]], [1]), ValueError, r"got shape \(1, 1\)"),
        (lambda: bptt.plot.gates(np.ones((3, 2))), TypeError, "values must be a dict of arrays"),
        (lambda: bptt.plot.gates([("i", np.ones((3, 2)))]), TypeError, "a dict of arrays, such as"),
        (lambda: bptt.plot.gates(None), TypeError, "got None"),
        (lambda: bptt.plot.gates({"i": [["a"]]}), TypeError, "i must hold real numbers"),
        (lambda: bptt.plot.gates({"i": [[1]]}, 3), TypeError, "tokens must be a sequence, got 3"),
        (lambda: bptt.plot.confusion([0], [0], 3), TypeError, "labels must be a sequence, got 3"),
        (lambda: bptt.plot.forecast([1j], [1]), TypeError, "real numbers"),
        (lambda: bptt.plot.forecast([1], {}), ValueError, "at least one forecast"),
        (lambda: bptt.plot.forecast([1], {"x": [[1]]}), ValueError, "forecast 'x' must be"),
        (lambda: bptt.plot.forecast([1], [1], start=2), ValueError, "start must be at most 1"),
        (lambda: bptt.plot.forecast([1], [1], start=-1), ValueError, "start must be at least 0"),
        (lambda: bptt.plot.forecast([1], [1], start=0.5), TypeError, "whole number"),
        (lambda: bptt.plot.forecast([1], [1], times=[0]), ValueError, r"times must be \(2,\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_forecasts_are_drawn_where_they_begin():
    series = np.arange(10.0)
    figure = bptt.plot.forecast(series, {"a": [1, 2], "b": [3]}, start=8, times=np.arange(10) / 2)
    truth, a, b = figure.axes[0].lines[:3]
    assert matplotlib.colors.to_rgb(truth.get_color()) == (0.65, 0.65, 0.65)
    assert a.get_xdata().tolist() == [4.0, 4.5]
    assert b.get_ydata().tolist() == [3.0]
    beyond = bptt.plot.forecast(series, [1, 2, 3]).axes[0]
    assert beyond.lines[1].get_xdata().tolist() == [10, 11, 12]
    assert beyond.lines[1].get_label() == "forecast"


def test_notebooks_show_a_figure_without_pyplot():
    for figure in (bptt.plot.confusion([0], [0]), bptt.plot.gates({"i": np.ones((3, 2))})):
        assert figure._repr_png_().startswith(b"\x89PNG")
