"""Named arrays in a file of the safetensors format (github.com/huggingface/safetensors).

The file has three parts: the length of the header (8 bytes, little-endian), the header, which is JSON, and
the numbers::

    {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}

Offsets count from the start of the numbers. Arrays lie one after the other, in C order, little-endian.
Nothing in a file is ever executed. The header is checked as a whole, and against the size of the file, before
memory for a number is allocated.

The entry "bptt.sha256" of the metadata, which comes first, is a checksum: the SHA-256 of the file, with zeros
in the place of the checksum. Files of other programs and of bptt 0.1.0 have none.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._support import strict_json
from bptt._support.atomic import opened, replacing
from bptt._support.check import shown

Array = NDArray[Any]

#: The entry of the metadata with the checksum.
CHECKSUM = "bptt.sha256"

_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}
#: The largest header in bytes. Arrays of any number and size are not in it.
_LONGEST_HEADER = 2**23
#: Bytes that are read and hashed at a time.
_CHUNK = 2**20
_NO_DIGEST = b"0" * 64


def write(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a file with a checksum; if anything fails, the old file stays as it was."""
    header: dict[str, Any] = {"__metadata__": {CHECKSUM: _NO_DIGEST.decode(), **metadata}}
    parts, end = [], 0
    for name, array in tensors.items():
        kind = array.dtype.newbyteorder("<")
        if kind not in _NAMES:
            raise TypeError(
                f"{name} must be an array of one of the dtypes {', '.join(_NAMES.values())} of "
                f"safetensors, got {array.dtype}"
            )
        data = np.ascontiguousarray(array, dtype=kind)
        header[name] = {
            "dtype": _NAMES[kind],
            "shape": list(array.shape),
            "data_offsets": [end, end + data.nbytes],
        }
        end += data.nbytes
        parts.append(data.reshape(-1).view(np.uint8).data)
    text = json.dumps(header)
    if len(text) > _LONGEST_HEADER:
        raise ValueError(
            f"the header of the file would have {len(text)} bytes, it may have {_LONGEST_HEADER}: "
            "callbacks can keep numbers in arrays, which are not in the header"
        )
    strict_json.loads(text)  # what cannot be read is not written
    raw = text.encode() + b" " * (-len(text) % 8)  # aligns the numbers
    first = len(raw).to_bytes(8, "little")
    checksum = hashlib.sha256(first + raw)
    for numbers in parts:
        checksum.update(numbers)
    with replacing(path) as file:
        file.write(first + raw.replace(_NO_DIGEST, checksum.hexdigest().encode(), 1))
        for numbers in parts:
            file.write(numbers)


class Entry(NamedTuple):
    """What the header says of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


class Reader:
    """An open file, whose header is checked; its numbers are still to be read.

    Attributes
    ----------
    metadata : dict of str to str
        The metadata, without the checksum.
    entries : dict of str to Entry
        The arrays, in the order in which they lie in the file.
    checksum : str or None
        The checksum that the file must have.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > size - 8:
            raise self._damaged(f"it has {size} bytes, which is less than its header")
        if length > _LONGEST_HEADER:
            raise self._damaged(f"its header has {length} bytes, it may have {_LONGEST_HEADER}")
        raw = file.read(length)
        try:
            header = strict_json.loads(raw.decode())
        except ValueError as error:
            raise self._damaged(f"its header is not valid: {shown(str(error))}") from None
        if not isinstance(header, dict):
            raise self._damaged("its header must be a JSON object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise self._damaged("its metadata must map strings to strings")
        self.checksum: str | None = metadata.pop(CHECKSUM, None)
        self.metadata: dict[str, str] = metadata
        if self.checksum is not None and not re.fullmatch("[0-9a-f]{64}", self.checksum):
            raise self._damaged(f"its checksum {shown(self.checksum)} is none")
        found = [(name, self._entry(name, entry)) for name, entry in header.items()]
        found.sort(key=lambda item: item[1][2:])
        end = 0
        for name, (kind, shape, start, stop) in found:
            if start != end or stop - start != math.prod(shape) * kind.itemsize:
                raise self._damaged(
                    f"the data_offsets of {shown(name)} fit neither its shape nor the other arrays"
                )
            end = stop
            if end > size - 8 - length:
                raise self._damaged(f"it ends within {shown(name)}: it was cut off")
        if end != size - 8 - length:
            raise self._damaged(f"it has {size - 8 - length - end} bytes after its last array")
        if size > _memory():
            raise MemoryError(
                f"{os.fspath(path)!r} has {size} bytes, more than the memory of this machine"
            )
        self.entries = dict(found)
        self._hash = None
        if self.checksum is not None:
            self._hash = hashlib.sha256(first)
            self._hash.update(
                raw.replace(b'"%s"' % self.checksum.encode(), b'"%s"' % _NO_DIGEST, 1)
            )

    def read(self, arrays: Mapping[str, Array]) -> None:
        """Read numbers into these arrays, and check the whole file against its checksum.

        The arrays must have the dtypes and shapes of the entries and lie in C order. After an error
        they hold anything.
        """
        for name, (_, _, start, stop) in self.entries.items():
            array = arrays.get(name)
            if array is not None:
                self._fill(name, array.reshape(-1).view(np.uint8))
                if sys.byteorder == "big":
                    array.byteswap(inplace=True)
            elif self._hash is None:
                self._file.seek(stop - start, os.SEEK_CUR)
            else:
                self._skip(name, stop - start)
        if self._hash is not None and self._hash.hexdigest() != self.checksum:
            raise self._damaged(
                f"its bytes do not have the checksum {shown(self.checksum)} in its metadata. If "
                "another program changed it on purpose, read the tensors with that program and "
                "give them to load_state_dict"
            )

    def _fill(self, name: str, data: Array) -> None:
        """Read bytes into an array of them."""
        for first in range(0, len(data), _CHUNK):
            part = data[first : first + _CHUNK]
            if self._file.readinto(part) != len(part):  # type: ignore[attr-defined]
                raise self._damaged(f"it ends within {shown(name)}: it was cut off")
            if self._hash is not None:
                self._hash.update(part.data)

    def _skip(self, name: str, count: int) -> None:
        """Read bytes for the checksum alone."""
        scratch = np.empty(min(count, _CHUNK), np.uint8)
        while count:
            self._fill(name, scratch[:count])
            count -= min(count, _CHUNK)

    def _damaged(self, why: str) -> ValueError:
        return ValueError(
            f"{os.fspath(self._path)!r} is not a safetensors file, or it is damaged: {why}"
        )

    def _entry(self, name: str, entry: Any) -> Entry:
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise self._damaged(f"{shown(name)} must have dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            told = shown(dtype).strip("'")
            raise ValueError(
                f"{os.fspath(self._path)!r}: {shown(name)} has dtype {told}, must be one of "
                f"{', '.join(_DTYPES)}"
            )
        if (
            not _are_sizes(shape)
            or not _are_sizes(offsets)
            or len(offsets) != 2
            or len(shape) > 32
            or math.prod(number or 1 for number in shape) >= 2**60  # NumPy has no such array
        ):
            raise self._damaged(f"the shape or the data_offsets of {shown(name)} are not valid")
        return Entry(np.dtype(_DTYPES[dtype]), tuple(shape), offsets[0], offsets[1])


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a file and check its header; a ValueError says what is wrong with it."""
    with opened(path) as file:
        yield Reader(path, file)


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return all arrays and the metadata of a file; a ValueError says what is wrong with it."""
    with reading(path) as reader:
        arrays = {name: empty(entry) for name, entry in reader.entries.items()}
        reader.read(arrays)
    return arrays, reader.metadata


def empty(entry: Entry) -> Array:
    """Return an array to read an entry into."""
    return np.empty(entry.shape, entry.dtype.newbyteorder("="))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(number) is int and 0 <= number < 2**62 for number in value
    )


def _memory() -> float:
    """Return the bytes of memory of the machine; infinity if it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf
