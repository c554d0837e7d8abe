"""`Stack`: layers that fit together. A model adds training and prediction to it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Model
from bptt._support import names
from bptt.layers._arrays import Array, load_arrays
from bptt.layers._base import Layer, TrainableLayer
from bptt.layers.last_step import LastStep
from bptt.layers.recurrent import Recurrent
from bptt.layers.stepper import Stepper


def _told(given: object) -> str:
    """Return what to type for an object that is no layer of bptt."""
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    if isinstance(given, type) and issubclass(given, Layer):
        return f": {name} is a class, type bptt.{name}(...) with its sizes"
    told = names.answer("MODULE", name)
    return f": {told}" if told is not None else ": type bptt.Sequential(bptt.LSTM(1, 32), ...)"


def _fitting(layers: Sequence[Layer]) -> str:
    """Return what to type for the first layer that does not fit the one below it."""
    gives = None
    for n, layer in enumerate(layers):
        takes = layer._core.in_features
        if gives is not None and takes is not None and takes != gives:
            return f": type bptt.{type(layer).__name__}({gives}, ...) for layer {n}"
        gives = layer._core.out_features or gives
    return ""


class Stack:
    """Layers one after the other, each the input of the next.

    Attributes
    ----------
    layers : tuple of Layer
        The layers. They are shared, not copied.
    dtype : numpy.dtype
        The dtype of all parameters; float32 if no layer has parameters.
    features : list of tuple (int or None, int)
        Features of the input and the output of each layer; None for an input of tokens.
    tokens : int or None
        The number of different tokens that the first layer takes; None if it takes numbers.
    per_sequence : bool
        Whether the output has one step for each sequence (LastStep) instead of all steps.
    """

    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        given: Sequence[Any] = layers
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            given = layers[0]
        for n, layer in enumerate(given):
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"layer {n} must be a bptt layer, got {type(layer).__name__}{_told(layer)}"
                )
        self.layers: tuple[Layer, ...] = tuple(given)
        trained = [layer for layer in self.layers if isinstance(layer, TrainableLayer)]
        dtypes = {layer.dtype for layer in trained}
        if len(dtypes) > 1:
            raise ValueError(
                "all layers of a model must have the same dtype, got float32 and float64"
            )
        if len({id(layer) for layer in trained}) < len(trained):
            raise ValueError("a layer can be in a model only once: make another layer, or copy it")
        self.dtype: np.dtype[Any] = dtypes.pop() if dtypes else np.dtype(np.float32)
        try:
            self.features = self.core_model().features  # checks that the layers fit together
        except ValueError as error:
            raise ValueError(f"{error}{_fitting(self.layers)}") from None
        self.tokens = self.layers[0]._core.tokens
        self.per_sequence = any(isinstance(layer, LastStep) for layer in self.layers)

    @property
    def outputs(self) -> int:
        """Features of the last layer's output."""
        return self.features[-1][1]

    @property
    def recurrent(self) -> tuple[Recurrent, ...]:
        """The layers that have a state: LSTM, GRU and RNN."""
        return tuple(layer for layer in self.layers if isinstance(layer, Recurrent))

    def core_model(self) -> Model:
        """Return the layers as the core runs them. It has no parameters: its calls take them."""
        return Model([layer._core for layer in self.layers], self.dtype == np.float64)

    def flat_parameters(self) -> list[Array]:
        """Return the parameters themselves, one flat array for each layer, empty without any."""
        return [
            layer._flat if isinstance(layer, TrainableLayer) else np.empty(0, self.dtype)
            for layer in self.layers
        ]

    def named_parameters(self) -> dict[str, Array]:
        """Return the parameters themselves, named ``"<layer>.<parameter>"``."""
        return {
            f"{n}.{name}": array
            for n, layer in enumerate(self.layers)
            for name, array in layer.parameters.items()
        }

    def __copy__(self) -> Self:
        """Return a model with layers of its own, as `copy.deepcopy` does."""
        return copy.deepcopy(self)

    def draw_seed(self) -> int:
        """Draw the seed for the dropout of a training run from the generators of the layers."""
        return sum(layer._seed() for layer in self.layers) % 2**64

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters, named ``"<layer>.<parameter>"``."""
        return {name: array.copy() for name, array in self.named_parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Copy parameters into the layers, in place: all of them, or none and a ValueError."""
        load_arrays(self.named_parameters(), state_dict)

    def stepper(self, batch: int = 1) -> Stepper:
        """Return a `Stepper`, which takes one step of `batch` rows at a time.

        LastStep has no effect in a stepper: the current step is the last one so far.

        Examples
        --------
        >>> import bptt
        >>> model = bptt.Sequential(bptt.OneHot(3), bptt.GRU(3, 8, rng=0), bptt.Linear(8, 3, rng=1))
        >>> model.stepper().step(2).shape
        (1, 3)
        """
        return Stepper(self.layers, self.core_model(), self.dtype, batch)
