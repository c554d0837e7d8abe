"""The x and y of users as data sets of the core: sequences that lie one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import IGNORED, Dataset
from bptt._data import hints
from bptt._data.finite import not_finite
from bptt._support import check
from bptt.layers._stack import Stack
from bptt.losses import CrossEntropyLoss, Loss

Array = NDArray[Any]


class Sequences:
    """N sequences that lie one after the other.

    Attributes
    ----------
    flat : ndarray
        All steps: (sum of T, F), or (sum of T,) for tokens and classes.
    offsets : list of int
        The start of each sequence, and the end of the last one: N + 1 numbers.
    """

    def __init__(
        self,
        name: str,
        value: Any,
        features: int | None,
        convert: Callable[[str, Any], Array],
        hint: Callable[[Array, bool], str] = lambda given, listed: "",
    ) -> None:
        """Convert the value.

        For a shape that does not fit, `hint` returns what to type: it is given the array, or one
        of a list and True.
        """
        rank = 1 if features is None else 2  # dimensions of one sequence
        one = "(T,)" if features is None else f"(T, {features})"
        many = "(N, T)" if features is None else f"(N, T, {features})"
        takes = f"an array {many} or a list of N arrays {one}"
        is_array = not isinstance(value, (list, tuple))
        if is_array:
            array = convert(name, value)
            if array.ndim != rank + 1:
                raise ValueError(
                    f"{name} must be {takes}, got an array of shape {array.shape}"
                    f"{hint(array, False)}"
                )
            parts = [array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])]
            lengths = [array.shape[1]] * array.shape[0]
        else:
            parts = [convert(f"{name}[{n}]", part) for n, part in enumerate(value)]
            for n, part in enumerate(parts):
                if part.ndim != rank:
                    raise ValueError(
                        f"{name} must be {takes}, got {name}[{n}] of shape {part.shape}"
                        f"{hint(part, True)}"
                    )
            lengths = [len(part) for part in parts]
        if not lengths:
            raise ValueError(f"{name} is empty, it needs at least one sequence")
        if 0 in lengths:
            raise ValueError(
                f"{name}[{lengths.index(0)}] is empty, each sequence needs at least one step"
            )
        for n, part in enumerate(parts):
            if features is not None and part.shape[-1] != features:
                where = name if is_array else f"{name}[{n}]"
                told = hint(array, False) if is_array else hint(part, True)
                raise ValueError(
                    f"{where} must have {features} features in its last dimension, "
                    f"got {part.shape[-1]}{told}"
                )
        self.flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.offsets = [0, *np.cumsum(lengths).tolist()]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> list[int]:
        """T of each sequence."""
        return [end - start for start, end in pairwise(self.offsets)]


def one_per_sequence(
    name: str,
    value: Any,
    features: int | None,
    count: int,
    outputs: int,
    convert: Callable[[str, Any], Array],
) -> Array:
    """Return one target for each sequence: (N, F), or classes (N,).

    Where F is 1, a target may also be the number itself, (N,).
    """
    try:
        array = convert(name, value)
    except ValueError as error:
        if "differ in length" not in str(error):
            raise
        raise ValueError(f"{error}: with LastStep, type [part[-1] for part in y]") from None
    if features == 1 and array.shape == (count,):
        return array[:, None]
    shape = (count,) if features is None else (count, features)
    if array.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, got {array.shape}, because a model with LastStep "
            f"takes one target for each of the {count} sequences"
            f"{hints.target_per_sequence(array, count, outputs, features is None)}"
        )
    return array


@dataclass(frozen=True)
class Use:
    """What data are read for.

    Attributes
    ----------
    check_finite : bool
        Whether NaN and infinity in them are refused.
    evaluated : bool
        Whether they are evaluated, which takes all sequences alike, rather than trained on.
    stateful : bool
        Whether the states of each batch go on to the next.
    """

    check_finite: bool
    evaluated: bool = False
    stateful: bool = False


def sample_weights(name: str, value: Any, count: int) -> list[float]:
    """Return a weight for each sequence."""
    array = check.floats(name, value, np.dtype(np.float64))
    if array.shape != (count,):
        raise ValueError(
            f"{name} must have shape {(count,)}, a number for each sequence, got {array.shape}"
        )
    wrong = ~((array >= 0) & np.isfinite(array))
    if wrong.any():
        raise ValueError(
            f"{name} must hold finite numbers of at least 0, got {array[wrong.argmax()]} for "
            f"sequence {wrong.argmax()}"
        )
    return list(array.tolist())


@np.errstate(over="ignore")  # the check tells of numbers that are too large for float32
def inputs_of(stack: Stack, name: str, x: Any) -> Sequences:
    """Return x as sequences of what the first layer takes: tokens or features."""
    tokens, features = stack.tokens, stack.features[0][0]
    first = type(stack.layers[0]).__name__

    def convert(part: str, value: Any) -> Array:
        if tokens is not None:
            return check.classes(part, value, tokens)
        return check.floats(part, value, stack.dtype)

    def hint(given: Array, listed: bool) -> str:
        # The array as it was given still tells whether it holds whole numbers.
        own = x[0] if listed and isinstance(x, (list, tuple)) else x
        return hints.inputs(given, np.asarray(own).dtype.kind, listed, features, first)

    return Sequences(name, x, features, convert, hint)


@dataclass
class Converted:
    """Users' data in the core's form.

    Attributes
    ----------
    core : Dataset
        The data set of the core.
    lengths : ndarray
        The lengths of its sequences.
    counts : bool
        Whether a target has a weight above 0.
    not_finite : callable
        Returns a sentence about the NaN and infinity in what is read, or None.
    x, y : ndarray
        The arrays of the data set: the steps of all sequences one after the other, (sum of T, F) or
        tokens (sum of T,), and their targets; without targets y is empty.
    """

    core: Dataset
    lengths: NDArray[np.int64]
    counts: bool
    not_finite: Callable[[], str | None]
    x: Array
    y: Array


def inputs_only(stack: Stack, name: str, x: Any, numbers: Array | None) -> Converted:
    """Return sequences without targets, for prediction."""
    inputs = inputs_of(stack, name, x)
    core = Dataset(inputs.flat, None, inputs.offsets)

    def fault() -> str | None:
        return not_finite(name, inputs.flat, inputs.offsets, None, numbers)

    none = np.empty(0, inputs.flat.dtype)
    return Converted(core, np.diff(inputs.offsets), True, fault, inputs.flat, none)


@np.errstate(over="ignore")
def dataset_of(
    stack: Stack,
    loss: Loss,
    prefix: str,
    data: tuple[Any, Any, Any],  # x, y, weights of the sequences
    numbers: Array | None,
    use: Use,
) -> Converted:
    """Return sequences with targets.

    `prefix` names x and y in errors, and `numbers` the sequences (None: as they are counted).
    """
    x, y, weights = data
    outputs = stack.outputs
    inputs = inputs_of(stack, f"{prefix}x", x)
    name, features = f"{prefix}y", None if loss._classes else outputs

    def convert(part: str, value: Any) -> Array:
        if isinstance(loss, CrossEntropyLoss):
            return loss._targets(part, value, outputs)
        return check.floats(part, value, stack.dtype)

    if stack.per_sequence:
        flat = one_per_sequence(name, y, features, len(inputs), outputs, convert)
    else:

        def hint(given: Array, listed: bool) -> str:
            return hints.targets(given, listed, outputs, inputs.lengths[0], loss._classes)

        targets = Sequences(name, y, features, convert, hint)
        if len(inputs) != len(targets):
            raise ValueError(
                f"{prefix}x and {prefix}y must have the same number of sequences, got "
                f"{len(inputs)} and {len(targets)}{hints.counts(x, len(inputs), len(targets))}"
            )
        for n, (given, wanted) in enumerate(zip(targets.lengths, inputs.lengths)):
            if given != wanted:
                raise ValueError(
                    f"{prefix}y[{n}] must have a target for each of the {wanted} steps of "
                    f"{prefix}x[{n}], got {given}{hints.steps(given, wanted)}"
                )
        flat = targets.flat
    lengths = np.diff(inputs.offsets)
    if weights is not None:
        weights = sample_weights(f"{prefix}sample_weight", weights, len(inputs))
    weighed = None if weights is None or use.evaluated else np.array(weights) > 0
    counted = None  # whether each target counts; None: all do
    if isinstance(loss, CrossEntropyLoss):
        counted = loss._counted(flat)
        if weighed is not None:
            counted &= weighed if stack.per_sequence else np.repeat(weighed, lengths)
    elif weighed is not None:
        counted = weighed
    # An array in which something is ignored is a copy of what the user gave.
    ignores = loss._classes and bool((flat == IGNORED).any())
    core = Dataset(inputs.flat, flat, inputs.offsets, stack.per_sequence, weights, ignores)

    def fault() -> str | None:
        # Without a weight, a target is not read, nor x unless its states go on to the next batch.
        read = None if use.stateful else weighed
        of_y = None if stack.per_sequence else inputs.offsets
        return not_finite(f"{prefix}x", inputs.flat, inputs.offsets, read, numbers) or not_finite(
            name, flat, of_y, weighed, numbers
        )

    counts = counted is None or bool(counted.any())
    return Converted(core, lengths, counts, fault, inputs.flat, flat)
