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
from bptt.layers._base import Layer, TrainableLayer
from bptt.layers._states import GivenStates, States, from_core, states_of, to_core

Dtype = np.dtype[Any]

UINT32 = np.dtype(np.uint32)


class Stepper:
    """A layer or model that takes one step at a time and keeps its state in between.

    ``layer.stepper(batch)`` and ``model.stepper(batch)`` make one. It uses the parameters of that
    moment, without dropout. Layers with two directions have no stepper. A copy or pickle of a
    stepper goes on from its state.

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

    def __init__(self, layers: Sequence[Layer], model: Model, dtype: Dtype, batch: int) -> None:
        self._batch = check.size("batch", batch)
        self._dtype, self._layers = dtype, tuple(layers)
        self._recurrent: list[Any] = [x for x in layers if hasattr(x, "_state_shapes")]
        for layer in self._recurrent:
            if layer.bidirectional:
                raise ValueError(
                    f"{layer} has two directions and cannot take one step at a time: its second "
                    "direction starts at the end of a sequence"
                )
        features, self._classes = model.features, layers[0]._core.tokens
        # The dtype and shape that the core takes without a copy.
        self._plain: tuple[Dtype, tuple[Any, ...]] = (dtype, (self._batch, features[0][0]))
        if self._classes is not None:
            self._plain = (UINT32, (self._batch,))
        self._y = np.empty((self._batch, features[-1][1]), dtype)
        # Copies and pickles of a stepper need them, and the core looks rows up in an embedding's.
        self._params = [
            layer._arrays.lend(self) if isinstance(layer, TrainableLayer) else np.empty(0, dtype)
            for layer in layers
        ]
        self._core = CoreStepper(model, self._params, self._batch)

    def __reduce__(self) -> tuple[Any, ...]:
        layers = [layer._with(flat) for layer, flat in zip(self._layers, self._params)]
        return _stepper_of, (layers, self._dtype, self._batch, self.state)

    def _give_back(self, array: Array) -> None:
        """Copy borrowed parameters: their layer may change them from now on."""
        self._params = [flat.copy() if flat is array else flat for flat in self._params]
        self._core.set_table(self._params[0])

    def step(self, x: ArrayLike) -> Array:
        """Take one step.

        Parameters
        ----------
        x : array_like
            (B, F), or (F,) if B is 1. For a model that starts with OneHot or Embedding a token for
            every row, (B,), or one number if B is 1. The output of the step before may be given.

        Returns
        -------
        ndarray
            The outputs (B, F). The next step overwrites the array: copy it to keep it.
        """
        dtype, shape = self._plain
        fits = type(x) is np.ndarray and x.dtype is dtype and x.shape == shape
        if fits and self._core.step(x, self._y):  # type: ignore[arg-type]
            return self._y
        array = self._given(x)
        if np.may_share_memory(array, self._y):  # the output of the step before
            array = array.copy()
        self._core.step(array, self._y)
        return self._y

    def _given(self, x: ArrayLike) -> Array:
        if self._classes is not None:
            tokens = np.atleast_1d(check.classes("x", x, self._classes))
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
    def state(self) -> States:
        """The state of each recurrent layer, ``(h,)`` or for an LSTM ``(h, c)``, copied.

        Set it to go back to an earlier step. Where there is only one recurrent layer, its state
        alone is accepted, too: ``(h, c)``, ``(h,)`` or h.
        """
        return from_core(self._recurrent, self._core.states(), self._batch)

    @state.setter
    def state(self, states: GivenStates) -> None:
        given = states_of(self._recurrent, states, self._batch, self._dtype)
        self._core.set_states(to_core(given))


def _stepper_of(layers: list[Layer], dtype: Dtype, batch: int, state: States) -> Stepper:
    """Return a stepper of these layers in this state, for copies and pickles."""
    stepper = Stepper(
        layers, Model([layer._core for layer in layers], dtype == np.float64), dtype, batch
    )
    stepper.state = state
    return stepper
