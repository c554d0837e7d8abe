"""Optional dependencies, which are imported on first use."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency, or raise an error that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f'this needs {name}: pip install "bptt[{extra}]"') from error
