"""NaN and infinity in users' data: where they are, in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: What to do about data that are not finite.
FIX = (
    "replace or remove them (sequences of different lengths are a list of arrays, without "
    "padding), or turn this check off with check_finite=False"
)


def not_finite(
    name: str,
    array: Array,
    offsets: list[int] | None,
    read: NDArray[np.bool_] | None = None,
    numbers: Array | None = None,
) -> str | None:
    """Return a sentence about the NaN and infinity in an array, or None if there are none.

    Sequence n has the rows ``offsets[n]`` to ``offsets[n + 1]`` of the array, or without offsets
    row n. `read` tells which sequences matter, all by default, and `numbers` by which number the
    user knows each.
    """
    if array.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):  # one pass, and no array of truth values
            return None
    rows = array.reshape(len(array), -1)
    bad = ~np.isfinite(rows)
    starts = np.arange(len(rows)) if offsets is None else np.array(offsets[:-1])
    if read is not None:
        bad[~np.repeat(read, np.diff([*starts, len(rows)]))] = False
    count = np.count_nonzero(bad)
    if not count:
        return None
    row, feature = (int(n) for n in np.unravel_index(bad.argmax(), bad.shape))
    sequence = int(np.searchsorted(starts, row, side="right")) - 1
    place = f"sequence {sequence if numbers is None else numbers[sequence]}"
    if offsets is not None:
        place += f", step {row - starts[sequence]}"
    some = "a number that is" if count == 1 else f"{count} numbers that are"
    value = f"{rows[row, feature]}" if count == 1 else f"the first, {rows[row, feature]},"
    return (
        f"{name} has {some} NaN or infinite in {array.dtype}: {value} in {place}, feature {feature}"
    )
