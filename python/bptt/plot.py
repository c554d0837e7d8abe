"""Plots of gates, confusion matrices and forecasts. Needs matplotlib (the extra "plot")."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._support import check
from bptt._support.extras import require

FLOAT64 = np.dtype(np.float64)

_NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "candidate n",
    "h": "hidden state h",
}
_SIGMOIDS = ("i", "f", "o", "r", "z")


@cache
def _figure_class() -> Any:
    class Figure(require("matplotlib.figure", "plot").Figure):  # type: ignore[misc]
        """A figure without a window, which notebooks show even without pyplot."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Figure


def _figure(width: float, height: float) -> Any:
    return _figure_class()(figsize=(width, height), layout="constrained")


def gates(values: Mapping[str, ArrayLike], tokens: Sequence[Any] | None = None) -> Any:
    """Plot gates and cells over the steps of a sequence.

    Parameters
    ----------
    values : mapping of str to array_like
        From ``layer(x, return_gates=True)`` for one sequence: each (T, H).
    tokens : sequence of T items, optional
        Labels of the steps; their numbers by default.

    Returns
    -------
    matplotlib.figure.Figure
        An image for each of the values, with steps to the right and units upwards. Gates from 0 to
        1 go from white to blue, signed values from red over white to blue.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(2, 8, rng=0)
    >>> y, state, values = lstm(np.ones((5, 2)), return_gates=True, return_cells=True)
    >>> figure = bptt.plot.gates(values, tokens="hello")
    >>> len(figure.axes) // 2  # each with a scale
    5
    """
    ticker = require("matplotlib.ticker", "plot")
    if not isinstance(values, Mapping):
        raise TypeError(
            "values must be a dict of arrays, such as the last result of layer(x, "
            f"return_gates=True), got {check.shown(values)}"
        )
    arrays = {str(name): check.floats(str(name), v, FLOAT64) for name, v in values.items()}
    for name, array in arrays.items():
        if array.ndim != 2 or not array.size:
            raise ValueError(
                f"{name} must be (T, H), the values of one sequence, got shape {array.shape}"
            )
    if not arrays:
        raise ValueError("values must have at least one array")
    steps = len(next(iter(arrays.values())))
    if tokens is not None and _count("tokens", tokens) != steps:
        raise ValueError(
            f"tokens must have an item for each of the {steps} steps, got {len(tokens)}"
        )
    width = min(max(0.22 * steps + 2.2, 5.0), 14.0)
    figure = _figure(width, 1.5 * len(arrays) + 0.5)
    axes = figure.subplots(len(arrays), 1, sharex=True, squeeze=False)[:, 0]
    for (name, array), ax in zip(arrays.items(), axes):
        gate = name.split("_")[0]
        if gate in _SIGMOIDS:
            look = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.0}
        else:
            most = max(1.0, float(np.abs(array).max(initial=0.0)))
            look = {"cmap": "RdBu", "vmin": -most, "vmax": most}
        image = ax.imshow(array.T, aspect="auto", origin="lower", interpolation="nearest", **look)
        figure.colorbar(image, ax=ax, fraction=0.03, pad=0.01)
        ax.set_title(
            _NAMES.get(gate, gate) + " ".join(["", *name.split("_")[1:]]).replace(" l", ", layer "),
            loc="left",
        )
        ax.set_ylabel("unit")
        ax.yaxis.set_major_locator(ticker.MaxNLocator(3, integer=True))
    if tokens is None:
        axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes[-1].set_xlabel("step")
    else:
        axes[-1].set_xticks(range(steps), [str(token) for token in tokens])
    return figure


def confusion(y_true: ArrayLike, y_pred: ArrayLike, labels: Sequence[Any] | None = None) -> Any:
    """Plot a confusion matrix.

    Parameters
    ----------
    y_true, y_pred : array_like (n,)
        The true and the predicted classes, as numbers or names.
    labels : sequence, optional
        The classes in the order of the plot, each once; by default all that occur, sorted.

    Returns
    -------
    matplotlib.figure.Figure
        A square with a count for each pair of a true class (downwards) and a predicted class (to
        the right); the larger its share of the true class, the darker. Zeros are not written.

    Raises
    ------
    ValueError
        If the two arrays differ in length, are not (n,), are empty, or hold a class that is not in
        `labels`.

    Examples
    --------
    >>> import bptt
    >>> figure = bptt.plot.confusion(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1', '1', '1']
    """
    true, predicted = check.array_of("y_true", y_true), check.array_of("y_pred", y_pred)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise ValueError(
            "y_true and y_pred must be classes (n,), at least one, got shapes "
            f"{true.shape} and {predicted.shape}"
        )
    try:
        occurring = sorted({*true.tolist(), *predicted.tolist()})
    except TypeError as error:
        raise TypeError(f"y_true and y_pred must hold classes of one type: {error}") from None
    given = true if labels is None else check.array_of("labels", labels)
    if not given.ndim:
        raise TypeError(f"labels must be a sequence, got {check.shown(labels)}")
    if given.ndim != 1:
        raise ValueError(f"labels must be a sequence of classes, got shape {given.shape}")
    names = occurring if labels is None else given.tolist()
    places = {name: place for place, name in enumerate(names)}
    if len(places) < len(names):
        raise ValueError(f"labels must differ from each other, got {names}")
    if unknown := [name for name in occurring if name not in places]:
        raise ValueError(f"labels must have every class, but {unknown[0]!r} is not in {names}")
    counts = np.zeros((len(names), len(names)), int)
    for wanted, given in zip(true.tolist(), predicted.tolist()):
        counts[places[wanted], places[given]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    words = [str(name) for name in names]
    longest = max(len(word) for word in words)
    side = min(max(0.45 * len(names) + 1.6 + 0.08 * longest, 3.4), 12.0)
    figure = _figure(side, side)
    ax = figure.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in zip(*np.nonzero(counts)):
        color = "white" if shares[row, column] > 0.5 else "black"
        number = str(counts[row, column])
        ax.text(column, row, number, ha="center", va="center", color=color, fontsize=9)
    ax.set_xticks(range(len(names)), words, rotation=90 if longest > 3 else 0)
    ax.set_yticks(range(len(names)), words)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title(f"{np.trace(counts) / len(true):.1%} of {len(true)} right", fontsize=10)
    return figure


def forecast(
    series: ArrayLike,
    forecasts: Mapping[str, ArrayLike] | ArrayLike,
    *,
    start: int | None = None,
    times: ArrayLike | None = None,
) -> Any:
    """Plot a time series and forecasts of it.

    Parameters
    ----------
    series : array_like (n,)
        The known values.
    forecasts : mapping of str to array_like (steps,), or one array_like
        Forecasts by name; each may have its own length.
    start : int, optional
        The step of the series at which the forecasts begin, from 0 to n; n, the end of the series,
        by default.
    times : array_like, optional
        The times of all steps, including those after the series; their numbers by default.

    Returns
    -------
    matplotlib.figure.Figure
        The series in grey, the forecasts in colours, and a dotted line where they begin.

    Raises
    ------
    ValueError, TypeError
        If there is nothing to plot, or a shape, `start` or `times` does not fit.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> series = np.sin(0.5 * np.arange(60))
    >>> naive = np.full(20, series[39])
    >>> figure = bptt.plot.forecast(series, {"naive": naive}, start=40)
    >>> [line.get_label() for line in figure.axes[0].lines[:2]]
    ['series', 'naive']
    """
    truth = _steps("series", series)
    named = forecasts if isinstance(forecasts, Mapping) else {"forecast": forecasts}
    parts = {str(name): _steps(f"forecast {name!r}", part) for name, part in named.items()}
    if not parts:
        raise ValueError("forecasts must have at least one forecast, got none")
    begin = len(truth) if start is None else check.size("start", start, least=0)
    if begin > len(truth):
        raise ValueError(
            f"start must be at most {len(truth)}, the length of the series, got {begin}"
        )
    end = max(len(truth), *(begin + len(part) for part in parts.values()))
    at = np.arange(end) if times is None else check.array_of("times", times)
    if at.ndim != 1 or len(at) < end:
        raise ValueError(f"times must be ({end},), a time for each step, got shape {at.shape}")
    figure = _figure(10, 4)
    ax = figure.subplots()
    ax.plot(at[: len(truth)], truth, color="0.65", linewidth=2.5, label="series")
    for name, part in parts.items():
        # A single step has no line: draw a point.
        marker = "o" if len(part) == 1 else ""
        ax.plot(at[begin : begin + len(part)], part, marker=marker, label=name)
    ax.axvline(at[begin], color="0.5", linewidth=1, linestyle=":")
    ax.legend(frameon=False)
    ax.set_xlabel("step" if times is None else "time")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def _count(name: str, values: Any) -> int:
    try:
        return len(values)
    except TypeError:
        raise TypeError(f"{name} must be a sequence, got {check.shown(values)}") from None


def _steps(name: str, values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = check.floats(name, values, FLOAT64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be (steps,) with at least one step, got shape {array.shape}")
    return array
