"""How a layer's parameters lie in memory: one flat array, seen as named arrays."""

from __future__ import annotations

import itertools
import math
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import Layer as CoreLayer
from bptt._support import check

Array = NDArray[Any]

#: How many parameters new layers may still have, if a file has their values.
_in_file: ContextVar[list[int] | None] = ContextVar("_in_file", default=None)


@contextmanager
def read_from_file(count: int) -> Iterator[None]:
    """Leave the parameters of new layers to be read from a file that has so many numbers.

    Layers with more parameters are refused before their memory is allocated.
    """
    token = _in_file.set([count])
    try:
        yield
    finally:
        _in_file.reset(token)


def new_parameters(
    length: int, dtype: np.dtype[Any], draw: Callable[[int], Array | float]
) -> Array:
    """Return the parameters of a layer; `draw` gives their values, unless a file has them."""
    left = _in_file.get()
    if left is not None:
        if length > left[0]:
            raise ValueError(f"the layer has {length} parameters, more than there are in the file")
        left[0] -= length
        return np.empty(length, dtype)
    flat = np.empty(length, dtype)
    flat[:] = draw(length)
    return flat


def views_of(flat: Array, core: CoreLayer) -> dict[str, Array]:
    """Return views of a flat array as the parameters of a layer, by name."""
    views, start = {}, 0
    for name, shape in core.parameters():
        end = start + math.prod(shape)
        views[name] = flat[start:end].reshape(shape)
        start = end
    return views


class Borrower(Protocol):
    """An object that reads the parameters of a layer as they were when it borrowed them."""

    def _give_back(self, array: Array) -> None:
        """Copy what the array holds, because somebody may change it from now on."""


class OwnArrays:
    """The parameters of a layer, and whether the user can have changed them.

    The core keeps packed weights from call to call. The user may change the parameters through an
    array or a view of it, so while such a reference exists the core compares all parameters at
    every call. Reference counts show when only the layer has references; then the core skips the
    comparison, and `lend` needs no copy.
    """

    #: Version numbers; each is used once.
    _versions = itertools.count(1)
    #: What `_references` returns while only the layer has references.
    _alone = (0, 0, 0)

    def __init__(self, flat: Array, core: CoreLayer | None) -> None:
        self.array = flat
        self._views = {"": flat[:]} if core is None else views_of(flat, core)
        self._seen, self._version = True, 0
        self._lent: Array | None = None
        self._borrowers: weakref.WeakSet[Borrower] = weakref.WeakSet()

    def by_name(self) -> Mapping[str, Array]:
        """Return the arrays by name, for the user."""
        self._call_in()
        views = MappingProxyType(self._views)
        self._seen = True  # in this order: see `version`
        return views

    def flat(self) -> Array:
        """Return all parameters in one array, for the user."""
        self._call_in()
        array = self.array
        self._seen = True
        return array

    def lend(self, borrower: Borrower) -> Array:
        """Return the parameters as they are now, all in one array that nobody changes.

        It is a copy only if somebody can change the parameters at any time. Otherwise it is a view,
        and the borrower gives it back before somebody gets the parameters.
        """
        if self._lent is None:
            self._lent = self.array[:]
            self._lent.flags.writeable = False
        self.version()
        self._borrowers.add(borrower)
        if self._seen:  # also by another thread, in between
            self._borrowers.discard(borrower)
            return self.array.copy()
        return self._lent

    def _call_in(self) -> None:
        """Let all borrowers give the parameters back."""
        while self._borrowers:
            assert self._lent is not None
            self._borrowers.pop()._give_back(self._lent)

    def version(self) -> int:
        """Return a number that changes whenever the user can have changed the parameters."""
        if not self._seen:
            return self._version
        # Another thread may ask for the arrays in between: the counts show a reference from before
        # this line, `_seen` one from after it.
        self._seen = False
        self._version = version = next(self._versions)
        if self._references() != self._alone:
            self._seen = True
        return version

    def _references(self) -> tuple[int, int, int]:
        """Return the reference counts of the dict, the flat array without its views, the views."""
        views = self._views
        counts = [sys.getrefcount(view) for view in views.values()]
        own = len(views) + (self._lent is not None)
        return sys.getrefcount(views), sys.getrefcount(self.array) - own, max(counts)


OwnArrays._alone = OwnArrays(np.empty(1), None)._references()


def load_arrays(parameters: Mapping[str, Array], given: Mapping[str, ArrayLike]) -> None:
    """Copy the given arrays into the parameters of the same names, all or none."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a state dict must map names to arrays, got {type(given).__name__}")
    missing = [name for name in parameters if name not in given]
    unknown = [name for name in given if name not in parameters]
    if missing or unknown:
        raise ValueError(
            f"the state dict does not fit: missing {missing or 'none'}, "
            f"unknown {unknown or 'none'}; it takes {list(parameters)}"
        )
    arrays, owners = {}, {id(array.base): array.base for array in parameters.values()}.values()
    for name, array in parameters.items():
        new = check.floats(name, given[name], array.dtype)
        if new.shape != array.shape:
            raise ValueError(f"{name} must have shape {array.shape}, got {new.shape}")
        if not array.flags.writeable:
            raise ValueError(f"{name} must be writable, it was made read-only by flags.writeable")
        # Two parameters may be given to each other.
        own = any(np.may_share_memory(new, owner) for owner in owners)
        arrays[name] = new.copy() if own else new
    for name, new in arrays.items():
        parameters[name][...] = new
