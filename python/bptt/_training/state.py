"""What a training run depends on from one epoch to the next: what a model and a checkpoint keep."""

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
    """What a model keeps of its training, so that it can go on.

    Attributes
    ----------
    optimizer : Optimizer
        The one given to `fit`; its state is for this very object.
    moments : tuple of int and list of ndarray, or None
        The steps the optimiser took and its three vectors, each of all parameters or empty; None
        before the first epoch.
    schedule : Schedule or None
        Likewise.
    schedule_state : dict of str to float
        Where the schedule is.
    """

    optimizer: Optimizer
    moments: tuple[int, list[Array]] | None = None
    schedule: Schedule | None = None
    schedule_state: dict[str, float] = field(default_factory=dict)

    def copy(self) -> Training:
        """Return one whose state no longer follows this one's."""
        return replace(self, schedule_state=dict(self.schedule_state))


def training_of(last: Training | None, optimizer: object, schedule: Schedule | None) -> Training:
    """Return what a run starts with: it goes on where the last one ended if these are the same."""
    if optimizer is None:
        if last is None:
            raise ValueError("optimizer is missing: the first fit of a model needs one")
        optimizer = last.optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one such as bptt.Adam(), got {optimizer!r}")
    training = Training(optimizer, schedule=schedule)
    if last is not None and last.optimizer is optimizer:
        training.moments = last.moments
    if schedule is not None and last is not None and last.schedule is schedule:
        training.schedule_state = dict(last.schedule_state)
    return training


class Resumable(Protocol):
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

    def __init__(self, trainer: Trainer) -> None:
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
