"""The state of training between two epochs, as a model and a checkpoint keep it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt._core import Trainer
from bptt._history.steps import Steps
from bptt._support.check import shown
from bptt.history import History
from bptt.optimizers import Optimizer, named
from bptt.schedules import Schedule

Array = NDArray[Any]


@dataclass
class Training:
    """What a model keeps of its training, so that another `fit` can continue.

    Attributes
    ----------
    optimizer : Optimizer
        The optimiser of the last `fit`. The state belongs to this object.
    moments : tuple of int and list of ndarray, or None
        The number of steps of the optimiser and its three vectors, each as long as all parameters
        or empty; None before the first epoch.
    schedule : Schedule or None
        The schedule of the last `fit`.
    schedule_state : dict of str to float
        The state of the schedule.
    epochs : int
        For how many epochs the model has been trained, in all runs.
    """

    optimizer: Optimizer
    moments: tuple[int, list[Array]] | None = None
    schedule: Schedule | None = None
    schedule_state: dict[str, float] = field(default_factory=dict)
    epochs: int = 0

    def copy(self) -> Training:
        """Return a copy whose state does not change with this one."""
        return replace(self, schedule_state=dict(self.schedule_state))


def training_of(last: Training | None, optimizer: object, schedule: Schedule | None) -> Training:
    """Return the state that a run starts with: the last one's, if the objects are the same."""
    if optimizer is None:
        if last is None:
            raise ValueError(
                "optimizer is missing: the first fit of a model needs one, type "
                "optimizer=bptt.Adam()"
            )
        optimizer = last.optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be an optimiser such as bptt.Adam(), got {shown(optimizer)}: type "
            f"optimizer=bptt.{named(optimizer)}()"
        )
    training = Training(optimizer, schedule=schedule, epochs=0 if last is None else last.epochs)
    if last is not None and last.optimizer is optimizer:
        training.moments = last.moments
    if schedule is not None and last is not None and last.schedule is schedule:
        training.schedule_state = dict(last.schedule_state)
    return training


class Resumable(Protocol):
    """An object whose state a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """Return a dict of numbers, strings, None, arrays, and lists and dicts of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state, or change nothing and raise a ValueError, TypeError or KeyError."""


class Order:
    """The order of the sequences in an epoch; a generator shuffles it, if there is one."""

    def __init__(self, count: int | None, generator: np.random.Generator | None) -> None:
        """Take the number of sequences; None leaves their order to the source."""
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
            _check_names(state, [])
            return
        _check_names(state, ["now", "generator"])
        now, given, bits = state["now"], state["generator"], self._generator.bit_generator
        _check_like("now", now, self.now)
        if not np.array_equal(np.sort(now), np.sort(self.now)):
            raise ValueError("the saved order is not a permutation")
        ours = type(bits).__name__
        kind = given.get("bit_generator") if isinstance(given, dict) else None
        if kind != ours:
            told = shown(kind).strip("'")
            raise ValueError(f"it was saved with a {told} generator, rng must be one, got {ours}")
        _check_generator(given, bits)
        bits.state = given
        self.now[:] = now


class TrainerState:
    """The state of the trainer without the parameters: the optimiser's, and dropout's seed."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        steps, vectors = self._trainer.optimizer_state()
        return {"seed": self._trainer.seed(), "steps": steps, "vectors": vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _check_names(state, ["seed", "steps", "vectors"])
        seed, steps, vectors = state["seed"], state["steps"], state["vectors"]
        _check_whole("seed", seed, 2**64)
        _check_whole("steps", steps)
        if not isinstance(vectors, list) or not all(isinstance(v, np.ndarray) for v in vectors):
            raise ValueError(f"vectors must be arrays, got {shown(vectors)}")
        if any(v.dtype.kind != "f" or np.isnan(v).any() for v in vectors):
            raise ValueError("vectors must hold real numbers, none of them NaN")
        if (vectors[1:2] or [np.empty(0)])[0].min(initial=0) < 0:
            raise ValueError("the second of the vectors, means or sums of squares, is below 0")
        self._trainer.restore_optimizer(steps, vectors)
        self._trainer.set_seed(seed)


class ScheduleState:
    """The state of the schedule."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def state_dict(self) -> dict[str, Any]:
        return dict(self._training.schedule_state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        ours = self._training.schedule_state
        _check_names(state, ours)
        for name, value in ours.items():
            if type(value) is int:
                _check_whole(name, state[name])
            else:
                _check_real(name, state[name], finite=math.isfinite(value))
        self._training.schedule_state = dict(state)


class HistoryState:
    """The losses so far."""

    def __init__(self, history: History, metrics: list[str], validated: bool) -> None:
        self._history, self._validated = history, validated
        self._metrics = [*metrics, *(f"validation_{name}" for name in metrics if validated)]

    def state_dict(self) -> dict[str, Any]:
        state = {**vars(self._history), "steps": self._history.steps.__getstate__()}
        del state["loss_name"]  # the settings have it
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if isinstance(state, dict):  # a file of version 0.1.0 has no steps
            state = {"steps": Steps().__getstate__()} | state
        _check_names(state, vars(self._history).keys() - {"loss_name"})
        _check_names(state["metrics"], self._metrics)
        loss, validated = state["loss"], state["validation_loss"]
        if not isinstance(loss, list):
            raise ValueError(f"loss must be a list, got {shown(loss)}")
        epochs = len(loss)
        for name in ("loss", "lr"):
            _check_reals(name, state[name], epochs, finite=True)
        _check_reals("validation_loss", validated, epochs if self._validated else 0)
        for name, values in state["metrics"].items():
            _check_reals(name, values, epochs)
        _check_real("seconds", state["seconds"], finite=True)
        if type(state["interrupted"]) is not bool:
            raise ValueError(
                f"interrupted must be True or False, got {shown(state['interrupted'])}"
            )
        steps = Steps()
        steps.__setstate__(state["steps"])
        vars(self._history).update(state, steps=steps)


def _check_names(state: Any, names: Iterable[str]) -> None:
    if not isinstance(state, dict) or state.keys() != set(names):
        got = sorted(state) if isinstance(state, dict) else state
        raise ValueError(f"it must have {sorted(names)}, it has {shown(got)}")


def _check_whole(name: str, value: Any, below: int = 2**62) -> None:
    if type(value) is not int or not 0 <= value < below:
        raise ValueError(f"{name} must be a whole number of at least 0, got {shown(value)}")


def _check_real(name: str, value: Any, *, finite: bool) -> None:
    """Check a number that may be infinite, or one that is finite and at least 0."""
    known = type(value) in (int, float) and not math.isnan(value)
    if not known or (finite and not 0 <= value < math.inf):
        raise ValueError(f"{name} must be a number, got {shown(value)}")


def _check_reals(name: str, values: Any, count: int, *, finite: bool = False) -> None:
    """Check numbers of the epochs. A metric or the loss of validation may be NaN."""
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else shown(values)
        raise ValueError(f"{name} must have a number for each of {count} epochs, got {got}")
    for value in values:
        if type(value) not in (int, float) or (finite and not math.isfinite(value)):
            raise ValueError(f"{name} must hold numbers, got {shown(value)}")


def _check_like(name: str, value: Any, ours: Any) -> None:
    """Check that a value has the types and shapes of ours."""
    if isinstance(ours, dict):
        if not isinstance(value, dict) or value.keys() != ours.keys():
            raise ValueError(f"{name} must have {sorted(ours)}, got {shown(value)}")
        for key, part in ours.items():
            _check_like(key, value[key], part)
    elif isinstance(ours, np.ndarray):
        wanted = f"{ours.shape} of {ours.dtype}"
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{name} must be an array {wanted}, got {shown(value)}")
        if (value.shape, value.dtype) != (ours.shape, ours.dtype):
            raise ValueError(f"{name} must be {wanted}, got {value.shape} of {value.dtype}")
    elif isinstance(ours, (int, np.integer)):
        _check_whole(name, value, 2**128)
    elif type(value) is not type(ours):
        raise ValueError(f"{name} must be a {type(ours).__name__}, got {shown(value)}")


#: How large numbers of the states of NumPy's generators may be: NumPy does not check them.
_MOST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}


def _check_generator(state: dict[str, Any], bits: np.random.BitGenerator) -> None:
    """Refuse what is no state of this generator."""
    _check_like("generator", state, bits.state)
    for name, value in {**state, **state["state"]}.items():
        if name in _MOST and value > _MOST[name]:
            raise ValueError(f"{name} of the generator must be at most {_MOST[name]}, got {value}")
    if state["state"].get("inc", 1) % 2 == 0:
        raise ValueError("inc of the generator must be odd")
    copy.deepcopy(bits).state = state
