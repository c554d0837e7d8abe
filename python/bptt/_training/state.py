"""The state of training between two epochs, as a model and a checkpoint keep it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt._core import Trainer
from bptt.history import History
from bptt.optimizers import Optimizer
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
    """

    optimizer: Optimizer
    moments: tuple[int, list[Array]] | None = None
    schedule: Schedule | None = None
    schedule_state: dict[str, float] = field(default_factory=dict)

    def copy(self) -> Training:
        """Return a copy whose state does not change with this one."""
        return replace(self, schedule_state=dict(self.schedule_state))


def training_of(last: Training | None, optimizer: object, schedule: Schedule | None) -> Training:
    """Return the state that a run starts with: the last one's, if the objects are the same."""
    if optimizer is None:
        if last is None:
            raise ValueError(
                "optimizer is missing: the first fit of a model needs one, such as bptt.Adam()"
            )
        optimizer = last.optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be an optimiser such as bptt.Adam(), got {optimizer!r}")
    training = Training(optimizer, schedule=schedule)
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
        """Restore the state, or raise a ValueError, TypeError or KeyError if it does not fit."""


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
            return
        now, generator, bits = state["now"], state["generator"], self._generator.bit_generator
        if now.dtype != self.now.dtype or not np.array_equal(np.sort(now), np.sort(self.now)):
            raise ValueError("the saved order is not a permutation")
        ours = type(bits).__name__
        if generator["bit_generator"] != ours:
            raise ValueError(
                f"it was saved with a {generator['bit_generator']} generator, rng must be one, "
                f"got {ours}"
            )
        bits.state = generator
        self.now[:] = now


class TrainerState:
    """The state of the trainer without the parameters: the optimiser's, and dropout's seed."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        steps, vectors = self._trainer.optimizer_state()
        return {"seed": self._trainer.seed(), "steps": steps, "vectors": vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._trainer.restore_optimizer(state["steps"], state["vectors"])
        self._trainer.set_seed(state["seed"])


class ScheduleState:
    """The state of the schedule."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def state_dict(self) -> dict[str, Any]:
        return dict(self._training.schedule_state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        ours = self._training.schedule_state
        if set(state) != set(ours) or not all(type(v) in (int, float) for v in state.values()):
            raise ValueError(f"it must have the numbers {sorted(ours)}, it has {state}")
        self._training.schedule_state = dict(state)


class HistoryState:
    """The losses so far."""

    def __init__(self, history: History) -> None:
        self._history = history

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self._history))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if set(state) != set(vars(self._history)):
            raise ValueError(f"it must have {sorted(vars(self._history))}, it has {sorted(state)}")
        vars(self._history).update(state)
