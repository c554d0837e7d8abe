"""`Calls`: what `fit` tells its callbacks, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._history.steps import NAMES
from bptt._support import check
from bptt.callbacks.base import Callback, TrainedModel
from bptt.callbacks.early_stopping import EarlyStopping

_STEP_HOOKS = ("on_train_batch_begin", "on_train_batch_end")
_HOOKS = ("on_train_begin", "on_epoch_begin", *_STEP_HOOKS, "on_epoch_end", "on_train_end")


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
        #: Whether a callback has a hook for the steps, so that training stops after each.
        self.each_step = any(_has_step_hooks(callback) for callback in self.callbacks)
        self._batch, self._begun = 0, False

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

    def begin_steps(self) -> None:
        """Count the steps of a new epoch."""
        self._batch, self._begun = 0, False

    def before_step(self) -> None:
        """Call `on_train_batch_begin`, once before every step of the optimiser."""
        if self.each_step and not self._begun:
            self._begun = True
            self("on_train_batch_begin", self._batch)

    def after_steps(self, steps: NDArray[np.float64]) -> None:
        """Call `on_train_batch_end` for these steps, of which there is one at most."""
        if self.each_step:
            for step in steps.tolist():
                self._begun = False
                self("on_train_batch_end", self._batch, dict(zip(NAMES, step)))
                self._batch += 1

    def stop_after_step(self) -> bool:
        """Tell whether a callback that sees every step has stopped training."""
        return self.each_step and self.model.stop_training

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


def _has_step_hooks(callback: object) -> bool:
    """Tell whether a callback has a hook for steps that does something."""
    for hook in _STEP_HOOKS:
        method = getattr(callback, hook, None)
        if method is not None and getattr(method, "__func__", None) is not getattr(Callback, hook):
            return True
    return False
