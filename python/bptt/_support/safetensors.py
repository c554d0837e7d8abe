"""Named arrays in a file of the safetensors format (github.com/huggingface/safetensors).

The file has three parts: the length of the header (8 bytes, little-endian), the header, which is JSON, and
the numbers::

    {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}

Offsets count from the start of the numbers. Arrays lie one after the other, in C order, little-endian.
Nothing in a file is ever executed.
"""  # noqa: E501

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._support.atomic import replacing

Array = NDArray[Any]

_DTYPES = {
    "F32": "<f4",
    "F64": "<f8",
    "U32": "<u4",
    "U64": "<u8",
    "I64": "<i8",
}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}
#: The largest header in bytes, as in the format's own library.
_LONGEST_HEADER = 100_000_000


def write(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a file; if anything fails, the old file stays as it was."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, end = [], 0
    for name, array in tensors.items():
        kind = array.dtype.newbyteorder("<")
        data = np.ascontiguousarray(array, dtype=kind)
        header[name] = {
            "dtype": _NAMES[kind],
            "shape": list(array.shape),
            "data_offsets": [end, end + data.nbytes],
        }
        end += data.nbytes
        parts.append(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # aligns the numbers
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for data in parts:
            file.write(data.data if data.size else b"")


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of a file; a ValueError says what is wrong with it."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise _damaged(path, f"it has {size} bytes, which is less than its header")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"its header is not valid: {error}") from None
        data = file.read()
    if not isinstance(header, dict):
        raise _damaged(path, "its header must be a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "its metadata must map strings to strings")
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _start(path, *item)):
        kind, shape, start, stop = _checked(path, name, entry)
        if start != end or stop - start != math.prod(shape) * kind.itemsize:
            raise _damaged(
                path, f"the data_offsets of {name} fit neither its shape nor the other arrays"
            )
        end = stop
        if stop > len(data):
            raise _damaged(path, f"it ends within {name}: it was cut off")
        array = np.frombuffer(data, kind, math.prod(shape), start).reshape(shape)
        arrays[name] = array.astype(kind.newbyteorder("="))
    if end != len(data):
        raise _damaged(path, f"it has {len(data) - end} bytes after its last array")
    return arrays, metadata


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{os.fspath(path)!r} is not a safetensors file, or it is damaged: {why}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON as a dict; refuse one with two equal names."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _start(path: Path, name: str, entry: Any) -> tuple[int, int]:
    _, _, start, stop = _checked(path, name, entry)
    return start, stop


def _checked(path: Path, name: str, entry: Any) -> tuple[np.dtype[Any], list[int], int, int]:
    def whole(value: Any, count: int | None = None) -> bool:
        return (
            isinstance(value, list)
            and (count is None or len(value) == count)
            and all(type(number) is int and 0 <= number < 2**62 for number in value)
        )

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"{name} must have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(
            f"{os.fspath(path)!r}: {name} has dtype {dtype}, must have {' or '.join(_DTYPES)}"
        )
    if not whole(shape) or len(shape) > 32 or not whole(offsets, 2):
        raise _damaged(path, f"the shape or the data_offsets of {name} are not valid")
    return np.dtype(_DTYPES[dtype]), shape, offsets[0], offsets[1]
