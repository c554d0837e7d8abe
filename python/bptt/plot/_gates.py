"""Gates and cells over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._support import check
from bptt._support.extras import require
from bptt._support.palette import CYCLE
from bptt.plot._style import LINE, SMALL, TEXT, figure, legend, plain, tidy

Array = NDArray[np.float64]

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
#: White space, as it is shown in labels of steps.
_SPACES = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})


class _Name(NamedTuple):
    """A name such as "i_l1_reverse", in its parts."""

    value: str
    layer: str  # "1"; "" without one
    reverse: bool

    @classmethod
    def of(cls, name: str) -> _Name:
        parts = name.split("_")
        reverse = parts[-1] == "reverse" and len(parts) > 1
        if reverse:
            parts.pop()
        layer = parts.pop()[1:] if len(parts) > 1 and _is_layer(parts[-1]) else ""
        return cls("_".join(parts), layer, reverse)


def _is_layer(part: str) -> bool:
    return part.startswith("l") and part[1:].isdecimal()


def gates(
    values: Mapping[str, ArrayLike],
    tokens: Sequence[Any] | None = None,
    *,
    units: int | Sequence[int] | None = None,
    sort: bool = False,
    kind: str = "image",
) -> Any:
    """Plot gates and cells over the steps of a sequence.

    Parameters
    ----------
    values : mapping of str to array_like
        From ``layer(x, return_gates=True)`` for one sequence: each (T, H). Other arrays (T, H) will
        do, such as ``{"h": y}``. Names end with the layer and the direction, as ``"i_l0"`` and
        ``"i_l0_reverse"`` do.
    tokens : sequence of T items, optional
        Labels of the steps; their numbers by default. Spaces and line ends are made visible.
    units : int or sequence of int, optional
        The units to draw, in this order. A number n means the n most active ones. By default all
        are drawn as an image, and the 7 most active ones as lines.
    sort : bool, default False
        Whether the most active unit comes first. The activity of a unit is the standard deviation
        of its values over the steps. It is averaged over the arrays of its layer and direction, so
        all of these have the same order.
    kind : {"image", "lines"}, default "image"
        Whether units are rows of an image or lines.

    Returns
    -------
    matplotlib.figure.Figure
        Axes for each of the values, with steps to the right. Of a bidirectional layer, the forward
        direction is on the left and the reverse one on the right. Units go downwards in images.
        Gates from 0 to 1 go from white to blue, signed values from red over white to blue.

    Raises
    ------
    ValueError, TypeError
        If there is nothing to plot, an array is not (T, H), lengths differ, or an option is wrong.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(2, 50, bidirectional=True, rng=0)
    >>> y, state, values = lstm(np.ones((5, 2)), return_gates=True, return_cells=True)
    >>> figure = bptt.plot.gates(values, tokens="hello", units=10)
    >>> [ax.get_title(loc="left") for ax in figure.axes[:2]]
    ['input gate i, forward', 'input gate i, reverse']
    """
    require("matplotlib", "plot")
    arrays = _read(values)
    steps = _steps_of(arrays)
    if not isinstance(kind, str) or kind not in ("image", "lines"):
        raise ValueError(f'kind must be "image" or "lines", got {check.shown(kind)}')
    labels = None if tokens is None else _labels(tokens, steps)
    shown = _choose(arrays, units, check.flag("sort", sort), kind)

    names = {name: _Name.of(name) for name in arrays}
    rows = list(dict.fromkeys((name.layer, name.value) for name in names.values()))
    sides = sorted({name.reverse for name in names.values()})
    width = min(max(0.22 * steps + 1.2, 3.8 if len(sides) > 1 else 4.8), 14.0 / len(sides))
    most = max(len(which) for which in shown.values())
    height = 2.0 if kind == "lines" else min(max(0.13 * most + 0.7, 1.6), 2.8)
    drawn = figure(width * len(sides) + 0.8, height * len(rows) + 0.6)
    grid = drawn.subplots(len(rows), len(sides), sharex=True, squeeze=False)
    several = len({layer for layer, _ in rows}) > 1
    used = set()
    for key, array in arrays.items():
        name = names[key]
        place = rows.index((name.layer, name.value)), sides.index(name.reverse)
        ax = grid[place]
        used.add(place)
        which = shown[key]
        if kind == "image":
            _image(drawn, ax, name, array[:, which], which)
        else:
            _lines(ax, name, array[:, which], which)
        title = [_NAMES.get(name.value, plain(name.value))]
        title += [f"layer {name.layer}"] if several and name.layer else []
        title += [("reverse" if name.reverse else "forward")] if len(sides) > 1 else []
        ax.set_title(", ".join(title), loc="left", fontsize=TEXT)
    for place in np.ndindex(grid.shape):
        if place not in used:
            grid[place].set_visible(False)
    for ax in grid[-1]:
        _label_steps(ax, labels, steps, width)
    if kind == "lines":
        _legend_of_units(drawn, grid, shown, width * len(sides))
    return drawn


def _read(values: Any) -> dict[str, Array]:
    if not isinstance(values, Mapping):
        raise TypeError(
            "values must be a dict of arrays, such as the last result of layer(x, "
            f"return_gates=True), got {check.shown(values)}"
        )
    arrays = {
        str(name): check.floats(str(name), v, np.dtype(np.float64)) for name, v in values.items()
    }
    for name, array in arrays.items():
        if array.ndim != 2 or not array.size:
            fix = ""
            if array.ndim == 3 and array.size:
                fix = (
                    "; choose a sequence of the batch, such as {name: v[:, 0] for name, v in "
                    "values.items()}, with batch_first v[0]"
                )
            raise ValueError(
                f"{name} must be (T, H), the values of one sequence, got shape {array.shape}{fix}"
            )
    if not arrays:
        raise ValueError("values must have at least one array")
    return arrays


def _steps_of(arrays: dict[str, Array]) -> int:
    first, *others = arrays
    for name in others:
        if len(arrays[name]) != len(arrays[first]):
            raise ValueError(
                "values must be of one sequence, so all arrays must have the same number of steps: "
                f"{first} has {len(arrays[first])}, {name} has {len(arrays[name])}"
            )
    return len(arrays[first])


def _labels(tokens: Any, steps: int) -> list[str]:
    try:
        count = len(tokens)
    except TypeError:
        raise TypeError(f"tokens must be a sequence, got {check.shown(tokens)}") from None
    if count != steps:
        raise ValueError(f"tokens must have an item for each of the {steps} steps, got {count}")
    return [plain(str(token).translate(_SPACES)) for token in tokens]


def _choose(
    arrays: dict[str, Array], units: Any, sort: bool, kind: str
) -> dict[str, NDArray[np.intp]]:
    """Return the units to draw of each array."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for key, array in arrays.items():
        name = _Name.of(key)
        group = groups.setdefault((name.layer, name.reverse), [])
        group.append(key)
        if array.shape[1] != arrays[group[0]].shape[1]:
            raise ValueError(
                f"{key} must have as many units as {group[0]}, {arrays[group[0]].shape[1]}, got "
                f"{array.shape[1]}"
            )
    chosen = {}
    for group in groups.values():
        count = arrays[group[0]].shape[1]
        with np.errstate(invalid="ignore"):  # infinite values are drawn as gaps
            spread = np.mean([arrays[key].std(axis=0) for key in group], axis=0)
        by_activity = np.argsort(-np.nan_to_num(spread, nan=-1.0, posinf=0.0), kind="stable")
        which = _numbers(units, count, kind)
        if isinstance(which, int):
            which = by_activity[:which] if sort else np.sort(by_activity[:which])
        elif sort:
            which = by_activity[np.isin(by_activity, which)]
        chosen.update(dict.fromkeys(group, which))
    return chosen


def _numbers(units: Any, count: int, kind: str) -> int | NDArray[np.intp]:
    """Return the numbers of the chosen units, or how many of the most active are to be drawn."""
    if units is None:
        return min(count, len(CYCLE)) if kind == "lines" else np.arange(count)
    if isinstance(units, (bool, np.bool_, str, bytes)):
        raise TypeError(f"units must be a number or a sequence of numbers, got {units!r}")
    if np.ndim(units) == 0:
        return min(check.size("units", units), count)
    numbers = [check.size("a unit", unit, least=0) for unit in units]
    if not numbers:
        raise ValueError("units must have at least one unit, got none")
    if max(numbers) >= count:
        raise ValueError(f"units must be numbers from 0 to {count - 1}, got {max(numbers)}")
    return np.array(numbers)


def _image(drawn: Any, ax: Any, name: _Name, array: Array, which: NDArray[np.intp]) -> None:
    ticker = require("matplotlib.ticker", "plot")
    if name.value in _SIGMOIDS:
        look = {"cmap": "Blues", "vmin": 0.0, "vmax": 1.0}
    else:
        finite = np.abs(array[np.isfinite(array)])
        most = max(1.0, float(finite.max(initial=0.0)))
        look = {"cmap": "RdBu", "vmin": -most, "vmax": most}
    image = ax.imshow(array.T, aspect="auto", interpolation="nearest", **look)
    bar = drawn.colorbar(image, ax=ax, fraction=0.04, pad=0.01)
    bar.locator = ticker.MaxNLocator(2)
    bar.ax.tick_params(labelsize=SMALL)
    ax.set_ylabel("unit", fontsize=TEXT)
    ax.tick_params(labelsize=SMALL)
    if len(which) <= 12:
        ax.set_yticks(range(len(which)), [str(unit) for unit in which])
    elif np.array_equal(which, np.arange(len(which))):
        ax.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    else:
        places = np.unique(np.linspace(0, len(which) - 1, 6).round().astype(int))
        ax.set_yticks(places, [str(which[place]) for place in places])


def _lines(ax: Any, name: _Name, array: Array, which: NDArray[np.intp]) -> None:
    styles = ("-", "--", ":", "-.")
    for n, unit in enumerate(which):
        color, style = CYCLE[n % len(CYCLE)], styles[n // len(CYCLE) % len(styles)]
        marker = "o" if len(array) == 1 else ""
        ax.plot(
            array[:, n], style, color=color, marker=marker, linewidth=LINE, label=f"unit {unit}"
        )
    if name.value in _SIGMOIDS:
        ax.set_ylim(-0.04, 1.04)
    else:
        ax.axhline(0, color="#888888", linewidth=0.8, zorder=0)
    tidy(ax)


def _label_steps(ax: Any, labels: list[str] | None, steps: int, width: float) -> None:
    ax.tick_params(labelbottom=True)
    if labels is None:
        ticker = require("matplotlib.ticker", "plot")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
        ax.set_xlabel("step", fontsize=TEXT)
        return
    upright = max(len(label) for label in labels) > 2
    fit = max(1, int(width / (0.19 if upright else 0.17)))
    every = -(-steps // fit)  # where not all fit, every second or third has its label
    places = range(0, steps, every)
    ax.set_xticks(places, [labels[n] for n in places], rotation=90 if upright else 0)
    ax.tick_params(labelsize=SMALL)


def _legend_of_units(
    drawn: Any, grid: Any, shown: dict[str, NDArray[np.intp]], width: float
) -> None:
    """Name the units once if all axes show the same ones, otherwise in each."""
    if len({tuple(which) for which in shown.values()}) == 1:
        ax = next(ax for ax in grid.flat if ax.lines)
        handles, labels = ax.get_legend_handles_labels()
        legend(drawn, handles, labels, width)
        return
    for ax in grid.flat:
        if ax.get_legend_handles_labels()[0]:
            ax.legend(
                frameon=False,
                fontsize=SMALL,
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                handlelength=1.2,
            )
