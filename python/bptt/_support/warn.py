"""Frames of this package, and warnings that point at the user's line below them."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


def is_ours(frame: FrameType) -> bool:
    """Tell whether a frame belongs to this package, or to what stands between its functions."""
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in ("bptt", "contextlib", "importlib", "numpy")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package among the callers."""
    level, frame = 2, sys._getframe(1)
    while is_ours(frame) and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
