"""A training run: the loop of `Sequential.fit` over the epochs."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

from bptt._core import Progress
from bptt._data.sources import Piece, Source
from bptt._support.progress import Bar, progress_bar
from bptt._training.checkpoint import Checkpoint
from bptt._training.evaluate import evaluate
from bptt._training.metrics import metrics_of
from bptt._training.rates import Rates
from bptt._training.settings import Settings
from bptt._training.state import (
    HistoryState,
    Order,
    Resumable,
    ScheduleState,
    TrainerState,
    Training,
)
from bptt._training.trainer import trainer_of
from bptt.callbacks import Calls
from bptt.history import DivergedError, History
from bptt.layers._stack import Stack


class Run:
    """A training run. First `prepare` it, then call it to train.

    Attributes
    ----------
    history : History
        The losses so far.
    stopped : bool
        Whether a callback had stopped the run that this one resumes.
    kept : Training
        The state after the last good epoch, for the model to keep. The run updates it in place.
    """

    def __init__(
        self,
        stack: Stack,
        settings: Settings,
        training: Training,
        source: Source,
        validation: Source | None,
        calls: Calls,
    ) -> None:
        self._stack, self._settings, self._training = stack, settings, training
        self._source, self._validation, self._calls = source, validation, calls
        self._trainer = trainer_of(
            stack,
            settings.loss,
            training.optimizer,
            metrics=settings.metrics,
            clip_norm=settings.clip_norm,
            tbptt=settings.tbptt,
            stateful=settings.stateful,
            accumulate=settings.accumulate,
        )
        if not all(flat.flags.writeable for flat in stack.flat_parameters()):
            raise ValueError("the parameters of a layer are read-only: copy the model to train it")
        count = None if source.lengths is None else len(source.lengths)
        self._order = Order(count, settings.rng if settings.shuffle else None)
        if training.moments is not None:
            self._trainer.restore_optimizer(*training.moments)
        if training.schedule is not None and not training.schedule_state:
            training.schedule_state = training.schedule._start(float(training.optimizer.lr))
        self._done = 0  # epochs
        self.history, self.stopped, self.kept = History(), False, training.copy()

    def prepare(self, file: Checkpoint | None, resume: bool) -> None:
        """Resume from the file, if requested, and plan the learning rates."""
        self._file = file
        if resume and file is not None:
            self._resume(file)
        self._left = max(self._settings.epochs - self._done, 0)
        steps = self._settings.steps_of_run(self._source, self._left)
        self._rates = Rates(self._trainer, self._training, steps)
        if self._done == 0:
            self._trainer.set_seed(self._stack.draw_seed())
        self._remember()

    def _resume(self, file: Checkpoint) -> None:
        saved = file.read(self._stack)
        if saved is None:
            return  # there is no file yet
        saved.restore(self._parts())
        self._stack.load_state_dict(saved.stack.state_dict())
        self._trainer.read_params(self._stack.flat_parameters())
        self._training.moments = self._trainer.optimizer_state()
        self._done = saved.epochs

    def _parts(self) -> dict[str, Resumable]:
        """Return all objects with a state, by their names in a checkpoint."""
        parts: dict[str, Resumable] = {
            "trainer": TrainerState(self._trainer),
            "order": self._order,
            "history": HistoryState(self.history),
            "schedule": ScheduleState(self._training),
            "run": self,
        }
        for n, callback in enumerate(self._calls.callbacks):
            if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
                parts[f"callbacks.{n}"] = callback
        return parts

    def state_dict(self) -> dict[str, Any]:
        """Return whether a callback has stopped the run."""
        return {"stopped": self._calls.model.stop_training}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore whether the run was stopped."""
        self.stopped = bool(state["stopped"])

    def _keep(self) -> bool:
        """Copy the parameters to the layers if all are finite; tell whether they are."""
        if not self._trainer.write_params(self._stack.flat_parameters()):
            return False
        self._training.moments = self._trainer.optimizer_state()
        self._remember()
        return True

    def _remember(self) -> None:
        self.kept.moments = self._training.moments
        self.kept.schedule_state = dict(self._training.schedule_state)

    def _call(self, hook: str, *values: Any) -> None:
        if self._calls.callbacks:
            self._calls(hook, *values)
            self._trainer.read_params(self._stack.flat_parameters())

    def __call__(self) -> History:
        """Train."""
        start = time.perf_counter() - self.history.seconds
        try:
            self._epochs(start)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                self._calls.end()
            raise
        finally:
            self.history.seconds = time.perf_counter() - start
        self._calls.end()
        return self.history

    def _epochs(self, start: float) -> None:
        model, settings, history = self._calls.model, self._settings, self.history
        try:
            with progress_bar(self._left, settings.progress) as bar:
                self._calls.begin()
                self._call("on_train_begin")
                for epoch in range(self._done, settings.epochs):
                    if model.stop_training:
                        break
                    self._epoch(epoch, bar)
                    if self._file is not None and (
                        epoch + 1 == settings.epochs
                        or model.stop_training
                        or self._file.is_due(epoch + 1)
                    ):
                        history.seconds = time.perf_counter() - start
                        self._file.write(self._stack, epoch + 1, self._parts())
        except KeyboardInterrupt:
            self._rates.after_steps()
            self._keep()
            history.interrupted = True

    def _epoch(self, epoch: int, bar: Bar) -> None:
        trainer, history, rates = self._trainer, self.history, self._rates
        names = self._settings.metrics
        self._call("on_epoch_begin", epoch)
        rate = rates.ahead()[0]
        mean = self._train_epoch(bar)
        if not (math.isfinite(mean) and self._keep()):
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}, mean loss {mean:g}: try a smaller "
                "learning rate or clip_norm. The layers keep the parameters from before the epoch, "
                "or those that EarlyStopping restores.",
                history,
            )
        logs = {"loss": mean}
        told = metrics_of(names, trainer.take_metrics(False))
        if self._validation is not None:
            logs["validation_loss"] = evaluate(trainer, self._validation)
            for name, value in metrics_of(names, trainer.take_metrics(True)).items():
                told[f"validation_{name}"] = value
        logs |= told
        history._append(logs, rate)
        rates.after_epoch(logs)
        self._remember()
        bar.advance(mean, logs.get("validation_loss"))
        self._call("on_epoch_end", epoch, logs | {"lr": rate})

    def _train_epoch(self, bar: Bar) -> float:
        """Train one epoch and return the mean loss of its steps."""
        trainer, source, rates, settings = self._trainer, self._source, self._rates, self._settings
        done_before, batches, loss, count = 0, 0, 0.0, 0.0
        for piece in source.pieces(self._order.next(), settings.batch_size):
            rates.set(settings.steps_of(piece))
            progress = Progress(batches=batches, loss_sum=loss, count=count)
            while progress.done < len(piece.order):
                progress = trainer.train(
                    piece.core, piece.order, piece.batch_size, progress, piece.slice
                )
                if piece.release is not None:
                    piece.release()
                if progress.diverged:
                    return math.nan
                if source.lengths is not None:
                    done = done_before + _sequences_done(progress, piece)
                    bar.within(done / len(source.lengths))
            done_before += progress.done
            batches, loss, count = progress.batches, progress.loss_sum, progress.count
            rates.after_steps()
        trainer.finish_epoch()
        rates.after_steps()
        return loss / count if count else 0.0


def _sequences_done(progress: Progress, piece: Piece) -> float:
    """Return how many sequences of a piece are done, the current batch by its steps."""
    if not progress.steps:
        return float(progress.done)
    batch = piece.lengths[piece.order[progress.done : progress.done + piece.batch_size]]
    return float(progress.done + len(batch) * progress.steps / batch.max())
