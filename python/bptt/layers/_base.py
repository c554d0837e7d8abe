"""What all layers share: parameters, initialisation, copies and pickles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._support import check, names
from bptt.layers._arrays import Array, OwnArrays, load_arrays, new_parameters, views_of


class Layer:
    """A layer of a model.

    Attributes
    ----------
    parameters : mapping of str to ndarray
        The parameters by name; empty for a layer without parameters.
    """

    parameters: Mapping[str, Array] = MappingProxyType({})
    _core: CoreLayer

    if not TYPE_CHECKING:  # type checkers know which attributes there are

        def __getattr__(self, name: str) -> Any:
            known = ""
            if "_core" in self.__dict__ and name in dict(self._core.parameters()):
                known = f': type layer.parameters["{name}"]'
            raise names.no_attribute(f"{type(self).__name__!r} object", "LAYER", name, known)

    def _make_core(self) -> CoreLayer:
        raise NotImplementedError

    def _seed(self) -> int:
        """Draw the seed for the dropout of a pass or a training run; 0 without dropout."""
        return 0

    def _flat_for(self, x: Array) -> Array:
        """Return the flat parameters; their dtype is the one to compute in."""
        return np.empty(0, x.dtype)

    def _views(self, flat: Array) -> dict[str, Array]:
        """Return views of an array with the layout of the flat parameters, by name."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # Objects of the extension module, and views of other arrays, cannot be copied:
        # `__setstate__` makes new ones.
        state = self.__dict__.copy()
        state.pop("_core", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = dict(self.__dict__)
        try:
            if not isinstance(state, dict):
                raise TypeError(f"it must be a dict, got {check.shown(state)}")
            if "_rng" in state and not isinstance(state["_rng"], np.random.Generator):
                raise TypeError(f"_rng must be a generator, got {check.shown(state['_rng'])}")
            self._restore(dict(state))
        except Exception as error:
            self.__dict__.clear()
            self.__dict__.update(before)
            kind = TypeError if isinstance(error, TypeError) else ValueError
            name = type(self).__name__
            raise kind(f"this is no pickled state of {name}: {error}") from None

    def _restore(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._core = self._make_core()

    def __copy__(self) -> Self:
        """Return a layer with parameters of its own, as `copy.deepcopy` does."""
        return copy.deepcopy(self)

    def _with(self, flat: Array) -> Self:
        """Return a layer with the same options and these parameters, without a copy of them."""
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin


class TrainableLayer(Layer):
    """A layer with parameters: one flat array, and views of it by name.

    Attributes
    ----------
    dtype : numpy.dtype
        float32 or float64.
    parameters : mapping of str to ndarray
        The parameters by torch's names. Change them in place: ``layer.parameters["bias"][:] = 0``.
        `load_state_dict` replaces them all.
    """

    dtype: np.dtype[Any]
    _arrays: OwnArrays

    def _init(self, core: CoreLayer, dtype: object, draw: Callable[[int], Array | float]) -> None:
        """Make the parameters; `draw` is given their number and returns their values."""
        self.dtype = check.dtype_of(dtype)
        length = sum(math.prod(shape) for _, shape in core.parameters())
        self._set(core, new_parameters(length, self.dtype, draw))

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
            An array for every name in `parameters`, of the same shape; torch tensors on the CPU are
            accepted.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape differs. Then no parameter changes.
        """
        load_arrays(self.parameters, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_arrays"]
        return state | {"flat": self._flat}

    def _restore(self, state: dict[str, Any]) -> None:
        flat = state.pop("flat", None)
        self.__dict__.update(state)
        core = self._make_core()
        length = sum(math.prod(shape) for _, shape in core.parameters())
        if not isinstance(flat, np.ndarray) or (flat.shape, flat.dtype) != ((length,), self.dtype):
            raise ValueError(
                f"flat must be ({length},) of {self.dtype}, the parameters, got {check.shown(flat)}"
            )
        # What reads a pickle may map its file, or share its memory with others, for reading only.
        if not (check.is_plain(flat, self.dtype) and flat.flags.writeable):
            flat = np.array(flat, self.dtype, order="C", subok=False)
        self._set(core, flat)

    def _with(self, flat: Array) -> Self:
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__() | {"flat": flat})
        return twin


def uniform(bound: float, rng: object) -> Callable[[int], Array]:
    """Return a function that draws n numbers uniformly from [-bound, bound], as torch does."""
    generator = check.generator(rng)
    return lambda length: generator.uniform(-bound, bound, length)
