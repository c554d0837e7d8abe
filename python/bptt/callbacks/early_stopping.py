"""`EarlyStopping`: training ends when a number no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bptt._support import check
from bptt._support.entry import entry
from bptt.callbacks.base import Logs, Monitor, epoch_of
from bptt.history import History


@entry
class EarlyStopping(Monitor):
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
        super().__init__(monitor, mode)
        self.restore_best_weights = check.flag("restore_best_weights", restore_best_weights)
        self._seen = 0  # epochs

    def on_train_begin(self) -> None:
        """Forget the previous training, unless this one resumes it from a checkpoint."""
        super().on_train_begin()
        self._seen = len(self._history().loss)

    def _forget(self) -> None:
        super()._forget()
        self.stopped_epoch: int | None = None
        self._weights: dict[str, Any] | None = None
        self._wait = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare the epoch with the best one."""
        now = self._now(logs)
        if self._improves(now, self.min_delta):
            # In this order, so that Ctrl-C never leaves a number without its parameters.
            weights = self.model.state_dict() if self.restore_best_weights else None
            self.best, self.best_epoch, self._wait, self._weights = now, epoch, 0, weights
        else:
            self._wait += 1
            if self._wait >= self.patience:
                self.stopped_epoch = epoch
                self.model.stop_training = True
        self._seen = epoch + 1

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
        best, best_epoch = self._checked(state, set(self.state_dict()))
        wait, stopped = check.size("wait", state["wait"], least=0), epoch_of(state, "stopped_epoch")
        weights = state["weights"]
        if weights is not None:
            self._check_weights(weights)
        self.best, self._wait = best, wait
        self._weights = None if weights is None else dict(weights)
        self.best_epoch, self.stopped_epoch = best_epoch, stopped
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
        """Compare the last epoch, if an error or Ctrl-C came before its `on_epoch_end`."""
        history = self._history()
        if len(history.loss) > self._seen:
            self.on_epoch_end(len(history.loss) - 1, history._last())
