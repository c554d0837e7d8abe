"""Arrays of the same numbers in every layout that users may have, for the tests of layouts."""

import numpy as np


class Provider:
    """An object that has only one of the protocols that NumPy reads."""

    def __init__(self, array, *names):
        self.array = array
        for name in names:
            value = getattr(array, name)
            if name == "__array_interface__":
                self.__array_interface__ = value


class Array(Provider):
    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


class Interface(Provider):
    @property
    def __array_interface__(self):
        return self.array.__array_interface__


class DLPack(Provider):
    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def strided(array):
    wide = np.full([2 * n + 1 for n in array.shape], 99, array.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def reversed_(array):
    back = (slice(None, None, -1),) * array.ndim
    return array[back].copy()[back]


def misaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def field(array, packed=True):
    """A field of records: strided and, if the records are packed, misaligned."""
    kind = np.dtype([("flag", "i1"), ("value", array.dtype)], align=not packed)
    records = np.zeros(array.shape, kind).view(np.recarray)
    records.value[...] = array
    return records.value


def mapped(array, folder):
    memory = np.memmap(folder / f"{id(array)}.bin", array.dtype, "w+", shape=array.shape)
    memory[...] = array
    return memory


#: From a contiguous array to its layouts, the same numbers each.
SAME = {
    "strided": strided,
    "Fortran": np.asfortranarray,
    "reversed": reversed_,
    "first axes swapped": lambda a: (
        a.swapaxes(0, min(1, a.ndim - 1)).copy().swapaxes(0, min(1, a.ndim - 1))
    ),
    "last axes swapped": lambda a: (
        a.swapaxes(-1, max(-2, -a.ndim)).copy().swapaxes(-1, max(-2, -a.ndim))
    ),
    "part": lambda a: np.concatenate([a, a])[len(a) :],
    "misaligned": misaligned,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big-endian, strided": lambda a: strided(a.astype(a.dtype.newbyteorder(">"))),
    "field": field,
    "field of aligned records": lambda a: field(a, packed=False),
    "list": lambda a: a.tolist(),
    "list of arrays": list,
    "memoryview": lambda a: memoryview(a),
    "strided memoryview": lambda a: memoryview(strided(a)),
    "__array__": Array,
    "__array_interface__": lambda a: Interface(strided(a)),
    "DLPack": DLPack,
    "no mask": np.ma.masked_array,
}
#: Other dtypes of the same numbers, for multiples of 1/8 that are below 16 and whole numbers.
FLOATS = ("float16", "float32", "float64", "longdouble", ">f2", ">f8")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4", ">u2")


def layouts(array, folder):
    """Yield (name, value, contiguous array of the same numbers)."""
    for name, make in SAME.items():
        yield name, make(array), array
    yield "memmap", mapped(array, folder), array
    if array.ndim == 2:
        yield "matrix", array.view(np.matrix), array
    for axis in range(array.ndim):
        one = np.take(array, [0], axis)
        yield (
            f"broadcast along axis {axis}",
            np.broadcast_to(one, array.shape),
            np.repeat(one, array.shape[axis], axis),
        )
    kinds = FLOATS if array.dtype.kind == "f" else INTEGERS
    for kind in kinds:
        other = array.astype(kind)
        yield kind, other, other.astype(array.dtype)
    if array.dtype.kind == "f":
        for kind in ("bool", *INTEGERS):
            other = np.abs(array).astype(kind)
            yield kind, other, other.astype(array.dtype)
            yield f"strided {kind}", strided(other), other.astype(array.dtype)


#: What no entry takes as numbers.
REFUSED = {
    "object": lambda a: a.astype(object),
    "complex": lambda a: a.astype(complex),
    "text": lambda a: a.astype(str),
    "dates": lambda a: a.astype("int64").astype("M8[s]"),
    "masked": lambda a: np.ma.masked_array(a, np.ones(a.shape, bool)),
}


def bits(result):
    """All numbers of a result, with their dtypes and shapes."""
    if isinstance(result, (np.ndarray, np.generic, int, float)):
        array = np.asarray(result)
        return array.dtype.str, array.shape, array.tobytes()
    if isinstance(result, dict):
        return {name: bits(value) for name, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [bits(value) for value in result]
    return result


def memory(value):
    """The bytes of what an argument refers to."""
    array = getattr(value, "array", value)
    if isinstance(array, list):
        return [memory(part) for part in array]
    return np.asarray(array).tobytes()
