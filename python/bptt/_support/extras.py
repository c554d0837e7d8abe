"""Optional dependencies, which are imported on first use."""

from __future__ import annotations

import importlib
from types import ModuleType

#: The packages of modules with another name.
_PACKAGES = {"sklearn": "scikit-learn"}


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency, or raise an error that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        raise ImportError(f"this needs {package}: {install(package, extra)}") from error


def install(package: str, extra: str) -> str:
    """Return how to install a package: by its own name, which works without a release of bptt."""
    return f'pip install {package} (the extra "{extra}")'
