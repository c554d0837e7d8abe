"""The confusion matrix of a classifier."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._support import check
from bptt._support.extras import require
from bptt.plot._style import SMALL, TEXT, figure, plain

#: Up to so many classes, a cell has room for its share below its count.
_ROOMY = 8


def confusion(y_true: ArrayLike, y_pred: ArrayLike, labels: Sequence[Any] | None = None) -> Any:
    """Plot a confusion matrix, with the recall of each class.

    Parameters
    ----------
    y_true, y_pred : array_like (n,)
        The true and the predicted classes, as numbers or names.
    labels : sequence, optional
        The classes in the order of the plot, each once; by default all that occur, sorted.

    Returns
    -------
    matplotlib.figure.Figure
        A square with a cell for each pair of a true class (downwards) and a predicted class (to the
        right). A cell has its count and, of up to 8 classes, its share of the true class; the
        larger this share, the darker the cell. Nothing is written for a count of 0. On the right is
        the recall of each class: the share of it that is predicted right.

    Raises
    ------
    ValueError
        If the two arrays differ in length, are not (n,), are empty, or hold a class that is not in
        `labels`.

    Examples
    --------
    >>> import bptt
    >>> figure = bptt.plot.confusion(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    >>> [text.get_text().split() for text in figure.axes[0].texts[:3]]
    [['1', '50', '%'], ['1', '50', '%'], ['1', '100', '%']]
    """
    require("matplotlib", "plot")
    names, counts = _count(y_true, y_pred, labels)
    total = counts.sum(axis=1)
    shares = counts / np.maximum(total, 1)[:, None]
    roomy = len(names) <= _ROOMY
    words = [_wrapped(name, *((18, 3) if roomy else (27, 2))) for name in names]
    longest = max(len(line) for word in words for line in word.split("\n"))
    lines = max(word.count("\n") + 1 for word in words)
    side = (0.72 if roomy else 0.46) * len(names)
    beside = 0.09 * longest
    upright = beside > side / len(names) - 0.05
    below = beside if upright else 0.18 * lines
    drawn = figure(max(side, 1.5) + beside + 1.6, max(side, 1.5) + below + 1.2)
    ax = drawn.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in zip(*np.nonzero(counts)):
        text = str(counts[row, column])
        if roomy:
            text += f"\n{_percent(counts[row, column], total[row])}"
        color = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=SMALL)
    ax.set_xticks(range(len(names)), words, rotation=90 if upright else 0, fontsize=SMALL)
    ax.set_yticks(range(len(names)), words, fontsize=SMALL)
    ax.set_xlabel("predicted class", fontsize=TEXT)
    ax.set_ylabel("true class", fontsize=TEXT)
    n = int(total.sum())
    ax.set_title(f"{np.trace(counts) / n:.1%} of {n} right".replace("%", " %"), fontsize=TEXT)

    beyond = len(names) - 0.4  # right of the cells
    for row in range(len(names)):
        recall = _percent(counts[row, row], total[row])
        ax.text(beyond, row, recall, ha="left", va="center", fontsize=SMALL)
    ax.text(beyond, -0.55, "recall", ha="left", va="bottom", fontsize=TEXT)
    return drawn


def _count(y_true: ArrayLike, y_pred: ArrayLike, labels: Any) -> tuple[list[Any], NDArray[np.intp]]:
    """Return the classes, and a count for each pair of a true and a predicted class."""
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
    counts = np.zeros((len(names), len(names)), np.intp)
    for wanted, found in zip(true.tolist(), predicted.tolist()):
        counts[places[wanted], places[found]] += 1
    return names, counts


def _percent(count: int, total: int) -> str:
    """Return a share as a text that says 100 % and 0 % only where that is exact."""
    if not total:
        return "-"
    share = 100 * count / total
    if 0 < count < total:
        share = min(max(share, 1.0), 99.0)
    return f"{share:.0f} %"


def _wrapped(name: object, width: int, lines: int) -> str:
    """Return the name of a class in lines of at most `width` characters; a longer one is cut."""
    words = " ".join(str(name).split()) or "(empty)"
    return plain(textwrap.fill(words, width, max_lines=lines, placeholder=" …"))
