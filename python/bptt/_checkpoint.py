"""Training state in a model's file: training that was broken off goes on with the same bits.

Beside what `saving` writes, such a file has a text in its metadata under "bptt.training"::

    {"version": 1, "epochs": 3, "settings": {...}, "parts": {"trainer": {...}, "order": {...}, ...}}

Parts are whatever has a `state_dict`: nested dicts and lists of numbers, texts and arrays. An array
is a tensor of the file, ``training.0`` and so on, and ``{"tensor": "training.0"}`` in the text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt import _check, _core, saving
from bptt.history import History

if TYPE_CHECKING:
    from bptt._fit import Training
    from bptt.model import Sequential

Array = NDArray[Any]

VERSION = 1


class Part(Protocol):
    """Something with a state that training goes on from."""

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, texts, None, arrays, and dicts and lists of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; a ValueError, TypeError or KeyError if it does not fit."""


class Order:
    """The order in which an epoch takes the sequences, shuffled by a generator, if there is one."""

    def __init__(self, count: int | None, generator: np.random.Generator | None) -> None:
        """Take how many sequences there are; None if they come as they like."""
        self.now = np.arange(count or 0, dtype=np.uint64)
        self._given = count is not None
        self._generator = generator if self._given else None

    def next(self) -> Array | None:
        """Return the order of the next epoch."""
        if self._generator is not None:
            self._generator.shuffle(self.now)
        return self.now if self._given else None

    def state_dict(self) -> dict[str, Any]:
        if self._generator is None:
            return {}  # the order never changes
        return {"now": self.now, "generator": dict(self._generator.bit_generator.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._generator is None:
            return
        now, generator, bits = state["now"], state["generator"], self._generator.bit_generator
        if now.dtype != self.now.dtype or not np.array_equal(np.sort(now), np.sort(self.now)):
            raise ValueError("the order of the sequences is none")
        ours = type(bits).__name__
        if generator["bit_generator"] != ours:
            raise ValueError(
                f"it was made with a generator of {generator['bit_generator']}, "
                f"rng is one of {ours}"
            )
        bits.state = generator
        self.now[:] = now


class TrainerState:
    """What the trainer remembers, but the parameters: the optimiser's state, and dropout's."""

    def __init__(self, trainer: _core.Trainer) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        steps, vectors = self._trainer.optimizer_state()
        return {"seed": self._trainer.seed(), "steps": steps, "vectors": vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._trainer.restore_optimizer(state["steps"], state["vectors"])
        self._trainer.set_seed(state["seed"])


class ScheduleState:
    """Where the schedule is."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def state_dict(self) -> dict[str, Any]:
        return dict(self._training.schedule_state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        ours = self._training.schedule_state
        if set(state) != set(ours) or not all(type(v) in (int, float) for v in state.values()):
            raise ValueError(f"it must have numbers {sorted(ours)}, it has {state}")
        self._training.schedule_state = dict(state)


class HistoryState:
    """The losses so far."""

    def __init__(self, history: History) -> None:
        self._history = history

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self._history))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if set(state) != set(vars(self._history)):
            raise ValueError(f"its history has {sorted(state)}")
        vars(self._history).update(state)


class Checkpoint:
    """The file that a training run leaves behind after every so many epochs.

    Parameters
    ----------
    path : object
        What the user gave.
    every : object
        Epochs from one to the next.
    settings : dict
        What a run must have in common with the one that it goes on from, as JSON can hold it.
    """

    def __init__(self, path: object, every: object, settings: dict[str, Any]) -> None:
        self._path, self._settings = saving.path_of(path), settings
        self._every = _check.size("checkpoint_every", every)
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no directory {str(self._path.parent)!r}")

    def is_due(self, epochs: int) -> bool:
        """Tell whether it is to be written after so many epochs."""
        return epochs % self._every == 0

    def write(self, model: Sequential, epochs: int, parts: Mapping[str, Part]) -> None:
        """Write the model and the state after so many epochs."""
        tensors: dict[str, Array] = {}
        states = {name: _pack(part.state_dict(), tensors) for name, part in parts.items()}
        training = {
            "version": VERSION,
            "epochs": epochs,
            "settings": self._settings,
            "parts": states,
        }
        saving.write(self._path, model, {"bptt.training": json.dumps(training)}, tensors)

    def read(self, model: Sequential) -> Saved | None:
        """Read the file, if it is there; it must be of such a model and of these settings."""
        try:
            saved, metadata, tensors = saving.read(self._path)
        except FileNotFoundError:
            return None
        if "bptt.training" not in metadata:
            raise self._unfit("has a model in it, but no training to resume; load it and train on")
        try:
            training = json.loads(metadata["bptt.training"])
            version, epochs, settings = (training[n] for n in ("version", "epochs", "settings"))
            parts = {name: _unpack(state, tensors) for name, state in training["parts"].items()}
            known = type(epochs) is int and isinstance(settings, dict)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = False
        if not known or epochs < 0:
            raise self._unfit("has a damaged training state")
        if version != VERSION:
            raise self._unfit(f"has a training state of version {version}, not {VERSION}")
        if saving.architecture(saved) != saving.architecture(model):
            raise self._unfit(f"is of another model, {saved}")
        names = sorted({*settings, *self._settings})
        ours = json.loads(json.dumps(self._settings))
        if differing := [name for name in names if settings.get(name) != ours.get(name)]:
            were = ", ".join(f"{name} {settings.get(name)!r}" for name in differing)
            are = ", ".join(f"{name} {ours.get(name)!r}" for name in differing)
            raise self._unfit(
                f"is of a run with {were}; this one has {are}. To resume, settings and data must "
                "be the same; to train on with others, load it with bptt.load and fit that"
            )
        return Saved(self, saved, epochs, parts)

    def _unfit(self, why: str) -> ValueError:
        return ValueError(f"resume: {os.fspath(self._path)!r} {why}")


class Saved:
    """What was read from a checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, model: Sequential, epochs: int, states: dict[str, Any]
    ) -> None:
        self.model, self.epochs = model, epochs
        self._checkpoint, self._states = checkpoint, states

    def restore(self, parts: Mapping[str, Part]) -> None:
        """Let parts go on from their states."""
        if set(parts) != set(self._states):
            raise self._checkpoint._unfit(f"has states of {sorted(self._states)}")
        try:
            for name, part in parts.items():
                part.load_state_dict(self._states[name])
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            raise self._checkpoint._unfit(
                f"has a state of {name} that does not fit: {error}"
            ) from None


def _pack(value: Any, tensors: dict[str, Array]) -> Any:
    """Return what JSON can hold of a value; arrays become tensors."""
    if isinstance(value, np.ndarray):
        name = f"training.{len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {name: _pack(part, tensors) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(part, tensors) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpack(value: Any, tensors: dict[str, Array]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["tensor"]:
            return tensors[value["tensor"]]
        return {name: _unpack(part, tensors) for name, part in value.items()}
    if isinstance(value, list):
        return [_unpack(part, tensors) for part in value]
    return value
