"""Parameters of a network, and the norm of their gradients while it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._support import check
from bptt._support.extras import require
from bptt._support.palette import BLUE, ORANGE
from bptt.history import History
from bptt.layers._base import Layer
from bptt.layers._stack import Stack
from bptt.plot._style import LINE, SMALL, TEXT, figure, plain, tidy

Array = NDArray[np.float64]
_COLUMNS = 4


def weights(model: Stack | Layer | Mapping[str, ArrayLike], history: History | None = None) -> Any:
    """Plot histograms of all parameters, and the norm of the gradients over the steps of training.

    Parameters
    ----------
    model : Sequential, layer or mapping of str to array_like
        What has the parameters; or the parameters by name, such as `state_dict` returns.
    history : History, optional
        From `fit`. With it, the norm of the gradients of every step of the optimiser is drawn
        below, as far as the history has it. It is that of all parameters together, before clipping.

    Returns
    -------
    matplotlib.figure.Figure
        Axes for each parameter: blue for matrices, orange for biases and gains. The title has the
        name and the shape, the text beside it the standard deviation.

    Raises
    ------
    ValueError, TypeError
        If `model` has no parameters, or is none of these.

    Examples
    --------
    >>> import bptt
    >>> model = bptt.Sequential(bptt.LSTM(3, 8, rng=0), bptt.Linear(8, 2, rng=1))
    >>> figure = bptt.plot.weights(model)
    >>> figure.axes[0].get_title(loc="left")
    '0.weight_ih_l0 (32, 3)'
    """
    require("matplotlib", "plot")
    parameters = _read(model)
    if history is not None and not isinstance(history, History):
        raise TypeError(f"history must be what fit returns, got {check.shown(history)}")
    steps, norms = _norms(history)

    columns = min(len(parameters), _COLUMNS)
    rows = -(-len(parameters) // columns)
    drawn = figure(max(3.1 * columns, 6.0), 2.1 * rows + (2.8 if len(norms) else 0.0))
    heights = [2.1] * rows + ([2.8] if len(norms) else [])
    grid = drawn.add_gridspec(len(heights), columns, height_ratios=heights)
    for n, (name, array) in enumerate(parameters.items()):
        ax = drawn.add_subplot(grid[n // columns, n % columns])
        _histogram(ax, name, array)
        if n % columns == 0:
            ax.set_ylabel("parameters", fontsize=SMALL)
    if len(norms):
        _curve(drawn.add_subplot(grid[-1, :]), steps, norms)
    return drawn


def _read(model: Any) -> dict[str, Array]:
    if isinstance(model, Stack):
        given: Mapping[str, Any] = model.named_parameters()
    elif isinstance(model, Layer):
        given = model.parameters
    elif isinstance(model, Mapping):
        given = model
    else:
        raise TypeError(
            "model must be a Sequential, a layer, or a dict of parameters by name, got "
            f"{check.shown(model)}"
        )
    parameters = {
        str(name): check.floats(str(name), array, np.dtype(np.float64))
        for name, array in given.items()
    }
    parameters = {name: array for name, array in parameters.items() if array.size}
    if not parameters:
        raise ValueError("model must have parameters, got none")
    return parameters


def _norms(history: History | None) -> tuple[NDArray[np.int64], Array]:
    """Return the steps of a history and the norms of their gradients, those that are finite."""
    steps = getattr(history, "steps", None)
    if steps is None:
        return np.empty(0, np.int64), np.empty(0)
    norms = steps.gradient_norm
    known = np.isfinite(norms) & (norms > 0)  # the scale is logarithmic
    return steps.step[known], norms[known]


def _histogram(ax: Any, name: str, array: Array) -> None:
    ticker = require("matplotlib.ticker", "plot")
    finite = array[np.isfinite(array)]
    if finite.size:
        bins = int(np.clip(np.sqrt(finite.size), 8, 60))
        low, high = finite.min(), finite.max()
        if high - low <= 1e-6 * max(abs(low), abs(high)):  # all the same, such as biases of 0
            low, high = low - 0.5, high + 0.5
        ax.hist(finite, bins=bins, range=(low, high), color=BLUE if array.ndim > 1 else ORANGE)
    about = f"std {finite.std():.2g}" if finite.size else ""
    if finite.size < array.size:
        about += f"\n{array.size - finite.size} not finite"
    ax.text(0.99, 0.98, about.strip(), transform=ax.transAxes, ha="right", va="top", fontsize=SMALL)
    shape = ", ".join(map(str, array.shape)) + ("," if array.ndim == 1 else "")
    tidy(ax)
    ax.set_title(f"{plain(name)} ({shape})", loc="left", fontsize=SMALL)
    ax.margins(y=0.25)  # room for the text
    ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    ax.yaxis.set_major_locator(ticker.MaxNLocator(3, integer=True))


def _curve(ax: Any, steps: NDArray[np.int64], norms: Array) -> None:
    """Draw the norms, and if they are many their medians over a fiftieth of the steps each."""
    many = len(norms) > 100
    ax.plot(steps, norms, color=BLUE, linewidth=0.8 if many else LINE, alpha=0.4 if many else 1)
    if many:
        parts = [part for part in zip(np.array_split(steps, 50), np.array_split(norms, 50))]
        middle = np.array([(at.mean(), np.median(part)) for at, part in parts])
        ax.plot(*middle.T, color=BLUE, linewidth=LINE)
    ax.set(yscale="log", xlabel="step of the optimiser", ylabel="gradient norm")
    tidy(ax)
    title = "norm of the gradients of all parameters, before clipping"
    ax.set_title(title, loc="left", fontsize=TEXT)
