"""What all layers share: parameters, copies, and the passes of those without a state."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check
from bptt._batch import Batch
from bptt._core import Layer as CoreLayer
from bptt._core import Lengths

Array = NDArray[Any]


class Layer:
    """What a model can be made of.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        Empty for a layer without any.
    """

    parameters: Mapping[str, Array] = MappingProxyType({})
    _core: CoreLayer

    def _make_core(self) -> CoreLayer:
        raise NotImplementedError

    def _seed(self) -> int:
        """Return what dropout draws from in a pass or a training run; 0 where there is none."""
        return 0

    def _flat_for(self, x: Array) -> Array:
        """Return the flat parameters, of the dtype that is computed in."""
        return np.empty(0, x.dtype)

    def _views(self, flat: Array) -> dict[str, Array]:
        """Return what lies in a flat array like that of the parameters, by name."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # What is of the extension module, and views of other arrays, has to be made anew.
        state = self.__dict__.copy()
        for name in ("_core", "parameters"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._core = self._make_core()


class TrainableLayer(Layer):
    """A layer with parameters: one flat array, seen as named arrays.

    Attributes
    ----------
    dtype : numpy.dtype
        float32 or float64.
    parameters : mapping of str to ndarray
        The parameters by torch's names. The arrays are written in place (``layer.parameters["bias"][:] = 0``);
        to replace them all, use `load_state_dict`.
    """  # noqa: E501

    dtype: np.dtype[Any]
    _flat: Array

    def _init(self, core: CoreLayer, dtype: object, bound: float, rng: object) -> None:
        """Draw all parameters uniformly from [-bound, bound], as torch does."""
        self.dtype = _check.dtype_of(dtype)
        length = sum(int(np.prod(shape)) for _, shape in core.parameters())
        draws = _check.generator(rng).uniform(-bound, bound, length)
        self._set(core, draws.astype(self.dtype))

    def _set(self, core: CoreLayer, flat: Array) -> None:
        self._core, self._flat = core, flat
        self.parameters = MappingProxyType(self._views(flat))

    def _flat_for(self, x: Array) -> Array:
        return self._flat

    def _views(self, flat: Array) -> dict[str, Array]:
        views, start = {}, 0
        for name, shape in self._core.parameters():
            end = start + int(np.prod(shape))
            views[name] = flat[start:end].reshape(shape)
            start = end
        return views

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Copy parameters into this layer, in place.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            An array for every name in `parameters`, of its shape; torch tensors on the CPU will do.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape differs. Nothing is changed then.
        """
        load_arrays(self.parameters, state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set(self._make_core(), self._flat)


class Record:
    """What `forward` of a layer without a state keeps for `backward`: its input.

    Change neither that nor the parameters before `backward`.
    """

    def __init__(self, layer: Layer, x: Array, shape: tuple[int, ...], seed: int) -> None:
        self._layer, self._x, self._seed = layer, x, seed
        self._shape = shape  # of y
        # Where the layer takes sequences: what of x's rows is whose, and how they lay in the call's array.
        self._lengths: Lengths | None = None
        self._batch: Batch | None = None

    def _check(self, dy: ArrayLike, dtype: np.dtype[Any]) -> Array:
        """Return dy as an array, if it can be the gradient of y."""
        array = _check.floats("dy", dy, dtype)
        if array.shape != self._shape:
            raise ValueError(f"dy must have the shape of y, {self._shape}, got {array.shape}")
        return array


class Stateless(Layer):
    """A layer that takes every step, or number, for itself."""

    def _given(self, x: ArrayLike) -> Array:
        """Return the input as an array whose last dimension is features."""
        raise NotImplementedError

    def _apply(self, x: ArrayLike, seed: int | None) -> tuple[Array, Array]:
        array = self._given(x)
        rows = array if array.ndim == 2 else array.reshape(-1, array.shape[-1])
        y = self._core.apply(self._flat_for(array), rows, None, seed)
        return y.reshape(*array.shape[:-1], y.shape[-1]), rows

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer to x (..., F); nothing is kept for a backward pass, without dropout."""
        return self._apply(x, None)[0]

    def forward(self, x: ArrayLike) -> tuple[Array, Record]:
        """Apply the layer, with dropout, to x (..., F); returns y and what `backward` needs."""
        seed = self._seed()
        y, rows = self._apply(x, seed)
        return y, Record(self, rows, y.shape, seed)

    def backward(self, record: Record, dy: ArrayLike) -> tuple[Array | None, dict[str, Array]]:
        """Go back through a forward pass.

        Parameters
        ----------
        record : Record
            From `forward` of this layer; the parameters must be as they were then.
        dy : array_like
            Gradient of the loss with respect to y, in y's shape.

        Returns
        -------
        dx : ndarray or None
            Gradient with respect to x, in its shape; None for a layer that takes tokens.
        grads : dict of str to ndarray
            Gradients with respect to the parameters, by their names.
        """
        x = self._own(record)._x
        flat = self._flat_for(x)
        array = record._check(dy, flat.dtype)
        rows = array.reshape(-1, array.shape[-1])
        dx, grads = self._core.apply_back(flat, x, rows, record._lengths, record._seed)
        if dx is not None:
            dx = dx.reshape(*array.shape[:-1], dx.shape[-1])
        return dx, self._views(grads)

    def _own(self, record: Record) -> Record:
        if not isinstance(record, Record):
            raise TypeError(f"record must come from forward, got {type(record).__name__}")
        if record._layer is not self:
            raise ValueError("the record is of another layer's forward pass")
        return record


def load_arrays(parameters: Mapping[str, Array], given: Mapping[str, ArrayLike]) -> None:
    """Copy arrays to those of the same names, all or none."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a state dict maps names to arrays, got {type(given).__name__}")
    missing = [name for name in parameters if name not in given]
    unknown = [name for name in given if name not in parameters]
    if missing or unknown:
        raise ValueError(
            f"the state dict does not fit: missing {missing or 'none'}, "
            f"unknown {unknown or 'none'}; it takes {list(parameters)}"
        )
    arrays = {}
    for name, array in parameters.items():
        new = _check.floats(name, given[name], array.dtype)
        if new.shape != array.shape:
            raise ValueError(f"{name} must have shape {array.shape}, got {new.shape}")
        arrays[name] = new
    for name, new in arrays.items():
        parameters[name][...] = new
