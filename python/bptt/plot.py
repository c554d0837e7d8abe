"""Pictures of what layers do. Needs matplotlib (the extra "plot")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._extras import require

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


def gates(values: Mapping[str, ArrayLike], tokens: Sequence[Any] | None = None) -> Any:
    """Draw gates and cells over the steps of a sequence.

    Parameters
    ----------
    values : mapping of str to array_like
        From ``layer(x, return_gates=True)``, for one sequence: each (T, H).
    tokens : sequence of T items, optional
        What to write under the steps; their numbers by default.

    Returns
    -------
    matplotlib.figure.Figure
        A picture for each of the values, units upwards, steps to the right. Gates between 0 and 1
        go from white to blue, what has a sign from red through white to blue.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(2, 8, rng=0)
    >>> y, state, values = lstm(np.ones((5, 2)), return_gates=True, return_cells=True)
    >>> figure = bptt.plot.gates(values, tokens="hello")
    >>> len(figure.axes) // 2  # each with a scale
    5
    """
    figures = require("matplotlib.figure", "plot")
    ticker = require("matplotlib.ticker", "plot")
    arrays = {name: np.asarray(value) for name, value in values.items()}
    for name, array in arrays.items():
        if array.ndim != 2:
            raise ValueError(
                f"{name} must be (T, H), one sequence of a batch, got shape {array.shape}"
            )
    if not arrays:
        raise ValueError("values must have at least one array")
    steps = len(next(iter(arrays.values())))
    if tokens is not None and len(tokens) != steps:
        raise ValueError(f"there are {len(tokens)} tokens for {steps} steps")
    width = min(max(0.22 * steps + 2.2, 5.0), 14.0)
    figure = figures.Figure(figsize=(width, 1.5 * len(arrays) + 0.5), layout="constrained")
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
