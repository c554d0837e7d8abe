"""What all layers share: parameters, initialisation, copies and pickles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._support import check
from bptt.layers._arrays import Array, OwnArrays, load_arrays, new_array, views_of


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
        state.pop("_core", None)
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
    _arrays: OwnArrays

    def _init(self, core: CoreLayer, dtype: object, draw: Callable[[int], Array | float]) -> None:
        """Set all parameters to so many numbers that are drawn."""
        self.dtype = check.dtype_of(dtype)
        length = sum(math.prod(shape) for _, shape in core.parameters())
        flat = new_array(length, self.dtype)
        flat[:] = draw(length)
        self._set(core, flat)

    def _set(self, core: CoreLayer, flat: Array) -> None:
        self._core, self._arrays = core, OwnArrays(flat, core)

    @property
    def parameters(self) -> Mapping[str, Array]:  # type: ignore[override]
        return self._arrays.by_name()

    @property
    def _flat(self) -> Array:
        return self._arrays.flat()

    def _flat_for(self, x: Array) -> Array:
        return self._flat

    def _views(self, flat: Array) -> dict[str, Array]:
        return views_of(flat, self._core)

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

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_arrays"]
        return state | {"flat": self._flat}

    def __setstate__(self, state: dict[str, Any]) -> None:
        flat = state.pop("flat")
        self.__dict__.update(state)
        self._set(self._make_core(), flat)


def uniform(bound: float, rng: object) -> Callable[[int], Array]:
    """Return what draws uniformly from [-bound, bound], as torch does."""
    generator = check.generator(rng)
    return lambda length: generator.uniform(-bound, bound, length)
