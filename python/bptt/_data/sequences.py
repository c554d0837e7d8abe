"""Data sets: what users give as x and y, turned into sequences that follow each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import Dataset
from bptt._support import check
from bptt.layers._stack import Stack
from bptt.losses import CrossEntropyLoss, Loss

Array = NDArray[Any]


class Sequences:
    """N sequences one after the other.

    Attributes
    ----------
    flat : ndarray
        All steps: (sum of T, F), or (sum of T,) for tokens and classes.
    offsets : list of int
        Where each sequence starts, and the end: N + 1 numbers.
    """

    def __init__(
        self,
        name: str,
        value: Any,
        features: int | None,
        convert: Callable[[str, Any], Array],
    ) -> None:
        rank = 1 if features is None else 2  # of one sequence
        one = "(T,)" if features is None else f"(T, {features})"
        many = "(N, T)" if features is None else f"(N, T, {features})"
        takes = f"an array {many} or a list of N arrays {one}"
        is_array = not isinstance(value, (list, tuple))
        if is_array:
            array = convert(name, value)
            if array.ndim != rank + 1:
                raise ValueError(f"{name} must be {takes}, got an array of shape {array.shape}")
            parts = [array.reshape(-1, *array.shape[2:])]
            lengths = [array.shape[1]] * array.shape[0]
        else:
            parts = [convert(f"{name}[{n}]", part) for n, part in enumerate(value)]
            for n, part in enumerate(parts):
                if part.ndim != rank:
                    raise ValueError(
                        f"{name} must be {takes}, got {name}[{n}] of shape {part.shape}"
                    )
            lengths = [len(part) for part in parts]
        if not lengths:
            raise ValueError(f"{name} is empty: it needs at least one sequence")
        if 0 in lengths:
            raise ValueError(f"{name}[{lengths.index(0)}] is empty: sequences need a step or more")
        for n, part in enumerate(parts):
            if features is not None and part.shape[-1] != features:
                where = name if is_array else f"{name}[{n}]"
                raise ValueError(
                    f"{where} must have {features} features in its last dimension, "
                    f"got {part.shape[-1]}"
                )
        self.flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.offsets = [0, *np.cumsum(lengths).tolist()]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> list[int]:
        """T of every sequence."""
        return [end - start for start, end in pairwise(self.offsets)]


def one_per_sequence(
    name: str,
    value: Any,
    features: int | None,
    count: int,
    convert: Callable[[str, Any], Array],
) -> Array:
    """Return targets of which every sequence has one: (N, F), or (N,) classes."""
    array = convert(name, value)
    shape = (count,) if features is None else (count, features)
    if array.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, got {array.shape}: a model with LastStep takes one "
            f"target for each of the {count} sequences"
        )
    return array


def sample_weights(name: str, value: Any, count: int) -> list[float]:
    """Return a weight for every sequence."""
    array = check.floats(name, value, np.dtype(np.float64))
    if array.shape != (count,):
        raise ValueError(
            f"{name} must have a number for each of the {count} sequences, got shape {array.shape}"
        )
    if not (array >= 0).all() or not np.isfinite(array).all():
        raise ValueError(f"{name} must be at least 0 and finite")
    return list(array.tolist())


def inputs_of(stack: Stack, name: str, x: Any) -> Sequences:
    """Return the sequences of x, as the first layer takes them."""
    tokens, features = stack.tokens, stack.features[0][0]
    if tokens is not None:
        return Sequences(name, x, None, lambda part, v: check.classes(part, v, tokens))
    return Sequences(name, x, features, lambda part, v: check.floats(part, v, stack.dtype))


def dataset_of(
    stack: Stack, loss: Loss, prefix: str, x: Any, y: Any, weights: Any, evaluated: bool
) -> tuple[Dataset, Any]:
    """Return a core data set and the lengths of its sequences; one to evaluate has to count."""
    outputs = stack.outputs
    inputs = inputs_of(stack, f"{prefix}x", x)
    name, features = f"{prefix}y", None if loss._classes else outputs

    def convert(part: str, value: Any) -> Array:
        if isinstance(loss, CrossEntropyLoss):
            return loss._targets(part, value, outputs)
        return check.floats(part, value, stack.dtype)

    if stack.per_sequence:
        flat = one_per_sequence(name, y, features, len(inputs), convert)
    else:
        targets = Sequences(name, y, features, convert)
        if len(inputs) != len(targets):
            raise ValueError(
                f"{prefix}x has {len(inputs)} sequences and {prefix}y has {len(targets)}"
            )
        for n, (given, wanted) in enumerate(zip(targets.lengths, inputs.lengths)):
            if given != wanted:
                raise ValueError(
                    f"{prefix}y[{n}] has {given} steps, {prefix}x[{n}] has {wanted}: there "
                    "must be a target for every step, or put LastStep into the model"
                )
        flat = targets.flat
    if evaluated and isinstance(loss, CrossEntropyLoss) and not loss._counted(flat).any():
        raise ValueError(f"{name} has no target that counts: there is nothing to evaluate")
    if weights is not None:
        weights = sample_weights(f"{prefix}sample_weight", weights, len(inputs))
    core = Dataset(inputs.flat, flat, inputs.offsets, stack.per_sequence, weights)
    return core, np.diff(inputs.offsets)
