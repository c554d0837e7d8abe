"""What to type where x or y has another shape: the ends of error messages, or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


def inputs(given: Array, kind: str, listed: bool, features: int | None, first: str) -> str:
    """Return what to type for an x of this shape.

    `given` is x, or of a list its first item that does not fit, and `kind` that of its dtype.
    `features` are those that the first layer takes, None if it takes tokens; `first` is its name.
    """
    shape = given.shape
    if features is None:
        return _tokens(shape, listed)
    if given.ndim == 3 - listed:  # only the number of features differs
        if not listed and shape[1] == features:
            return ": time and features look swapped, type x.swapaxes(1, 2)"
        return f": type bptt.{first}({shape[-1]}, ...) as the first layer"
    if listed:
        if given.ndim == 0 and features == 1:
            return ": for one sequence of all steps, type np.reshape(x, (1, -1, 1))"
        if given.ndim == 1 and features == 1:
            return ": type [np.reshape(part, (-1, 1)) for part in x]"
        return _no_tokens(shape, kind, features)
    if given.ndim == 1 and features == 1:
        return ": for one sequence of all steps, type np.reshape(x, (1, -1, 1))"
    if given.ndim != 2:
        return ""
    if features == 1:
        return ": type x[..., None]"
    if kind in "iu":
        return _no_tokens(shape, kind, features)
    if shape[1] == features:
        return (
            f": for one sequence of {shape[0]} steps, type x[None]; for {shape[0]} sequences of "
            f"{features} steps with one feature, type x[..., None] and bptt.{first}(1, ...)"
        )
    return f": for one feature at each step, type x[..., None] and bptt.{first}(1, ...)"


def _tokens(shape: Shape, listed: bool) -> str:
    if listed:
        return ": for one sequence, type [x]" if not shape else ""
    if len(shape) == 1:
        return ": for one sequence, type x[None]"
    if len(shape) == 3:
        one_hot = ": the first layer makes one-hot vectors itself, type x.argmax(axis=-1)"
        return ": type x[..., 0]" if shape[2] == 1 else one_hot
    return ""


def _no_tokens(shape: Shape, kind: str, features: int) -> str:
    if kind not in "iu" or len(shape) > 2:
        return ""
    return (
        f": if these are tokens, type bptt.OneHot({features}) or bptt.Embedding(..., {features}) "
        "before the first layer"
    )


def targets(given: Array, listed: bool, outputs: int, steps: int, classes: bool) -> str:
    """Return what to type for a y of this shape, where every step has a target.

    `outputs` are those of the model, `steps` those of the first sequence of x.
    """
    shape = given.shape
    rank = len(shape) + listed  # as if the list were one array
    if rank == 3 and not classes:  # only the number of features differs
        return f": type bptt.Linear(..., {shape[-1]}) as the last layer"
    plain = classes or (outputs == 1 and shape[-1:] == (steps,))
    if rank == 1 or (rank == 2 and not plain):
        return ": for one target a sequence, add LastStep() to the model, before the last Linear"
    if rank == 3:
        return _classes(shape, outputs, "y[..., 0]")
    if rank == 2 and not classes:
        return f": type {'[np.reshape(part, (-1, 1)) for part in y]' if listed else 'y[..., None]'}"
    return ""


def _classes(shape: Shape, outputs: int, column: str) -> str:
    if shape[-1] == 1:
        return f": type {column}"
    return ": a class is a number, type y.argmax(axis=-1)" if shape[-1] == outputs else ""


def target_per_sequence(given: Array, count: int, outputs: int, classes: bool) -> str:
    """Return what to type for a y of this shape, where every one of `count` sequences has one."""
    shape = given.shape
    if shape[:1] != (count,):
        return ""
    if len(shape) == 1 and not classes and np.array_equal(given, np.rint(given)):
        return ': for classes, type loss="cross_entropy"'
    rank, leave = len(shape), "or leave LastStep() out for a target at every step"
    if classes:
        if rank == 2:
            return _classes(shape, outputs, "y[:, 0]") or f": type y[:, -1], {leave}"
        return ""
    if rank == 3:
        return f": type y[:, -1], {leave}"
    if rank == 2 and outputs == 1:
        return f": type y[:, -1:], {leave}, or bptt.Linear(..., {shape[1]}) as the last layer"
    return f": type bptt.Linear(..., {shape[-1] if rank == 2 else 1}) as the last layer"


def counts(x: Any, count_x: int, count_y: int) -> str:
    """Return what to type where x and y differ in their number of sequences."""
    shape: Shape = () if isinstance(x, (list, tuple)) else np.shape(x)
    if len(shape) > 1 and shape[1] == count_y:
        return ": x looks as if time came first, type x.swapaxes(0, 1)"
    least = min(count_x, count_y)
    return f": type x[:{least}] and y[:{least}] if they belong together in order"


def steps(given: int, wanted: int) -> str:
    """Return what to type where a sequence has another number of targets than steps."""
    if given == wanted - 1 > 1:
        return ": if each target belongs to the next step, type x[:, :-1] in place of x"
    return ": for one target a sequence, add LastStep() to the model, before the last Linear"
