"""Sources of sequences: arrays, memory-mapped files, iterables of batches."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._data.finite import FIX
from bptt._data.sequences import Converted, Use, dataset_of, inputs_only, sample_weights
from bptt._support.check import shown, unmasked
from bptt._support.progress import SLICE
from bptt.layers._stack import Stack
from bptt.losses import Loss

Lengths = NDArray[np.int64]

#: What `Sequential` takes: an array, or a list of N arrays; or an iterable of batches.
Data = ArrayLike | Sequence[ArrayLike]
Batches = Iterable[tuple[Any, ...]]

#: Bytes. Pages of larger mapped files are released between calls: they count as our memory.
_LARGE = 2**27


@dataclass
class Piece:
    """A data set of the core, and the order in which to take its sequences."""

    data: Converted
    order: NDArray[np.uint64]
    batch_size: int
    release: Callable[[], None] | None = None  # frees memory after a call of the core

    @property
    def slice(self) -> float:
        """Seconds for one call of the core; fewer if the memory that it reads must be released."""
        return SLICE if self.release is None else SLICE / 5


#: From (prefix of names, (x, y, sample weights), the user's numbers of the sequences or None).
Convert = Callable[[str, tuple[Any, Any, Any], NDArray[np.uint64] | None], Converted]


class Source(Protocol):
    """Where the sequences of an epoch come from."""

    @property
    def lengths(self) -> Lengths | None:
        """The lengths of all sequences, if they are known in advance."""

    def pieces(self, order: NDArray[np.uint64] | None, batch_size: int) -> Iterator[Piece]:
        """Return the sequences of one epoch, in this order if it is given."""

    def batches(self, batch_size: int) -> int | None:
        """Return the number of batches, if it is known in advance."""


class Whole:
    """All sequences in one data set of the core."""

    def __init__(self, data: Converted) -> None:
        self.lengths = data.lengths
        self.data = data

    def pieces(self, order: NDArray[np.uint64] | None, batch_size: int) -> Iterator[Piece]:
        """Return all sequences as one piece."""
        order = np.arange(len(self.lengths), dtype=np.uint64) if order is None else order
        yield Piece(self.data, order, batch_size)

    def batches(self, batch_size: int) -> int:
        """Return the number of batches."""
        return -(-len(self.lengths) // batch_size)


class Mapped:
    """Sequences in mapped files, converted and checked batch by batch."""

    def __init__(self, convert: Convert, prefix: str, x: Any, y: Any, weights: Any) -> None:
        """Without y, the data are for prediction."""
        self._convert, self._prefix = convert, prefix
        counts = []
        for name, value in zip("xy", [x] if y is None else [x, y]):
            unmasked(f"{prefix}{name}", value)  # of all sequences, not of the first alone
            try:
                counts.append(len(value))
            except TypeError:
                message = f"{prefix}{name} must have an item for each sequence, got {shown(value)}"
                raise ValueError(message) from None
        if counts[0] != counts[-1]:
            raise ValueError(
                f"{prefix}x and {prefix}y must have the same number of sequences, got "
                f"{counts[0]} and {counts[1]}"
            )
        if 0 in counts:
            raise ValueError(f"{prefix}x is empty, it needs at least one sequence")
        if weights is not None:
            weights = np.array(sample_weights(f"{prefix}sample_weight", weights, counts[0]))
        steps = [x.shape[1]] * len(x) if isinstance(x, np.ndarray) else [len(part) for part in x]
        self.lengths = np.array(steps)
        self._data = x, y, weights
        self._release = releaser(self._data)
        # Refuses what does not fit before training begins.
        self._piece(self._prefix, np.zeros(1, np.uint64))

    def _piece(self, prefix: str, chosen: NDArray[np.uint64]) -> Piece:
        first, end = int(chosen[0]), int(chosen[-1]) + 1
        in_order = np.array_equal(chosen, np.arange(first, end))

        def take(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, np.ndarray):
                # A part of the file can be read in place; other choices are copies.
                return value[first:end] if in_order else value[chosen]
            return [value[n] for n in chosen]

        x, y, weights = map(take, self._data)
        data = self._convert(prefix, (x, y, weights), chosen)
        return Piece(data, np.arange(len(chosen), dtype=np.uint64), len(chosen), self._release)

    def pieces(self, order: NDArray[np.uint64] | None, batch_size: int) -> Iterator[Piece]:
        """Return each batch as a piece."""
        order = np.arange(len(self.lengths), dtype=np.uint64) if order is None else order
        for n, first in enumerate(range(0, len(order), batch_size)):
            prefix = f"batch {n} of {self._prefix}"
            yield self._piece(prefix, order[first : first + batch_size])

    def batches(self, batch_size: int) -> int:
        """Return the number of batches."""
        return -(-len(self.lengths) // batch_size)


class Iterated:
    """An iterable of batches (x, y) or (x, y, sample weights)."""

    lengths = None

    def __init__(self, convert: Convert, prefix: str, batches: Iterable[Any], epochs: int) -> None:
        self._convert, self._prefix, self._batches = convert, prefix, batches
        self._begun: Iterator[Piece] | None = None
        if epochs > 1 and isinstance(batches, Iterator):
            raise ValueError(
                f"{prefix}x is an iterator, which yields its batches only once, but there are "
                f"{epochs} epochs: give a list, or an object whose __iter__ starts again"
            )

    def begin(self) -> None:
        """Take the first batch now; the next call of `pieces` goes on from it."""
        pieces = self.pieces(None, 0)
        self._begun = chain([next(pieces)], pieces)

    def pieces(self, order: NDArray[np.uint64] | None, batch_size: int) -> Iterator[Piece]:
        """Return each batch as a piece."""
        begun, self._begun = self._begun, None
        return self._converted() if begun is None else begun

    def _converted(self) -> Iterator[Piece]:
        n = -1
        for n, batch in enumerate(self._batches):
            name = f"{self._prefix}batch {n}"
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                raise ValueError(
                    f"{name} must be a tuple (x, y) or (x, y, sample_weight), got "
                    f"{type(batch).__name__}"
                )
            x, y, weights = (*batch, None)[:3]
            data = self._convert(f"{name} ", (x, y, weights), None)
            every = np.arange(len(data.lengths), dtype=np.uint64)
            yield Piece(data, every, len(every))
        if n < 0:
            raise ValueError(f"{self._prefix}x has no batches, it needs at least one")

    def batches(self, batch_size: int) -> int | None:
        """Return the number of batches, if the iterable has a length."""
        try:
            return len(self._batches)  # type: ignore[arg-type]
        except TypeError:
            return None


def training_source(
    stack: Stack,
    loss: Loss,
    prefix: str,
    x: Any,
    y: Any,
    weights: Any,
    epochs: int,
    use: Use,
) -> Source:
    """Return the source of x, y and sample weights; without y, x is an iterable of batches."""

    def convert(
        prefix: str, data: tuple[Any, Any, Any], numbers: NDArray[np.uint64] | None
    ) -> Converted:
        return _checked(dataset_of(stack, loss, prefix, data, numbers, use), use.check_finite)

    if y is None:
        if isinstance(x, np.ndarray) or not isinstance(x, Iterable):
            raise ValueError(
                f"{prefix}y is missing: only an iterable of batches may come without it"
            )
        if weights is not None:
            raise ValueError(
                "sample_weight needs x and y as arrays or lists: give batches (x, y, sample_weight)"
            )
        return Iterated(convert, prefix, x, epochs)
    if is_mapped(x) or is_mapped(y):
        return Mapped(convert, prefix, x, y, weights)
    data = convert(prefix, (x, y, weights), None)
    if not data.counts:
        purpose = "evaluate" if use.evaluated else "train on"
        raise ValueError(
            f"{prefix}y has only ignored targets, or weights of 0: there is nothing to {purpose}"
        )
    return Whole(data)


def _checked(data: Converted, check_finite: bool) -> Converted:
    fault = data.not_finite() if check_finite else None
    if fault is not None:
        raise ValueError(f"{fault}: {FIX}")
    return data


def validation_source(
    stack: Stack,
    loss: Loss,
    given: Any,
    epochs: int,
    check_finite: bool,
    prefix: str = "validation ",
) -> Source:
    """Return the source of data to evaluate: (x, y), or an iterable of batches."""
    if isinstance(given, Iterable) and not isinstance(given, (tuple, list, np.ndarray)):
        given = (given, None)  # an iterable of batches
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        told = "validation=(x, y)"
        if isinstance(given, float):
            told = "validation=(x[n:], y[n:]) and fit x[:n], y[:n], where n = len(x) * 8 // 10"
        raise ValueError(
            "validation must be a tuple (x, y) or an iterable of batches, got "
            f"{shown(given)}: type {told}"
        )
    x, y = given
    return training_source(
        stack, loss, prefix, x, y, None, epochs, Use(check_finite, evaluated=True)
    )


def prediction_source(stack: Stack, x: Any, check_finite: bool) -> Source:
    """Return the source of sequences without targets."""

    def convert(
        prefix: str, data: tuple[Any, Any, Any], numbers: NDArray[np.uint64] | None
    ) -> Converted:
        return _checked(inputs_only(stack, f"{prefix}x", data[0], numbers), check_finite)

    if is_mapped(x):
        return Mapped(convert, "", x, None, None)
    return Whole(convert("", (x, None, None), None))


def is_mapped(value: Any) -> bool:
    """Tell whether sequences lie in mapped files."""
    if isinstance(value, (list, tuple)):
        return any(mapping_of(part) is not None for part in value)
    return mapping_of(value) is not None and value.ndim > 1


def mapping_of(value: Any) -> mmap.mmap | None:
    """Return the memory map that an array lies in, or None."""
    while isinstance(value, np.ndarray):
        value = value.base
    return value if isinstance(value, mmap.mmap) else None


def releaser(values: Sequence[Any]) -> Callable[[], None] | None:
    """Return a function that releases the pages of large mapped files, or None."""
    mappings = {}
    for value in values:
        for array in value if isinstance(value, (list, tuple)) else [value]:
            mapping = mapping_of(array)
            # Changes to a copy-on-write mapping may exist in its pages alone.
            if mapping is not None and len(mapping) > _LARGE and not _copy_on_write(array):
                mappings[id(mapping)] = mapping

    def release() -> None:
        for mapping in mappings.values():
            mapping.madvise(mmap.MADV_DONTNEED)

    return release if hasattr(mmap, "MADV_DONTNEED") and mappings else None


def _copy_on_write(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return bool(array.mode == "c")
        array = array.base
    return True  # unknown: assume so
