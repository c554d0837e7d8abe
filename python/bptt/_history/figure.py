"""The plot of a history: losses and metrics over the epochs, and the learning rate below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bptt._support.check import shown
from bptt._support.extras import require
from bptt._support.palette import BEST, CELLS, CYCLE, REFERENCE, TRAINING, VALIDATION

Numbers = Mapping[str, list[float]]

#: The axis of a number, with its unit where there is one.
AXES = {
    "cross_entropy": "cross-entropy (nats)",
    "bce_with_logits": "binary cross-entropy (nats)",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber loss",
    "accuracy": "accuracy (share of targets)",
    "perplexity": "perplexity",
    "rmse": "RMSE (units of y)",
}


def plot(
    numbers: Numbers, loss_name: str, ax: Any, metrics: Sequence[str], label: str | None, log: bool
) -> Any:
    """Draw losses and metrics, each on its axes, and return the axes of the losses."""
    if isinstance(metrics, str) or not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics must be a list of names, got {shown(metrics)}")
    known = [name for name in numbers if name not in ("loss", "validation_loss", "lr")]
    for name in metrics:
        if name not in known or name.startswith("validation_"):
            ours = ", ".join(name for name in known if not name.startswith("validation_"))
            raise ValueError(
                f"metrics must be among those of the history, {ours or 'which has none'}; "
                f"got {shown(name)}"
            )
    if label is not None and not isinstance(label, str):
        raise TypeError(f"label must be a text, got {shown(label)}")
    names = ["loss", *metrics]
    rate = None
    if ax is None:
        axes, rate = _figure(len(names), numbers["lr"])
    else:
        axes = [ax] if hasattr(ax, "plot") else list(ax)
        if len(axes) != len(names):
            raise ValueError(
                f"ax must have axes for each of {', '.join(names)}: {len(names)}, got {len(axes)}"
            )
    best = _best(numbers)
    for name, axis in zip(names, axes):
        _curves(axis, name, numbers, label, best)
        axis.set_title(axis.get_title() or name.capitalize())
        axis.set_ylabel(AXES.get(loss_name if name == "loss" else name, name))
        _epochs_below(axis)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False)
        dress(axis)
    axes[0].set_yscale("log" if log else "linear")
    if rate is not None:
        rate.plot(_epochs(numbers["lr"]), numbers["lr"], color=REFERENCE, linewidth=2)
        rate.set_ylabel("learning\nrate")
        if max(numbers["lr"]) > 10 * min(numbers["lr"]) > 0:
            rate.set_yscale("log")
        axes[0].set_xlabel("")
        _epochs_below(rate)
        dress(rate)
    return axes[0]


def _figure(panels: int, rates: list[float]) -> tuple[list[Any], Any]:
    """Return the panels of a new figure, and one below the first for learning rates that change."""
    pyplot = require("matplotlib.pyplot", "plot")
    changes = len(set(rates)) > 1
    figure = pyplot.figure(
        figsize=(5.2 * panels + 0.8, 4.8 if changes else 4), layout="constrained"
    )
    grid = figure.add_gridspec(2 if changes else 1, panels, height_ratios=[3.5, 1][: 1 + changes])
    first = figure.add_subplot(grid[0, 0])
    rest = [figure.add_subplot(grid[:, n], sharex=first) for n in range(1, panels)]
    rate = None
    if changes:
        rate = figure.add_subplot(grid[1, 0], sharex=first)
        first.tick_params(labelbottom=False)
    return [first, *rest], rate


def _curves(axis: Any, name: str, numbers: Numbers, label: str | None, best: int | None) -> None:
    """Draw a number in training and in validation, and the best epoch."""
    prefix, colors, dashes = "", (TRAINING, VALIDATION), "-"
    if label is not None:
        runs = {line.get_gid() for line in axis.get_lines()} - {None}
        color = CELLS.get(label, CYCLE[len(runs) % len(CYCLE)])
        prefix, colors, dashes = f"{label} ", (color, color), "--"
    training, validation = numbers[name], numbers.get(f"validation_{name}", [])
    for values, kind, color, style in (
        (training, "training", colors[0], "-"),
        (validation, "validation", colors[1], dashes),
    ):
        if values:
            alone = "o" if len(values) == 1 else ""
            text = prefix + kind
            axis.plot(
                _epochs(values), values, style, label=text, color=color, linewidth=2, marker=alone
            )[0].set_gid(label)
    if best is None:
        return
    text = f"{prefix}best epoch {best}"
    if label is None:
        across = axis.get_xaxis_transform()
        axis.vlines(
            best, 0, 1, transform=across, color=BEST, linestyle=":", linewidth=2, label=text
        )
    elif best <= len(validation):
        axis.scatter([best], [validation[best - 1]], s=60, color=colors[0], label=text, zorder=3)


def _best(numbers: Numbers) -> int | None:
    """Return the epoch of the lowest validation loss, counted from 1, if there is one."""
    losses = [(loss, n) for n, loss in enumerate(numbers.get("validation_loss", []), 1)]
    finite = [pair for pair in losses if math.isfinite(pair[0])]
    return min(finite)[1] if finite else None


def _epochs(values: list[float]) -> range:
    return range(1, len(values) + 1)


def _epochs_below(axis: Any) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(require("matplotlib.ticker", "plot").MaxNLocator(integer=True))


def dress(axis: Any) -> None:
    """Leave out the lines above and to the right."""
    axis.spines[["top", "right"]].set_visible(False)
