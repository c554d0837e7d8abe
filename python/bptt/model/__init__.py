"""The model: `Sequential`; `load`, which reads one from a file; `check`, which looks at one."""

from bptt.model.diagnosis import check
from bptt.model.sequential import Sequential, load

__all__ = ["Sequential", "check", "load"]
