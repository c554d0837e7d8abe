"""Frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bptt._support.extras import require


def frame_of(columns: Mapping[str, Any], index: str, numbers: Sequence[int] | Any) -> Any:
    """Return a DataFrame of these columns; its index has this name and these numbers."""
    pandas = require("pandas", "frames")
    return pandas.DataFrame(dict(columns), index=pandas.Index(numbers, name=index, dtype="int64"))
