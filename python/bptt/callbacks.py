"""Callbacks: objects that `fit` calls while it trains, as in Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from bptt._support import check
from bptt._support.entry import entry
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


_HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")


class Callback:
    """The base of callbacks; `fit` takes any object with at least one of these methods.

    During a call the layers have the parameters of the last epoch. A callback may change them in
    place; training continues with the new values. ``model.stop_training = True`` ends training
    after the epoch. An exception in a callback ends `fit`, after `on_train_end` of all callbacks. A
    callback with `state_dict` and `load_state_dict` has its state in checkpoints.

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

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Run after an epoch; `logs` has "loss", "validation_loss", metrics and "lr"."""

    def on_train_end(self) -> None:
        """Run after the last epoch, however training ends: also after Ctrl-C or an error."""


@entry
class EarlyStopping(Callback):
    """Stop when a number no longer improves and restore the best parameters, as in Keras.

    However training ends, also by Ctrl-C, divergence or an error of another callback, the layers
    get the parameters of the best epoch. The first epoch always counts as the best one so far; NaN
    is never better than a number.

    Parameters
    ----------
    patience : int, default 0
        Training stops after so many epochs in a row without improvement. As in Keras, 0 means the
        same as 1.
    min_delta : float, default 0
        A number must improve by more than this; at least 0.
    monitor : str, optional
        The name of the number in the history; by default "validation_loss", without validation data
        "loss".
    mode : {"auto", "min", "max"}, default "auto"
        Whether a lower or a higher number is better. With "auto" a higher accuracy is better; of
        all other numbers, a lower one.
    restore_best_weights : bool, default True
        Whether the layers get the parameters of the best epoch; otherwise they keep the last ones.
        (In Keras the default is False.)

    Attributes
    ----------
    best : float
        The best number of the last training.
    best_epoch : int or None
        The epoch of the best number, counted from 0.
    stopped_epoch : int or None
        The epoch after which training was stopped.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = np.random.default_rng(0).standard_normal((20, 5, 1))
    >>> model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=0))
    >>> history = model.fit(x[:10], -x[:10], loss="mse", optimizer=bptt.Adam(0.1), epochs=500,
    ...                     validation=(x[10:], -x[10:]), rng=0, progress=False,
    ...                     early_stopping=bptt.EarlyStopping(patience=5))
    >>> len(history.loss) < 500
    True
    >>> best = model.evaluate(x[10:], -x[10:], loss="mse")
    >>> best == min(history.validation_loss)
    True
    """

    def __init__(
        self,
        patience: int = 0,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: str = "auto",
        restore_best_weights: bool = True,
    ) -> None:
        self.patience = check.size("patience", patience, least=0)
        self.min_delta = check.real("min_delta", min_delta)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be at least 0 and finite, got {min_delta}")
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor must be a name in the history, got {monitor!r}")
        self.monitor = monitor
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'mode must be "auto", "min" or "max", got {mode!r}')
        self.mode = mode
        self.restore_best_weights = check.flag("restore_best_weights", restore_best_weights)
        self._resumed = False
        self.on_train_begin()

    def on_train_begin(self) -> None:
        """Forget the previous training, unless this one resumes it from a checkpoint."""
        self._seen = len(self._history().loss)  # epochs
        if self._resumed:
            self._resumed = False
            return
        rises = self.mode == "max" or (
            self.mode == "auto" and self.monitor is not None and "accuracy" in self.monitor
        )
        self._sign = -1.0 if rises else 1.0
        self.best = self._sign * math.inf
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._weights: dict[str, Any] | None = None
        self._wait = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare the epoch with the best one."""
        now = monitored(self.monitor, logs)
        if self._improves(now):
            # In this order, so that Ctrl-C never leaves a number without its parameters.
            weights = self.model.state_dict() if self.restore_best_weights else None
            self.best, self.best_epoch, self._wait, self._weights = now, epoch, 0, weights
        else:
            self._wait += 1
            if self._wait >= self.patience:
                self.stopped_epoch = epoch
                self.model.stop_training = True
        self._seen = epoch + 1

    def _improves(self, now: float) -> bool:
        if self.best_epoch is None or (math.isnan(self.best) and not math.isnan(now)):
            return True
        return self._sign * now + self.min_delta < self._sign * self.best

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "wait": self._wait,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from this state when training begins; refuse what does not fit the model."""
        names = set(self.state_dict())
        if not isinstance(state, Mapping) or set(state) != names:
            raise ValueError(
                f"state must be a dict of {', '.join(sorted(names))}, got {check.shown(state)}"
            )
        best, wait = check.real("best", state["best"]), check.size("wait", state["wait"], least=0)
        epochs = [
            None if state[name] is None else check.size(name, state[name], least=0)
            for name in ("best_epoch", "stopped_epoch")
        ]
        weights = state["weights"]
        if weights is not None:
            self._check_weights(weights)
        self.best, self._wait = best, wait
        self._weights = None if weights is None else dict(weights)
        self.best_epoch, self.stopped_epoch = epochs
        self._resumed = True

    def _check_weights(self, weights: Any) -> None:
        """Refuse weights that the model, if there is one already, would refuse in the end."""
        if not isinstance(weights, Mapping):
            raise ValueError(
                f"weights must be a dict of arrays or None, got {check.shown(weights)}"
            )
        ours = self.model.state_dict() if hasattr(self, "model") else {}
        if ours and ours.keys() != weights.keys():
            raise ValueError(
                f"weights must have the parameters {list(ours)}, got {check.shown(list(weights))}"
            )
        for name, array in ours.items():
            given = check.floats(f"the weights {name}", weights[name], array.dtype)
            if given.shape != array.shape:
                raise ValueError(
                    f"the weights {name} must have shape {array.shape}, got {given.shape}"
                )

    def on_train_end(self) -> None:
        """Restore the best parameters."""
        self._resumed = False
        self._see_last_epoch()
        if self._weights is not None:
            self.model.load_state_dict(self._weights)
            self._weights = None

    def _history(self) -> History:
        return getattr(getattr(self, "model", None), "history", None) or History()

    def _see_last_epoch(self) -> None:
        """Compare an epoch of the history that an error or Ctrl-C kept from `on_epoch_end`."""
        history = self._history()
        if len(history.loss) > self._seen:
            self.on_epoch_end(len(history.loss) - 1, history._last())


class Calls:
    """The callbacks of a training run."""

    def __init__(self, model: TrainedModel, callbacks: object, early_stopping: object) -> None:
        if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
            raise TypeError(
                "early_stopping must be bptt.EarlyStopping(...), got "
                f"{check.shown(early_stopping)}: type early_stopping=bptt.EarlyStopping(patience=5)"
            )
        if not isinstance(callbacks, (list, tuple)):
            raise TypeError(
                f"callbacks must be a list, got {type(callbacks).__name__}: type callbacks=[...]"
            )
        for n, callback in enumerate(callbacks):
            if isinstance(callback, type) or not any(hasattr(callback, hook) for hook in _HOOKS):
                told = f": type {callback.__name__}(...)" if isinstance(callback, type) else ""
                raise TypeError(
                    f"callbacks[{n}] must be an object with one of {', '.join(_HOOKS)}, "
                    f"got {check.shown(callback)}{told}"
                )
        first = [] if early_stopping is None else [early_stopping]
        self.callbacks = [*first, *callbacks]
        self.model = model

    def __call__(self, hook: str, *values: Any) -> None:
        """Call a method of every callback that has it."""
        for callback in self.callbacks:
            method = getattr(callback, hook, None)
            if method is not None:
                method(*values)

    def begin(self) -> None:
        """Call `set_model` of every callback."""
        for callback in self.callbacks:
            if hasattr(callback, "set_model"):
                callback.set_model(self.model)

    def end(self) -> None:
        """Call `on_train_end` of every callback, and then raise the first error of theirs."""
        first: BaseException | None = None
        for callback in self.callbacks:
            try:
                if hasattr(callback, "on_train_end"):
                    callback.on_train_end()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first
