"""What the numbers of x and y tell of the data: scales, constants, classes, axes.

`bptt.check` shows all of it, and `fit` warns of what is nearly surely a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import IGNORED
from bptt._data.sequences import Converted
from bptt.layers._stack import Stack
from bptt.layers.stateless import LayerNorm
from bptt.losses import BCEWithLogitsLoss, Loss

Array = NDArray[Any]

#: Root mean squares beyond which numbers should be scaled, and beyond which training is hopeless.
LARGE, HOPELESS = 10.0, 1000.0

#: The root mean square below which numbers should be scaled.
SMALL = 0.01

#: So many targets must be the same before `fit` speaks of it: a small example may be so on purpose.
MANY = 200

#: Numbers that `fit` looks at: its check must cost nothing beside training.
_SAMPLE = 2**13


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    name : str
        What was checked.
    level : {"ok", "warning", "error"}
        With an error, training cannot work; with a warning, it may work badly.
    sentence : str
        What was found, and what to do.
    """

    name: str
    level: str
    sentence: str


class DataWarning(UserWarning):
    """`fit` was given data that are nearly surely a mistake; `bptt.check` tells more."""


def surely_wrong(stack: Stack, loss: Loss, data: Converted) -> str | None:
    """Return a sentence about data that are nearly surely a mistake, from a sample, or None."""
    y = data.y
    if data.x.dtype.kind == "f" and not isinstance(stack.layers[0], LayerNorm):
        features = _sample(data.x)
        if (worst := _hopeless(features)) is not None:
            return f"{_of('x', features, worst)}: {_scaling('x', features)}"
    if len(y) < MANY:
        return None
    # Most targets that differ do so at the ends.
    if np.array_equal(y[0], y[-1]) and (y == y[0]).all():
        if loss._classes:
            return f"every target is class {y[0]}: give data with all classes"
        return f"every target is {y[0].tolist()}: there is nothing to learn"
    targets = _sample(y)
    if not loss._classes and (worst := _hopeless(targets)) is not None:
        return f"{_of('y', targets, worst)}, outputs begin near 0: {_scaling('y', targets)}"
    return None


def _hopeless(rows: Array) -> int | None:
    """Return a column of finite numbers that are hopelessly large, if there is one."""
    if not max(rows.max(), -rows.min()) > HOPELESS:
        return None
    with np.errstate(all="ignore"):
        rms = _rms(rows)
    worst = int(rms.argmax())
    return worst if HOPELESS < rms[worst] < np.inf else None


def findings_of(stack: Stack, loss: Loss, data: Converted) -> Iterator[Finding]:
    """Look at data that are finite, and give all that is found."""
    if data.x.dtype.kind == "f":
        normed = isinstance(stack.layers[0], LayerNorm)
        yield _scale("x", data.x, normed)
        yield from _constants("features of x", data.x)
        yield _axes(data)
    if loss._classes:
        yield _classes(stack, data)
    else:
        yield _targets(loss, data)
        yield _scale("y", data.y, isinstance(loss, BCEWithLogitsLoss))
    if data.y.shape == data.x.shape and np.array_equal(data.x, data.y):
        yield Finding(
            "target",
            "warning",
            "y equals x, so the answer to every step is in it; to predict the next step, type "
            "fit(x[:, :-1], x[:, 1:], ...).",
        )


def _scale(letter: str, rows: Array, free: bool) -> Finding:
    """Look whether numbers have a mean near 0 and a deviation near 1."""
    name, worst = f"scale of {letter}", _worst(rows)
    if worst is None or free:
        return Finding(name, "ok", f"The numbers of {letter} are of a size that trains well.")
    told, rms = _of(letter, rows, worst), _rms(rows)[worst]
    far = ", outputs begin near 0" if letter == "y" else ""
    return Finding(
        name,
        "error" if rms > HOPELESS else "warning",
        f"{told}{far}: {_scaling(letter, rows)}.",
    )


def _constants(name: str, rows: Array) -> Iterator[Finding]:
    """Look for columns that never change."""
    same = np.flatnonzero(rows.min(axis=0) == rows.max(axis=0))
    if len(same) == rows.shape[1]:
        yield Finding(name, "error", "x never changes: there is nothing to learn from.")
    elif len(same):
        yield Finding(
            name,
            "warning",
            f"{len(same)} of {rows.shape[1]} features of x never change ({_listed(same)}): leave "
            "them out.",
        )
    else:
        yield Finding(name, "ok", "Every feature of x changes.")


def _axes(data: Converted) -> Finding:
    """Look for signs that time, sequences and features have each other's places."""
    name, lengths = "axes of x", data.lengths
    sequences, features = len(lengths), data.x.shape[1]
    if lengths.max() == 1:
        swapped = f", (N, T, F) = ({sequences}, 1, {features})"
        told = "type x.swapaxes(1, 2)" if features > 1 else "put the steps into the second axis"
        return Finding(
            name,
            "warning",
            f"Every sequence has one step{swapped}, so there is no time to learn from: if time is "
            f"another axis, {told}.",
        )
    if lengths.min() == lengths.max() and sequences > 4:
        cube = data.x.reshape(sequences, -1, features)[:1000, :1000]
        across, along = np.abs(np.diff(cube, axis=0)), np.abs(np.diff(cube, axis=1))
        across = across[across.any(axis=(1, 2))]  # without sequences that are there twice
        if len(across) and across.mean(dtype=np.float64) < 0.2 * along.mean(dtype=np.float64):
            return Finding(
                name,
                "warning",
                "Neighbouring sequences are more alike than neighbouring steps, as if time came "
                "first: models take (N, T, F), type x.swapaxes(0, 1).",
            )
    return Finding(name, "ok", "Time changes along the second axis.")


def _classes(stack: Stack, data: Converted) -> Finding:
    """Look which classes there are, and how often."""
    name, counted = "classes of y", data.y[data.y != IGNORED]
    counts = np.bincount(counted.ravel(), minlength=stack.outputs)
    most, missing = int(counts.argmax()), np.flatnonzero(counts == 0)
    share = counts[most] / counts.sum()
    if share == 1:
        return Finding(name, "error", f"Every target is class {most}: give data with all classes.")
    if share >= 0.99:
        return Finding(
            name,
            "warning",
            f"{share:.1%} of the targets are class {most}, so always saying {most} is right so "
            "often: type loss=bptt.CrossEntropyLoss(weight=[...]) with larger weights for the "
            "others.",
        )
    if len(missing):
        return Finding(
            name,
            "warning",
            f"{len(missing)} of {len(counts)} classes never occur in y ({_listed(missing)}): they "
            f"cannot be learnt; give data of them, or a last layer without them.",
        )
    return Finding(
        name, "ok", f"All {len(counts)} classes occur; class {most} is the commonest, {share:.0%}."
    )


def _targets(loss: Loss, data: Converted) -> Finding:
    """Look whether targets that are numbers change, and are what the loss takes."""
    name, y = "targets", data.y
    least, most = y.min(axis=0), y.max(axis=0)
    same = np.flatnonzero(least == most)
    if isinstance(loss, BCEWithLogitsLoss):
        if least.min() < 0 or most.max() > 1:
            return Finding(
                name,
                "error",
                f'y has numbers from {least.min():.4g} to {most.max():.4g}, and "bce_with_logits" '
                "takes targets from 0 to 1: type (y > 0).astype(float) if they are signs.",
            )
        share = float(y.mean(dtype=np.float64))
        if not 0.01 < share < 0.99 and len(same) < y.shape[1]:
            return Finding(
                name,
                "warning",
                f"{max(share, 1 - share):.1%} of the targets are {round(share)}, so always saying "
                f"that is right so often: type loss=bptt.BCEWithLogitsLoss(pos_weight=[...]).",
            )
    if len(same) == y.shape[1]:
        told = y[0].tolist() if y.shape[1] > 1 else f"{y[0, 0]:.4g}"
        return Finding(name, "error", f"Every target is {told}: there is nothing to learn.")
    if len(same):
        return Finding(
            name,
            "warning",
            f"{len(same)} of {y.shape[1]} numbers of y never change ({_listed(same)}): leave them "
            "out.",
        )
    return Finding(name, "ok", "The targets differ from each other.")


def _sample(rows: Array) -> Array:
    """Return some rows at equal distances."""
    return rows[:: max(1, rows.size // _SAMPLE)]


def _rms(rows: Array) -> Array:
    """Return the root mean square of each column."""
    squares = np.square(rows, dtype=np.float64)
    return np.asarray(np.sqrt(squares.mean(axis=0)))


def _worst(rows: Array) -> int | None:
    """Return the column whose size is farthest from 1, if one needs scaling."""
    rms = _rms(rows)
    away = np.abs(np.log(np.where(rms > 0, rms, 1.0)))
    worst = int(away.argmax())
    if rms[worst] > LARGE or 0 < rms[worst] < SMALL:
        return worst
    deviations = rows.std(axis=0, dtype=np.float64)
    offset = (deviations > 0) & (np.abs(rows.mean(axis=0, dtype=np.float64)) > LARGE * deviations)
    return int(offset.argmax()) if offset.any() else None


def _of(letter: str, rows: Array, column: int) -> str:
    """Return a clause about the numbers of a column."""
    mean = rows[:, column].mean(dtype=np.float64)
    deviation = rows[:, column].std(dtype=np.float64)
    which = f" (feature {column})" if rows.shape[1] > 1 else ""
    return f"{letter} has a mean of {mean:.4g} and a deviation of {deviation:.4g}{which}"


def _scaling(letter: str, rows: Array) -> str:
    """Return what to type to scale an array."""
    if rows.shape[1] == 1:
        return f"type {letter} = ({letter} - {letter}.mean()) / {letter}.std()"
    return (
        f"type {letter} = ({letter} - mean) / deviation, each of which has a number for each of "
        f"the {rows.shape[1]} features"
    )


def _listed(numbers: Array) -> str:
    """Return the first of some numbers."""
    more = ", ..." if len(numbers) > 5 else ""
    return ", ".join(map(str, numbers[:5].tolist())) + more
