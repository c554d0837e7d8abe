"""The layout of the sequences in a call: batch and time axes, lengths, states."""

from __future__ import annotations

from numpy.typing import ArrayLike

from bptt._core import Lengths
from bptt._support import check
from bptt.layers._arrays import Array

State = tuple[Array, ...]


class Batch:
    """The layout of the sequences in the arrays of one call."""

    def __init__(
        self, x: Array, lengths: ArrayLike | None, batch_first: bool, features: str = "I"
    ) -> None:
        if x.ndim not in (2, 3):
            layout = "(B, T, " if batch_first else "(T, B, "
            raise ValueError(
                f"x must be {layout}{features}) or (T, {features}), got shape {x.shape}"
            )
        self.batch_first, self.batched = batch_first, x.ndim == 3
        self.rows, self.steps = 1, x.shape[0]
        if self.batched:
            self.rows, self.steps = x.shape[:2] if self.batch_first else x.shape[1::-1]
        self.shape = x.shape[:-1]
        self.lengths: Lengths | None = None
        if lengths is not None:
            self.lengths = Lengths(_check_lengths(lengths, self.rows, self.steps))

    def to_three(self, array: Array) -> Array:
        """Return an array with a batch axis, also where the call has none."""
        if self.batched:
            return array
        return array[None] if self.batch_first else array[:, None]

    def from_three(self, array: Array) -> Array:
        """Undo `to_three`."""
        if self.batched:
            return array
        return array[0] if self.batch_first else array[:, 0]

    def from_steps(self, flat: Array, features: int) -> Array:
        """Return numbers in the core's order of steps and rows in the layout of the call."""
        if self.lengths is not None:
            flat = flat.reshape(-1, features)
            array = self.lengths.unpack(flat, self.steps, self.batch_first)
        else:
            array = flat.reshape(self.steps, self.rows, features)
            array = array.swapaxes(0, 1).copy() if self.batch_first else array
        return self.from_three(array)

    def states_from_core(self, states: list[Array]) -> State:
        """Return states (L D, B, H) without a batch axis where the call has none."""
        return tuple(states if self.batched else [state[:, 0] for state in states])


def _check_lengths(lengths: ArrayLike, rows: int, steps: int) -> list[int]:
    array = check.array_of("lengths", lengths)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths must be whole numbers, got dtype {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(
            f"lengths must have shape {(rows,)}, a length for each sequence, got {array.shape}"
        )
    numbers: list[int] = array.tolist()
    if numbers and not 0 <= min(numbers) <= max(numbers) <= steps:
        wrong = min(numbers) if min(numbers) < 0 else max(numbers)
        raise ValueError(
            f"lengths must be from 0 to {steps}, the number of steps of x, got {wrong}"
        )
    return numbers
