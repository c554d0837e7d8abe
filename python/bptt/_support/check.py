"""Checks of arguments: each returns what the core takes, or raises an error.

Arrays may have any real dtype, byte order and layout (float16, integers, lists, ...) and become
contiguous arrays of one dtype. Complex numbers, strings, objects and masked values are refused.
"""

from __future__ import annotations

import operator
import reprlib
import sys
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class _Short(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        shape = getattr(x, "shape", None)
        if shape and isinstance(shape, tuple) and not isinstance(x, type):
            return f"{type(x).__name__} of shape {tuple(shape)}"
        return super().repr_instance(x, level)


_short = _Short()
_short.maxstring = _short.maxother = 200
_short.maxlist = _short.maxtuple = 20


def shown(value: object) -> str:
    """Return a short text for an error: what an array or a long list holds is left out.

    The text of an array with many dimensions has megabytes and takes half a minute.
    """
    try:
        return _short.repr(value)
    except Exception:  # from the object's own code
        return f"an object of type {type(value).__name__}"


def size(name: str, value: object, least: int = 1) -> int:
    """Return a whole number that is at least `least`."""
    try:
        if isinstance(value, (bool, np.bool_)) or _is_masked(value):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except Exception:  # an array or a tensor raises anything
        message = f"{name} must be a whole number, got {shown(value)} ({type(value).__name__})"
        if (isinstance(value, float) and value.is_integer()) or (
            isinstance(value, str) and value.isdecimal()
        ):
            message += f": type {int(value)}"
        raise TypeError(message) from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(number)}")
    if number >= 2**62:
        raise ValueError(f"{name} must be below 2**62, got {shown(number)}")
    return number


def flag(name: str, value: object) -> bool:
    """Return True or False; other values that count as true or false are refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def real(name: str, value: object) -> float:
    """Return a real number. The core checks its range."""
    try:
        if isinstance(value, (bool, np.bool_, str, bytes, bytearray)) or _is_masked(value):
            raise TypeError
        if getattr(value, "ndim", 0) != 0:
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except Exception:  # an array or a tensor raises anything
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None


def probability(name: str, value: object) -> float:
    """Return a probability below 1."""
    number = real(name, value)
    if not 0 <= number < 1:
        told = f": type {number / 100:g} for {number:g} %" if 1 < number < 100 else ""
        raise ValueError(f"{name} must be in [0, 1), got {value}{told}")
    return number


def choice(name: str, value: object, *names: str) -> str:
    """Return one of the names."""
    if not isinstance(value, str) or value not in names:
        *first, last = (f'"{each}"' for each in names)
        raise ValueError(f"{name} must be {', '.join(first)} or {last}, got {shown(value)}")
    return str(value)


def compute(value: object, dtype: object) -> str | None:
    """Return how products are computed: "bf16", or None for the dtype of the layer."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f'compute must be "bf16" or None, got {shown(value)}')
    if value != "bf16":
        raise ValueError(
            f'compute must be "bf16", or None for products in the dtype, got {shown(value)}'
        )
    if (kind := dtype_of(dtype)) != np.float32:
        raise ValueError(f'compute="bf16" needs dtype="float32", got dtype="{kind}"')
    return value


def dtype_of(dtype: object) -> np.dtype[Any]:
    """Return the dtype of a layer: float32 or float64."""
    try:
        if isinstance(dtype, (list, tuple, dict, np.ndarray)):  # NumPy's error would hold it all
            raise TypeError
        kind = np.dtype(dtype)  # type: ignore[call-overload]
    except Exception:  # NumPy parses some strings
        raise TypeError(f"dtype must be float32 or float64, got {shown(dtype)}") from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    return np.dtype(np.float32 if kind.itemsize == 4 else np.float64)  # native byte order


def array_of(name: str, value: ArrayLike) -> Array:
    """Return the value as an array; its dtype and shape may be any.

    Every array that a user gives comes through here, unless it is NumPy's own type already.
    """
    unmasked(name, value)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and not array.ndim and hasattr(value, "__dlpack__"):
            array = np.from_dlpack(value)  # type: ignore[arg-type]
    except (TypeError, BufferError) as error:  # such as a tensor in another device's memory
        raise TypeError(f"{name} must be an array: {error}") from None
    except (ValueError, RuntimeError) as error:  # such as a tensor that needs its gradient
        what = f"{name} must be an array: {error}"
        if isinstance(value, list) and "inhomogeneous" in str(error):
            what = f"{name} must be an array, but its items differ in length"
        raise ValueError(what) from None
    return array


def is_plain(value: object, dtype: np.dtype[Any]) -> TypeGuard[Array]:
    """Tell whether the core takes the value as it is: a contiguous, aligned array of the dtype."""
    if type(value) is not np.ndarray or value.dtype is not dtype:
        return False
    flags = value.flags
    return flags.c_contiguous and flags.aligned


def unmasked(name: str, value: object) -> None:
    """Refuse masked values: NumPy makes an array without the mask of them, and says nothing."""
    if _is_masked(value):
        raise ValueError(
            f"{name} must have no masked values: fill them, such as with "
            "x.filled(0), or give shorter sequences without them"
        )


def _is_masked(value: object) -> bool:
    """Tell whether there are masked values in an array, or in the arrays of nested lists."""
    if "numpy.ma" not in sys.modules:
        return False
    if isinstance(value, (list, tuple)):
        return any(_is_masked(part) for part in value if not isinstance(part, (int, float, str)))
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return any(map(_is_masked, value.flat))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def floats(name: str, value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Return the value as a contiguous array of the dtype."""
    if is_plain(value, dtype):
        return value
    array = array_of(name, value)
    if array.dtype.kind not in "fiub":
        told = ""
        if array.dtype.kind in "USO" and _holds_text(array):
            told = f": if it holds names of classes or tokens, type {_numbered(name)}"
        raise TypeError(f"{name} must hold real numbers, got {_kind(value, array)}{told}")
    # ascontiguousarray would turn a 0-D array into a 1-D one.
    return _aligned(np.asarray(array, dtype=dtype, order="C"))


def single_or_double(name: str, value: ArrayLike) -> Array:
    """Return the value as a contiguous array: float64 stays float64, others become float32."""
    array = array_of(name, value)
    double = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    return floats(name, array, np.dtype(np.float64 if double else np.float32))


def classes(
    name: str, value: ArrayLike, below: int, ignored: tuple[int, int] | None = None
) -> Array:
    """Return the value as a contiguous array of uint32, every number in [0, below).

    `ignored` is a pair (given, core): the number `given` is accepted, too, and becomes `core`.
    """
    array = array_of(name, value)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must hold whole numbers (tokens or classes) in an integer dtype, "
            f"got {_kind(value, array)}{_to_classes(name, array)}"
        )
    if ignored is not None:
        where = array == ignored[0]
        if where.any():
            kept = classes(name, np.where(where, 0, array), below)
            return np.where(where, np.uint32(ignored[1]), kept)
    below = min(below, 2**32 - 1)  # the core's tokens have 32 bits, and the last one is IGNORED
    if array.size:
        least, most = array.min(), array.max()
        if least < 0 or most >= below:
            wrong = least if least < 0 else most
            told = _in_range(name, int(least), int(most), below)
            raise ValueError(f"{name} must hold numbers from 0 to {below - 1}, got {wrong}{told}")
    return _aligned(np.asarray(array, dtype=np.uint32, order="C"))


def _letter(name: str) -> str:
    """Return the variable of a name in errors: y of "validation y[3]"."""
    return name.rpartition(" ")[2].partition("[")[0]


def _numbered(name: str) -> str:
    """Return the line that makes classes of names."""
    letter = _letter(name)
    return f"names, {letter} = np.unique({letter}, return_inverse=True)"


def _holds_text(array: Array) -> bool:
    return array.dtype.kind in "US" or any(isinstance(part, str) for part in array.flat[:1])


def _to_classes(name: str, array: Array) -> str:
    """Return what to type where numbers or names should be classes or tokens."""
    letter = _letter(name)
    if array.dtype.kind in "USO":
        return f": type {_numbered(name)}" if _holds_text(array) else ""
    if array.dtype.kind == "b":
        return f": type {letter}.astype(int)"
    if array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
        if (
            array.ndim > 1
            and array.size
            and array.min() == 0
            and (array.max(axis=-1) == array.sum(axis=-1)).all()
        ):
            return f": these look like one-hot vectors, type {letter}.argmax(axis=-1)"
        return f": type {letter}.astype(int)"
    if array.dtype.kind == "f":
        other = 'loss="mse"' if letter == "y" else "bptt.LSTM(features, ...) as the first layer"
        return f": for numbers, type {other}"
    return ""


def _in_range(name: str, least: int, most: int, below: int) -> str:
    """Return what to type where classes or tokens are not from 0 to below."""
    letter = _letter(name)
    if least < 0:
        ignored = f": to ignore such targets, type loss=bptt.CrossEntropyLoss(ignore_index={least})"
        return ignored if letter == "y" else ""
    if (least, most) == (1, below):
        return f": they count from 0, type {letter} - 1"
    if letter == "y":
        return f": type bptt.Linear(..., {most + 1}) as the last layer"
    return f": type bptt.OneHot({most + 1}) or bptt.Embedding({most + 1}, ...) as the first layer"


def _kind(value: object, array: Array) -> str:
    """Return what was given instead of numbers, and what to do about objects."""
    if array.dtype.kind != "O" or _holds_text(array):
        return f"dtype {array.dtype}"
    if not array.ndim:
        return type(value).__name__
    return "dtype object: give an array of numbers, or a list of such arrays"


def _aligned(array: Array) -> Array:
    return array if array.flags.aligned else array.copy()


#: What NumPy makes a generator from, besides None.
_SEEDS = (
    int,
    np.integer,
    list,
    tuple,
    np.ndarray,
    np.random.SeedSequence,
    np.random.BitGenerator,
    np.random.Generator,
    np.random.RandomState,
)


def generator(rng: object) -> np.random.Generator:
    """Return a NumPy generator from a seed, a generator or None (scientific-python SPEC 7)."""
    accepted = f"rng must be None, a seed or a numpy.random.Generator, got {shown(rng)}"
    if rng is not None and not isinstance(rng, _SEEDS):
        raise TypeError(accepted)
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{accepted}: {str(error)[:200]}") from None
