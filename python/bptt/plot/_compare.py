"""Curves of several training runs in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._support import check
from bptt._support.extras import require
from bptt._support.palette import DATA, colors_of
from bptt.history import History
from bptt.plot._style import LINE, figure, legend, plain, tidy

Curves = NDArray[np.float64]

#: Colours tell the runs, so the style of a line tells what it is of.
_LOOKS: dict[str, dict[str, Any]] = {
    "training": {"linestyle": "-", "linewidth": 1.5},
    "validation": {"linestyle": "--", "linewidth": LINE + 0.4},
}


def compare(
    histories: Mapping[str, History | Sequence[History]],
    *,
    metrics: str | Sequence[str] = "loss",
    band: str | None = "range",
    log: bool = False,
    ax: Any = None,
) -> Any:
    """Plot training runs beside each other: a colour for each name, bands over seeds.

    Parameters
    ----------
    histories : mapping of str to History or sequence of History
        The runs by name. Several histories of one name are runs that differ by their seed only.
    metrics : str or sequence of str, default "loss"
        What to draw, each on axes of its own: "loss", or metrics that `fit` was asked for, such as
        "accuracy".
    band : {"range", "quartiles"} or None, default "range"
        What the band around the mean of several runs covers: all of them, or the middle half. With
        None there is no band. It is drawn for validation or, without it, for training.
    log : bool, default False
        Whether the scale of the losses is logarithmic.
    ax : matplotlib.axes.Axes or sequence of them, optional
        The axes to draw on, as many as there are metrics; by default those of a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        Training is a solid line and validation a dashed one, as in `History.plot` of named runs.
        Names with LSTM, GRU or RNN in them have the colours of these cells in all figures. Where
        some runs of a name ended earlier, the mean goes on over the others.

    Raises
    ------
    ValueError, TypeError
        If there is nothing to plot, a history lacks a metric, or an option is wrong.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = np.random.default_rng(0).standard_normal((20, 5, 1))
    >>> def train(cell, seed):
    ...     model = bptt.Sequential(cell(1, 4, rng=seed), bptt.Linear(4, 1, rng=seed))
    ...     return model.fit(x, x, loss="mse", optimizer=bptt.Adam(), epochs=3, rng=seed,
    ...                      progress=False)
    >>> runs = {cell.__name__: [train(cell, seed) for seed in range(3)]
    ...         for cell in (bptt.LSTM, bptt.RNN)}
    >>> figure = bptt.plot.compare(runs)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['LSTM', 'RNN']
    """
    require("matplotlib", "plot")
    runs = _read(histories)
    wanted = [metrics] if isinstance(metrics, str) else list(metrics)
    if not wanted:
        raise ValueError('metrics must have at least one name, such as "loss", got none')
    if band is not None and (not isinstance(band, str) or band not in ("range", "quartiles")):
        raise ValueError(f'band must be "range", "quartiles" or None, got {check.shown(band)}')
    check.flag("log", log)
    curves = {
        metric: {name: _curves(name, group, metric) for name, group in runs.items()}
        for metric in wanted
    }
    if ax is None:
        drawn = figure(1.0 + 5.0 * len(wanted), 4.0)
        axes = list(drawn.subplots(1, len(wanted), squeeze=False)[0])
    else:
        axes = list(np.atleast_1d(np.asarray(ax, dtype=object)).flat)
        if len(axes) != len(wanted):
            raise ValueError(
                f"ax must be as many axes as there are metrics, {len(wanted)}, got {len(axes)}"
            )
        drawn = axes[0].figure
    colors = colors_of(runs)
    kinds = {kind for parts in curves.values() for both in parts.values() for kind in both}
    for metric, place in zip(wanted, axes):
        for name, both in curves[metric].items():
            _draw(place, name, both, colors[name], band)
        place.set(xlabel="epoch", ylabel=metric, yscale="log" if log else "linear")
        place.xaxis.set_major_locator(
            require("matplotlib.ticker", "plot").MaxNLocator(6, integer=True)
        )
        tidy(place)
    _legend(drawn, axes, colors, kinds, own=ax is None)
    return drawn


def _read(histories: Any) -> dict[str, list[History]]:
    if not isinstance(histories, Mapping) or isinstance(histories, History):
        raise TypeError(
            "histories must be a dict of histories by name, such as {'LSTM': model.fit(...)}, got "
            f"{check.shown(histories)}"
        )
    runs = {}
    for name, given in histories.items():
        group = [given] if isinstance(given, History) else given
        if not isinstance(group, Sequence) or isinstance(group, str):
            raise TypeError(
                f"{name!r} must be a history, as fit returns it, or a list of them, got "
                f"{check.shown(given)}"
            )
        for history in group:
            if not isinstance(history, History):
                raise TypeError(
                    f"{name!r} must hold histories, as fit returns them, got {check.shown(history)}"
                )
        if not any(history.loss for history in group):
            raise ValueError(f"{name!r} must have at least one epoch of training, got none")
        runs[str(name)] = [history for history in group if history.loss]
    if not runs:
        raise ValueError("histories must have at least one history, got none")
    return runs


def _curves(name: str, group: list[History], metric: str) -> dict[str, Curves]:
    """Return the curves of training and validation, each (runs, epochs), NaN after an end."""
    if not isinstance(metric, str):
        raise TypeError(f"metrics must be names, got {check.shown(metric)}")
    found = {}
    for kind, key in (("training", metric), ("validation", f"validation_{metric}")):
        values = [_values(history, key) for history in group]
        if not any(values):
            continue
        most = max(map(len, values))
        found[kind] = np.array([[*part, *[np.nan] * (most - len(part))] for part in values], float)
    if not found:
        known = ["loss", *(m for m in group[0].metrics if not m.startswith("validation_"))]
        raise ValueError(
            f"metrics must be among those of every run, but {name!r} has no {metric!r}: it has "
            f"{', '.join(known)}"
        )
    return found


def _values(history: History, key: str) -> list[float]:
    if key in ("loss", "validation_loss"):
        return list(getattr(history, key))
    return list(history.metrics.get(key, []))


def _draw(ax: Any, name: str, both: dict[str, Curves], color: str, band: str | None) -> None:
    main = "validation" if "validation" in both else "training"
    for kind, runs in both.items():
        epochs = np.arange(1, runs.shape[1] + 1)
        runs = np.where(np.isfinite(runs), runs, np.nan)
        known = np.isfinite(runs).any(axis=0)
        mean, low, high = (np.full(len(epochs), np.nan) for _ in range(3))
        mean[known] = np.nanmean(runs[:, known], axis=0)
        label = plain(name) if kind == main else f"_{kind} of {name}"
        marker = "o" if len(epochs) == 1 else ""
        ax.plot(epochs, mean, color=color, marker=marker, label=label, **_LOOKS[kind])
        if kind == main and band and len(runs) > 1:
            ends = (0, 100) if band == "range" else (25, 75)
            low[known], high[known] = np.nanpercentile(runs[:, known], ends, axis=0)
            ax.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)


def _legend(
    drawn: Any, axes: list[Any], colors: dict[str, str], kinds: set[str], own: bool
) -> None:
    lines = require("matplotlib.lines", "plot")
    handles = [
        lines.Line2D([], [], color=color, linewidth=LINE + 0.4, label=plain(name))
        for name, color in colors.items()
    ]
    if len(kinds) > 1:
        handles += [
            lines.Line2D([], [], color=DATA, label=kind, **look) for kind, look in _LOOKS.items()
        ]
    labels = [handle.get_label() for handle in handles]
    if own:
        legend(drawn, handles, labels, drawn.get_figwidth())
    else:
        axes[0].legend(handles, labels, frameon=False)
