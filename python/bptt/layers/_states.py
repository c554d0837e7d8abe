"""The states of a model's recurrent layers, in the forms of users and of the core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._support import check
from bptt.layers._arrays import Array

#: What users give: for each recurrent layer h, ``(h,)`` or ``(h, c)``; for one layer its alone.
GivenStates = ArrayLike | Sequence[ArrayLike | Sequence[ArrayLike]]
#: What users get: for each recurrent layer ``(h,)`` or ``(h, c)``, each (L D, B, H).
States = tuple[tuple[Array, ...], ...]
#: What the core takes: for each recurrent layer h and c, flat; c is empty if the layer has none.
FlatStates = list[tuple[Array, Array]]


def states_of(layers: Sequence[Any], given: Any, rows: int, dtype: np.dtype[Any]) -> States:
    """Return given states as contiguous arrays of the dtype, or raise an error."""
    count = len(layers)
    if count == 1 and layers[0]._is_state(given):
        given = (given,)
    if not isinstance(given, (tuple, list)) or len(given) != count:
        got = f"{len(given)} items" if isinstance(given, (tuple, list)) else type(given).__name__
        raise ValueError(
            f"state must be a tuple of states, one for each recurrent layer ({count}), got {got}"
        )
    states = []
    for layer, state in zip(layers, given):
        arrays = []
        parts = layer._state_parts(f"the state of {layer}", state)
        for part, shape in zip(parts, layer._state_shapes(rows)):
            array = check.floats("state", part, dtype)
            if array.shape != shape:
                raise ValueError(f"a state of {layer} must have shape {shape}, got {array.shape}")
            arrays.append(array)
        states.append(tuple(arrays))
    return tuple(states)


def zero_states(layers: Sequence[Any], rows: int, dtype: np.dtype[Any]) -> States:
    """Return states of zeros."""
    return tuple(tuple(np.zeros(s, dtype) for s in layer._state_shapes(rows)) for layer in layers)


def to_core(states: Iterable[Sequence[Array]]) -> FlatStates:
    """Return states as the core takes them; the arrays are views where they are contiguous."""
    flat = [[part.reshape(-1) for part in parts] for parts in states]
    return [(parts[0], parts[1] if len(parts) > 1 else parts[0][:0]) for parts in flat]


def from_core(layers: Sequence[Any], flat: FlatStates, rows: int) -> States:
    """Return the core's states as users get them."""
    return tuple(
        tuple(part.reshape(shape) for part, shape in zip(parts, layer._state_shapes(rows)))
        for layer, parts in zip(layers, flat)
    )
