"""A time series and forecasts of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._support import check
from bptt._support.extras import require
from bptt._support.palette import DATA, REFERENCE, colors_of
from bptt.plot._labelled import Labelled, Moments, columns, read
from bptt.plot._style import LINE, figure, legend, plain, tidy


def forecast(
    series: ArrayLike,
    forecasts: Mapping[str, ArrayLike] | ArrayLike,
    *,
    start: int | None = None,
    times: ArrayLike | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
) -> Any:
    """Plot a time series and forecasts of it.

    Parameters
    ----------
    series : array_like (n,)
        The known values. A Series of pandas, or a frame of pandas or polars with one column of
        numbers, brings its dates and its name along.
    forecasts : mapping of str to array_like (steps,), or one array_like
        Forecasts by name; each may have its own length. One with dates, such as
        `SequenceForecaster.forecast` returns for a series with dates, is drawn at its own dates. A
        frame is a forecast in each column.
    start : int, optional
        The step of the series at which forecasts without dates begin, from 0 to n. By default they
        begin where those with dates do, and otherwise at the end of the series, n.
    times : array_like, optional
        The times of all steps, including those after the series: numbers or datetime64. By default
        the dates of the series, continued, or the numbers of the steps.
    xlabel, ylabel : str, optional
        Names of the axes. By default that of the index, "time" or "step", and that of the series or
        "value".

    Returns
    -------
    matplotlib.figure.Figure
        The series in grey, the forecasts in colours, and a dotted line where the first begins. The
        legend is above the axes.

    Raises
    ------
    ValueError, TypeError
        If there is nothing to plot, or a shape, `start` or `times` does not fit.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> series = np.sin(0.5 * np.arange(60))
    >>> naive = np.full(20, series[39])
    >>> months = np.datetime64("2020-01") + np.arange(60)
    >>> figure = bptt.plot.forecast(series, {"naive": naive}, start=40, times=months)
    >>> [line.get_label() for line in figure.axes[0].lines[:2]]
    ['series', 'naive']
    """
    require("matplotlib", "plot")
    truth = read("series", series)
    parts = {name: read(f"forecast {name!r}", part) for name, part in _named(forecasts).items()}
    if not parts:
        raise ValueError("forecasts must have at least one forecast, got none")
    at, places = _places(truth, parts, start, times)

    drawn = figure(9, 4.2)
    ax = drawn.subplots()
    ax.plot(at[: len(truth.values)], truth.values, color=DATA, linewidth=2.5, label="series")
    for (name, part), color in zip(parts.items(), colors_of(parts).values()):
        # A single step has no line: draw a point.
        marker = "o" if len(part.values) == 1 else ""
        ax.plot(
            places[name], part.values, color=color, linewidth=LINE, marker=marker, label=plain(name)
        )
    first = min(place[0] for place in places.values())
    ax.axvline(first, color=REFERENCE, linewidth=1.5, linestyle=":")
    ax.set_xlabel(plain(_name_of_times(truth, at, times) if xlabel is None else xlabel))
    ax.set_ylabel(plain((truth.name or "value") if ylabel is None else ylabel))
    if at.dtype.kind == "M":
        dates = require("matplotlib.dates", "plot")
        locator = dates.AutoDateLocator(minticks=4, maxticks=9)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    tidy(ax)
    handles, labels = ax.get_legend_handles_labels()
    legend(drawn, handles, labels, drawn.get_figwidth())
    return drawn


def _named(forecasts: Any) -> dict[str, Any]:
    if isinstance(forecasts, Mapping):
        return {str(name): part for name, part in forecasts.items()}
    parts = columns(forecasts)
    if parts is None or len(parts) == 1:
        return {"forecast": forecasts}
    return parts


def _places(
    truth: Labelled, parts: dict[str, Labelled], start: Any, times: Any
) -> tuple[Moments, dict[str, Moments]]:
    """Return the times of all steps, and those of each forecast."""
    known = truth.moments if times is None else None
    own = {}
    if known is not None and start is None:
        for name, part in parts.items():
            moments = part.moments
            if moments is not None and moments.dtype.kind == known.dtype.kind:
                own[name] = moments
    steps = len(truth.values)
    if start is not None:
        begin = check.size("start", start, least=0)
        if begin > steps:
            raise ValueError(
                f"start must be at most {steps}, the length of the series, got {begin}"
            )
    elif own:
        begin = int((known < min(moments[0] for moments in own.values())).sum())
    else:
        begin = steps
    lengths = [len(part.values) for name, part in parts.items() if name not in own]
    end = max([steps, *(begin + length for length in lengths)])
    at = np.arange(end) if times is None else check.array_of("times", times)
    if at.ndim != 1 or len(at) < end:
        raise ValueError(f"times must be ({end},), a time for each step, got shape {at.shape}")
    if known is not None:
        continued = truth.moments_until(end)
        at, own = (at, {}) if continued is None else (continued, own)
    return at, {
        name: own.get(name, at[begin : begin + len(part.values)]) for name, part in parts.items()
    }


def _name_of_times(truth: Labelled, at: Moments, times: Any) -> str:
    if times is not None:
        return "time"
    if truth.index is not None and truth.index.name:
        return str(truth.index.name)
    return "time" if at.dtype.kind == "M" else "step"
