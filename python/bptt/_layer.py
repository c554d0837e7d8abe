"""What all layers share: parameters, copies, and the passes of those without a state."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check
from bptt._batch import Batch
from bptt._core import Layer as CoreLayer
from bptt._core import Lengths

Array = NDArray[Any]
Shape = tuple[int, ...]

#: What a layer that is loaded from a file can have.
_most_parameters: ContextVar[float] = ContextVar("_most_parameters", default=math.inf)


@contextmanager
def parameters_at_most(count: int) -> Iterator[None]:
    """Refuse, before there is memory for them, more parameters of a layer."""
    token = _most_parameters.set(count)
    try:
        yield
    finally:
        _most_parameters.reset(token)


def views_of(flat: Array, core: CoreLayer) -> dict[str, Array]:
    """Return the parts of a flat array, as a layer's parameters are parts of one, by name."""
    views, start = {}, 0
    for name, shape in core.parameters():
        end = start + math.prod(shape)
        views[name] = flat[start:end].reshape(shape)
        start = end
    return views


class OwnArrays:
    """A layer's parameters, and whether anybody else can have written to them.

    The core keeps weights packed from call to call. Whoever has one of the arrays, or a view of
    one, may write to it, and then all are compared at every call. As long as the layer alone has
    them, which their reference counts tell, they need not be.
    """

    #: Each given once.
    _versions = itertools.count(1)
    #: What `_references` gives where nobody else has them.
    _alone = (0, 0, 0)

    def __init__(self, flat: Array, core: CoreLayer | None) -> None:
        self.array = flat
        self._views = {"": flat[:]} if core is None else views_of(flat, core)
        self._seen, self._version = True, 0

    def by_name(self) -> Mapping[str, Array]:
        """Return the arrays, for anybody."""
        views = MappingProxyType(self._views)
        self._seen = True  # in this order: see `version`
        return views

    def flat(self) -> Array:
        """Return all in one array, for anybody."""
        array = self.array
        self._seen = True
        return array

    def version(self) -> int:
        """Return a number that stays the same while nobody can have written to the parameters."""
        if not self._seen:
            return self._version
        # Another thread may ask for the arrays meanwhile: what it had before this line shows in the
        # counts, and what it gets after it in `_seen`.
        self._seen = False
        self._version = version = next(self._versions)
        if self._references() != self._alone:
            self._seen = True
        return version

    def _references(self) -> tuple[int, int, int]:
        """Return how often things are referred to, the flat array but for its views."""
        views = self._views
        counts = [sys.getrefcount(view) for view in views.values()]
        return sys.getrefcount(views), sys.getrefcount(self.array) - len(views), max(counts)


OwnArrays._alone = OwnArrays(np.empty(1), None)._references()


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
        self.dtype = _check.dtype_of(dtype)
        length = sum(math.prod(shape) for _, shape in core.parameters())
        if length > _most_parameters.get():
            raise ValueError(f"the layer has {length} parameters, more than there are in the file")
        flat = np.empty(length, self.dtype)
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


class Record:
    """What `forward` of a layer without a state keeps for `backward`: its input.

    Change neither that nor the parameters before `backward`.
    """

    def __init__(self, layer: Layer, x: Array, seed: int, shapes: tuple[Shape, Shape]) -> None:
        self._layer, self._x, self._seed = layer, x, seed  # x as the core was given it
        self._x_shape, self._y_shape = shapes
        # For sequences: which rows of x are whose, and how they lay in the call's array.
        self._lengths: Lengths | None = None
        self._batch: Batch | None = None

    def _check(self, dy: ArrayLike, dtype: np.dtype[Any]) -> Array:
        """Return dy as an array, if it can be the gradient of y."""
        array = _check.floats("dy", dy, dtype)
        if array.shape != self._y_shape:
            raise ValueError(f"dy must have the shape of y, {self._y_shape}, got {array.shape}")
        return array


class Stateless(Layer):
    """A layer that takes every step, or number, for itself."""

    def _given(self, x: ArrayLike) -> Array:
        """Return the input as an array of what the layer takes."""
        raise NotImplementedError

    def _rows(self, x: Array) -> tuple[Array, Shape]:
        """Return x as (N, F) or (N,), and the shape that the N rows of y have."""
        return x.reshape(-1, x.shape[-1]), x.shape[:-1]

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer.

        Nothing is kept for a backward pass, and there is no dropout.

        Parameters
        ----------
        x : array_like
            (..., F), the features last; of an Embedding tokens (...).

        Returns
        -------
        ndarray
            The output, (..., O).
        """
        return self._apply(self._given(x), None)[0]

    def forward(self, x: ArrayLike) -> tuple[Array, Record]:
        """Apply the layer, with dropout, and record what `backward` needs.

        The parameter and the first result are those of calling the layer; the second is the record.
        """
        array, seed = self._given(x), self._seed()
        y, rows = self._apply(array, seed)
        return y, Record(self, rows, seed, (array.shape, y.shape))

    def _apply(self, x: Array, seed: int | None) -> tuple[Array, Array]:
        rows, shape = self._rows(x)
        y = self._core.apply(self._flat_for(rows), rows, None, seed)
        return y.reshape(*shape, y.shape[-1]), rows

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
        rows = array.reshape(len(x), array.shape[-1])
        dx, grads = self._core.apply_back(flat, x, rows, record._lengths, record._seed)
        return None if dx is None else dx.reshape(record._x_shape), self._views(grads)

    def _own(self, record: Record) -> Record:
        if not isinstance(record, Record):
            raise TypeError(f"record must come from forward, got {type(record).__name__}")
        if record._layer is not self:
            raise ValueError("the record is of another layer's forward pass")
        return record


def uniform(bound: float, rng: object) -> Callable[[int], Array]:
    """Return what draws uniformly from [-bound, bound], as torch does."""
    generator = _check.generator(rng)
    return lambda length: generator.uniform(-bound, bound, length)


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
