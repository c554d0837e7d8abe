"""The model: `Sequential`, and `load`, which reads one from a file."""

from bptt.model.sequential import Sequential, load

__all__ = ["Sequential", "load"]
