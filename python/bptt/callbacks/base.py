"""The base of callbacks, and of those that watch a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from bptt._support import check
from bptt.history import History
from bptt.schedules import monitored

Logs = dict[str, float]


class TrainedModel(Protocol):
    """What a callback uses of the `Sequential` that is being trained."""

    layers: tuple[Any, ...]
    history: History | None
    stop_training: bool

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the parameters."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy parameters into the layers."""

    def predict(self, x: Any, *, progress: bool = True) -> Any:
        """Return the outputs."""

    def evaluate(self, x: Any, y: Any = None, *, loss: Any, progress: bool = True) -> Any:
        """Return the mean loss."""

    def save(self, path: Any) -> None:
        """Save the model to a file."""


class Callback:
    """The base of callbacks; `fit` takes any object with at least one of these methods.

    During a call the layers have the parameters of the last epoch. A callback may change them in
    place; training continues with the new values. ``model.stop_training = True`` ends training
    after the epoch. An exception in a callback ends `fit`, after `on_train_end` of all callbacks. A
    callback with `state_dict` and `load_state_dict` has its state in checkpoints.

    `on_train_batch_begin` and `on_train_batch_end` run around every step of the optimiser. While an
    epoch runs, the trainer has its own copies of the parameters: in these two methods the layers
    still have those of the last epoch, and changes to them are lost. ``model.stop_training = True``
    there ends the epoch after the batch, as in Keras: validation and `on_epoch_end` follow, on the
    part of the epoch that is done. Training stops after each step for these methods, which costs
    some microseconds a step; without them it does not.

    Attributes
    ----------
    model : Sequential
        The model that is being trained; set before any other call.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> class Enough(bptt.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.model.stop_training = logs["loss"] < 0.5
    >>> model = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    >>> x = np.ones((4, 3, 1))
    >>> history = model.fit(x, x, loss="mse", optimizer=bptt.SGD(0.1), epochs=100,
    ...                     callbacks=[Enough()], progress=False)
    >>> len(history.loss) < 100
    True
    """

    model: TrainedModel

    def set_model(self, model: TrainedModel) -> None:
        """Set the model; this is the first call."""
        self.model = model

    def on_train_begin(self) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Run before an epoch, counted from 0."""

    def on_train_batch_begin(self, batch: int) -> None:
        """Run before a step of the optimiser, counted from 0 in every epoch.

        The step is that of a batch, with `accumulate` that of so many batches, with `tbptt` that of
        a chunk.
        """

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Run after a step of the optimiser; `logs` has "loss", "gradient_norm" and "lr".

        They are the numbers of this step, as in `Steps`: the mean loss of its batch (in Keras: of
        the epoch so far), the norm of all gradients before clipping, and the learning rate.
        """

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after an epoch; `logs` has "loss", "validation_loss", metrics and "lr"."""

    def on_train_end(self) -> None:
        """Run after the last epoch, however training ends: also after Ctrl-C or an error."""


class Monitor(Callback):
    """A callback that watches a number of the history.

    Attributes
    ----------
    best : float
        The best number of the last training.
    best_epoch : int or None
        The epoch of the best number, counted from 0.
    """

    def __init__(self, monitor: str | None, mode: str) -> None:
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor must be a name in the history, got {monitor!r}")
        self.monitor = monitor
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'mode must be "auto", "min" or "max", got {mode!r}')
        self.mode = mode
        self._resumed = False
        self._forget()

    def on_train_begin(self) -> None:
        """Forget the previous training, unless this one resumes it from a checkpoint."""
        if not self._resumed:
            self._forget()
        self._resumed = False

    def _forget(self) -> None:
        rises = self.mode == "max" or (
            self.mode == "auto" and self.monitor is not None and "accuracy" in self.monitor
        )
        self._sign = -1.0 if rises else 1.0
        self.best = self._sign * math.inf
        self.best_epoch: int | None = None

    def _now(self, logs: Logs) -> float:
        """Return the number that is watched."""
        return monitored(self.monitor, logs)

    def _improves(self, now: float, min_delta: float = 0.0) -> bool:
        """Tell whether a number is better than the best one by more than this."""
        if self.best_epoch is None or (math.isnan(self.best) and not math.isnan(now)):
            return True
        return self._sign * now + min_delta < self._sign * self.best

    def _checked(self, state: Any, names: set[str]) -> tuple[float, int | None]:
        """Return best and best_epoch of a saved state, which must have these names."""
        if not isinstance(state, Mapping) or set(state) != names:
            raise ValueError(
                f"state must be a dict of {', '.join(sorted(names))}, got {check.shown(state)}"
            )
        return check.real("best", state["best"]), epoch_of(state, "best_epoch")


def epoch_of(state: Mapping[str, Any], name: str) -> int | None:
    """Return an epoch of a saved state, or None."""
    return None if state[name] is None else check.size(name, state[name], least=0)
