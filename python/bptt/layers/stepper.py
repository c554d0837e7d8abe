"""`Stepper`: a layer or model that takes one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Model
from bptt._core import Stepper as CoreStepper
from bptt._support import check
from bptt.layers._arrays import Array

UINT32 = np.dtype(np.uint32)


class Stepper:
    """A layer or model that takes one step at a time and keeps its state in between.

    ``layer.stepper(batch)`` and ``model.stepper(batch)`` make one. It uses the parameters of that
    moment, without dropout. Layers with two directions have no stepper.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(3, 5, rng=0)
    >>> x = np.ones((4, 1, 3), np.float32)  # (T, B, I)
    >>> stepper = lstm.stepper()
    >>> y = [stepper.step(x_t).copy() for x_t in x]
    >>> bool((np.array(y) == lstm(x)[0]).all())
    True
    >>> before = stepper.state
    >>> first = stepper.step(x[0]).copy()
    >>> stepper.state = before
    >>> bool((stepper.step(x[0]) == first).all())
    True
    """

    def __init__(
        self, layers: Sequence[Any], model: Model, params: list[Array], batch: int
    ) -> None:
        self._batch, dtype = check.size("batch", batch), params[0].dtype
        self._dtype, self._recurrent = dtype, [x for x in layers if hasattr(x, "_state_shapes")]
        for layer in self._recurrent:
            if layer.bidirectional:
                raise ValueError(
                    f"{layer} has two directions and cannot take one step at a time: its second "
                    "direction starts at the end of a sequence"
                )
        features, self._classes = model.features, layers[0]._core.tokens
        # The dtype and shape that the core takes without a copy.
        self._plain: tuple[np.dtype[Any], tuple[Any, ...]] = (dtype, (self._batch, features[0][0]))
        if self._classes is not None:
            self._plain = (UINT32, (self._batch,))
        self._y = np.empty((self._batch, features[-1][1]), dtype)
        self._core = CoreStepper(model, params, self._batch)

    def step(self, x: ArrayLike) -> Array:
        """Take one step.

        Parameters
        ----------
        x : array_like
            (B, F), or (F,) if B is 1. For a model that starts with OneHot or Embedding a token for
            every row, (B,), or one number if B is 1.

        Returns
        -------
        ndarray
            The outputs (B, F). The next step overwrites the array: copy it to keep it.
        """
        dtype, shape = self._plain
        if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
            x = self._given(x)
        self._core.step(x, self._y)
        return self._y

    def _given(self, x: ArrayLike) -> Array:
        if self._classes is not None:
            tokens = check.classes("x", np.atleast_1d(check.array_of("x", x)), self._classes)
            if tokens.shape != (self._batch,):
                raise ValueError(f"x must have shape {(self._batch,)}, got {tokens.shape}")
            return tokens
        array = check.floats("x", x, self._dtype)
        if array.ndim == 1 and self._batch == 1:
            array = array[None]
        if array.shape != self._plain[1]:
            raise ValueError(f"x must have shape {self._plain[1]}, got {array.shape}")
        return array

    def reset(self) -> None:
        """Set the state to zeros."""
        self._core.reset()

    @property
    def state(self) -> tuple[tuple[Array, ...], ...]:
        """The state of each recurrent layer, ``(h,)`` or for an LSTM ``(h, c)``, copied.

        Set it to go back to an earlier step. Where an RNN or GRU is the only recurrent layer, h
        alone is accepted, too.
        """
        states = []
        for layer, flat in zip(self._recurrent, self._core.states()):
            shapes = layer._state_shapes(self._batch)
            states.append(tuple(part.reshape(shape) for part, shape in zip(flat, shapes)))
        return tuple(states)

    @state.setter
    def state(self, states: ArrayLike | Sequence[ArrayLike | Sequence[ArrayLike]]) -> None:
        count = len(self._recurrent)
        if count == 1 and hasattr(states, "__array__"):
            states = (states,)
        if not isinstance(states, (tuple, list)) or len(states) != count:
            got = type(states).__name__
            if isinstance(states, (tuple, list)):
                got = f"{len(states)} items"
            raise ValueError(
                f"state must be a tuple of states, one for each recurrent layer ({count}), "
                f"got {got}"
            )
        flat = []
        for layer, state in zip(self._recurrent, states):
            shapes = layer._state_shapes(self._batch)
            given = layer._state_parts(f"the state of {layer}", state)
            parts = [np.empty(0, self._dtype)] * 2
            for n, (part, shape) in enumerate(zip(given, shapes)):
                array = check.floats("state", part, self._dtype)
                if array.shape != shape:
                    raise ValueError(
                        f"a state of {layer} must have shape {shape}, got {array.shape}"
                    )
                parts[n] = array.reshape(-1)
            flat.append((parts[0], parts[1]))
        self._core.set_states(flat)
