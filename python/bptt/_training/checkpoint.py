"""Checkpoints: a model and the state of its training in a file, so that a run can be resumed.

The file is one of `Sequential.save` with another entry in its metadata, "bptt.training"::

    {"version": 1, "epochs": 3, "settings": {...}, "parts": {"trainer": {...}, "order": {...}, ...}}

Each part is the `state_dict` of an object: nested dicts and lists of numbers, strings and arrays.
An array is a tensor of the file, ``training.0`` and so on; in the JSON
``{"tensor": "training.0"}`` stands for it. A long list of floats is one, too: ``{"list": ...}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bptt._support import check, strict_json
from bptt._support.atomic import check_replaceable
from bptt._training.state import Array, Resumable
from bptt.layers import _files
from bptt.layers._stack import Stack

VERSION = 1


class Checkpoint:
    """The checkpoint file of a training run.

    Parameters
    ----------
    path : object
        The file, as the user gives it.
    every : int
        The number of epochs between two checkpoints.
    settings : dict
        What a run must have in common with the run that it resumes, for JSON.
    stack : Stack
        The layers. Those that a file cannot have are refused.
    """

    def __init__(self, path: object, every: int, settings: dict[str, Any], stack: Stack) -> None:
        self._path, self._every, self._settings = _files.path_of(path), every, settings
        self._architecture = _files.architecture(stack)
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint must be in an existing directory, got {str(self._path)!r}"
            )
        check_replaceable(self._path)

    def is_due(self, epochs: int) -> bool:
        """Tell whether a checkpoint is due after so many epochs."""
        return epochs % self._every == 0

    def write(self, stack: Stack, epochs: int, parts: Mapping[str, Resumable]) -> None:
        """Write the layers and the state of the parts."""
        tensors: dict[str, Array] = {}
        training = {
            "version": VERSION,
            "epochs": epochs,
            "settings": self._settings,
            "parts": {name: _pack(part.state_dict(), tensors) for name, part in parts.items()},
        }
        try:
            text = json.dumps(training)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                "the state_dict of a callback must have numbers, strings, None, arrays, and lists "
                f"and dicts of them: {error}"
            ) from None
        _files.write(self._path, stack, {"bptt.training": text}, tensors)

    def read(self) -> Saved | None:
        """Read the file, if it exists; refuse one of another model or of other settings."""
        try:
            saved, metadata, tensors = _files.read(self._path, training=True)
        except FileNotFoundError:
            return None
        if "bptt.training" not in metadata:
            raise self.unfit(
                "has a model in it, but no training to resume: load it with bptt.load and fit that"
            )
        try:
            training = strict_json.loads(metadata["bptt.training"], finite=False)
            version, epochs, settings = (training[n] for n in ("version", "epochs", "settings"))
            parts = {name: _unpack(state, tensors) for name, state in training["parts"].items()}
            known = type(version) is int and type(epochs) is int and isinstance(settings, dict)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = False
        if not known or not 0 <= epochs < 2**62:
            raise self.unfit("has a damaged training state")
        if version != VERSION:
            raise self.unfit(
                f"has a training state of version {check.shown(version)}, must be {VERSION}"
            )
        if _files.architecture(saved) != self._architecture:
            layers = ", ".join(map(repr, saved.layers))
            raise self.unfit(f"is of another model, Sequential({layers})")
        names = sorted({*settings, *self._settings})
        ours = json.loads(json.dumps(self._settings))
        if differing := [name for name in names if settings.get(name) != ours.get(name)]:
            were = ", ".join(f"{name} {check.shown(settings.get(name))}" for name in differing)
            are = ", ".join(f"{name} {check.shown(ours.get(name))}" for name in differing)
            raise self.unfit(
                f"is of a run with {were}; this one has {are}. To resume, use the same settings "
                "and data; to train with others, load it with bptt.load and fit that"
            )
        for name, array in saved.named_parameters().items():
            if not np.isfinite(array).all():
                raise self.unfit(f"has numbers in {name} that are not finite")
        return Saved(self, saved, epochs, parts)

    def unfit(self, why: str) -> ValueError:
        """Return the error for a file that cannot be resumed from."""
        return ValueError(f"resume: {os.fspath(self._path)!r} {why}")


class Saved:
    """The contents of a checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, stack: Stack, epochs: int, states: dict[str, Any]
    ) -> None:
        self.stack, self.epochs = stack, epochs
        self._checkpoint, self._states = checkpoint, states

    def unfit(self, why: str) -> ValueError:
        """Return the error for a file that cannot be resumed from."""
        return self._checkpoint.unfit(why)

    def check_names(self, names: list[str]) -> None:
        """Refuse a file whose states are not those of these parts."""
        if set(names) != set(self._states):
            raise self.unfit(
                f"has states of {check.shown(sorted(self._states))}, this run needs {sorted(names)}"
            )

    def restore(self, name: str, part: Resumable) -> None:
        """Restore the state of a part."""
        try:
            part.load_state_dict(self._states[name])
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise self.unfit(f"has a state of {name} that does not fit: {error}") from None


#: Longer lists of floats are tensors: a history grows with every epoch, and a header may not.
_LONG = 1000

#: Names that alone in a dict stand for something else.
_MARKS = ("tensor", "list", "dict")


def _pack(value: Any, tensors: dict[str, Array]) -> Any:
    """Return a value for JSON; arrays go to `tensors`."""
    if isinstance(value, np.ndarray):
        name = f"training.{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        packed = {name: _pack(part, tensors) for name, part in value.items()}
        return {"dict": packed} if len(packed) == 1 and packed.keys() <= {*_MARKS} else packed
    if isinstance(value, (list, tuple)):
        if len(value) > _LONG and all(type(part) is float for part in value):
            return {"list": _pack(np.array(value), tensors)["tensor"]}
        return [_pack(part, tensors) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpack(value: Any, tensors: dict[str, Array]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["tensor"]:
            return tensors[value["tensor"]]
        if list(value) == ["list"]:
            return tensors[value["list"]].tolist()
        if list(value) == ["dict"]:
            value = value["dict"]
        return {name: _unpack(part, tensors) for name, part in value.items()}
    if isinstance(value, list):
        return [_unpack(part, tensors) for part in value]
    return value
