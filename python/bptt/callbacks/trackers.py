"""Callbacks that give the numbers of every epoch to trackers, over each tracker's own client."""

from __future__ import annotations

import os
import sys
from typing import Any

from bptt._history.steps import Steps
from bptt._support import check
from bptt._support.entry import entry
from bptt._support.extras import require
from bptt.callbacks.base import Callback, Logs
from bptt.layers._files import path_of


@entry
class TensorBoard(Callback):
    """Write the numbers of every epoch for TensorBoard. Needs the package tensorboard.

    As in Keras, `log_dir` has the runs "training" and "validation", in which a number has the same
    name, such as "loss": TensorBoard draws both in one plot. The learning rate "lr" is in
    "training". Epochs count from 1. ``tensorboard --logdir LOG_DIR`` shows them. Neither TensorFlow
    nor torch is needed.

    Parameters
    ----------
    log_dir : str or path
        The directory, which is made if there is none. Use a new one for each training: TensorBoard
        shows all that is in it.
    steps : bool, default False
        Whether to write the numbers of `Steps`, too: "step/loss", "step/gradient_norm" and
        "step/lr" for each step of the optimiser, after every epoch.

    Raises
    ------
    ImportError
        If tensorboard is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str], steps: bool = False) -> None:
        self.log_dir = os.fspath(path_of(log_dir))
        self.steps = check.flag("steps", steps)
        require("tensorboard", "track")
        self._writers: dict[str, Any] = {}
        self._written = 0  # the number of the last step

    def on_train_begin(self) -> None:
        """Leave out the steps that a checkpoint has: they were written before."""
        steps = self._steps().step
        self._written = int(steps[-1]) if len(steps) else 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the numbers of the epoch."""
        for name, value in logs.items():
            of_validation = name.startswith("validation_")
            writer = self._writer("validation" if of_validation else "training")
            writer.add_scalar(name.removeprefix("validation_"), value, epoch + 1)
        if self.steps:
            self._write_steps()
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _write_steps(self) -> None:
        steps, writer = self._steps(), self._writer("training")
        numbers = {"loss": steps.loss, "gradient_norm": steps.gradient_norm, "lr": steps.lr}
        at = steps.step
        for n in range(int((at <= self._written).sum()), len(at)):
            for name, values in numbers.items():
                writer.add_scalar(f"step/{name}", values[n], at[n])
            self._written = int(at[n])

    def _steps(self) -> Steps:
        history = self.model.history
        return Steps() if history is None else history.steps

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            summary = require("tensorboard.summary", "track")
            self._writers[run] = summary.Writer(os.path.join(self.log_dir, run))
        return self._writers[run]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_writers": {}}  # open files have no copies


@entry
class MLflow(Callback):
    """Log the numbers of every epoch to MLflow. Needs the package mlflow or mlflow-skinny.

    They go to the active run; without one, every `fit` starts a run and ends it, as failed after an
    error and as killed after Ctrl-C. Names are those of the history; a number's step is its epoch,
    counted from 1. ``mlflow.set_tracking_uri`` and ``mlflow.set_experiment`` say where runs are.

    Parameters
    ----------
    **run
        Arguments of ``mlflow.start_run``, such as ``run_name`` or ``tags``.

    Raises
    ------
    ImportError
        If mlflow is not installed.
    """

    def __init__(self, **run: Any) -> None:
        self.run = run
        require("mlflow", "track")
        self._started = False

    def on_train_begin(self) -> None:
        """Start a run, unless one is active."""
        mlflow = require("mlflow", "track")
        if mlflow.active_run() is None:
            mlflow.start_run(**self.run)
            self._started = True

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Log the numbers of the epoch."""
        require("mlflow", "track").log_metrics(logs, step=epoch + 1)

    def on_train_end(self) -> None:
        """End the run that `on_train_begin` started."""
        if self._started:
            self._started = False
            status = "FAILED" if _failed() else "KILLED" if self._interrupted() else "FINISHED"
            require("mlflow", "track").end_run(status)

    def _interrupted(self) -> bool:
        return self.model.history is not None and self.model.history.interrupted


@entry
class WandB(Callback):
    """Log the numbers of every epoch to Weights & Biases. Needs the package wandb.

    They go to the active run; without one, every `fit` starts a run and finishes it, as failed
    after an error. Names are those of the history; "epoch", counted from 1, is the x axis of their
    plots. With ``mode="offline"`` or the environment variable WANDB_MODE=offline, nothing is sent.

    Parameters
    ----------
    **run
        Arguments of ``wandb.init``, such as ``project``, ``name``, ``config`` or ``mode``.

    Raises
    ------
    ImportError
        If wandb is not installed.
    """

    def __init__(self, **run: Any) -> None:
        self.run = run
        require("wandb", "track")
        self._started = False

    def on_train_begin(self) -> None:
        """Start a run, unless one is active."""
        wandb = require("wandb", "track")
        if wandb.run is None:
            wandb.init(**self.run)
            self._started = True

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Log the numbers of the epoch."""
        run = require("wandb", "track").run
        for name in logs:
            run.define_metric(name, step_metric="epoch")
        run.log({"epoch": epoch + 1, **logs})

    def on_train_end(self) -> None:
        """Finish the run that `on_train_begin` started."""
        if self._started:
            self._started = False
            require("wandb", "track").run.finish(exit_code=int(_failed()))


def _failed() -> bool:
    """Tell whether an error is ending `fit`: `on_train_end` runs while it is handled."""
    return sys.exception() is not None
