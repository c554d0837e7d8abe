"""A training run: the loop of `Sequential.fit` over the epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from bptt._core import Progress
from bptt._data.sources import Iterated, Piece, Source
from bptt._support.check import shown
from bptt._training.checkpoint import Checkpoint, Saved
from bptt._training.display import Display, training_display
from bptt._training.evaluate import evaluate
from bptt._training.metrics import metrics_of
from bptt._training.rates import Rates
from bptt._training.settings import Settings
from bptt._training.state import (
    Array,
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
        self._done, self._trained = 0, training.epochs
        self._batches = source.batches(settings.batch_size)  # of an epoch, if that is known
        self.history = History(loss_name=settings.loss.name)
        self.stopped, self.kept = False, training.copy()

    def prepare(self, file: Checkpoint | None, resume: bool) -> None:
        """Resume from the file, if requested, and plan the learning rates."""
        self._file = file
        saved = file.read() if resume and file is not None else None
        if self._settings.epochs > (0 if saved is None else saved.epochs):
            for source in (self._source, self._validation):
                if isinstance(source, Iterated):
                    source.begin()  # what does not fit is found before anything changes
        if saved is None:
            self._plan()
            self._trainer.set_seed(self._stack.draw_seed())
        else:
            with self._callbacks_unchanged_by_errors():
                self._resume(saved)
        self._remember()

    def _plan(self) -> None:
        self._left = max(self._settings.epochs - self._done, 0)
        steps = self._settings.steps_of_run(self._source, self._left)
        self._rates = Rates(self._trainer, self._training, steps)

    def _resume(self, saved: Saved) -> None:
        """Go on from a checkpoint. What the user has changes last, when nothing can fail."""
        self._calls.begin()
        *parts, order = self._parts().items()
        saved.check_names([name for name, _ in (*parts, order)])
        for name, part in parts:
            saved.restore(name, part)
        if len(self.history.loss) != saved.epochs:
            raise saved.unfit(
                f"is of epoch {saved.epochs}, but has {len(self.history.loss)} losses"
            )
        self._done, self._trained = saved.epochs, 0  # what this model learnt before is replaced
        self._plan()
        saved.restore(*order)
        self._stack.load_state_dict(saved.stack.state_dict())
        self._trainer.read_params()
        self._training.moments = self._trainer.optimizer_state()

    @contextmanager
    def _callbacks_unchanged_by_errors(self) -> Iterator[None]:
        kept = [
            vars(callback) for callback in self._calls.callbacks if hasattr(callback, "__dict__")
        ]
        before = [dict(attributes) for attributes in kept]
        try:
            yield
        except BaseException:
            for attributes, those in zip(kept, before):
                attributes.clear()
                attributes.update(those)
            raise

    def _parts(self) -> dict[str, Resumable]:
        """Return all objects with a state, by their names in a checkpoint; the order is last."""
        metrics, validated = self._settings.metrics, self._validation is not None
        parts: dict[str, Resumable] = {
            "trainer": TrainerState(self._trainer),
            "history": HistoryState(self.history, metrics, validated),
            "schedule": ScheduleState(self._training),
            "run": self,
        }
        for n, callback in enumerate(self._calls.callbacks):
            if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
                parts[f"callbacks.{n}"] = callback
        return parts | {"order": self._order}

    def state_dict(self) -> dict[str, Any]:
        """Return whether a callback has stopped the run."""
        return {"stopped": self._calls.model.stop_training}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore whether the run was stopped."""
        if not isinstance(state, dict) or [*map(type, state.values())] != [bool]:
            raise ValueError(f"stopped must be True or False, got {shown(state)}")
        self.stopped = state["stopped"]

    def _keep(self) -> bool:
        """Copy the parameters to the layers if all are finite; tell whether they are."""
        if not self._trainer.write_params():
            return False
        self._training.moments = self._trainer.optimizer_state()
        self._remember()
        return True

    def _remember(self) -> None:
        self.kept.moments = self._training.moments
        self.kept.epochs = self._trained + len(self.history.loss)
        self.kept.schedule_state = dict(self._training.schedule_state)

    def _call(self, hook: str, *values: Any) -> None:
        if self._calls.callbacks:
            self._calls(hook, *values)
            self._trainer.read_params()

    def __call__(self) -> History:
        """Train."""
        start = time.perf_counter() - self.history.seconds
        epochs, wanted = self._settings.epochs, self._settings.progress
        with training_display(self.history, epochs, wanted, self._trained) as display:
            try:
                self._epochs(start, display)
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell
                    self._calls.end()
                raise
            finally:
                self._keep_steps()  # those of a call that Ctrl-C or an error ended
                self.history.seconds = time.perf_counter() - start
        self._calls.end()
        return self.history

    def _epochs(self, start: float, display: Display) -> None:
        model, settings, history = self._calls.model, self._settings, self.history
        try:
            self._calls.begin()
            self._call("on_train_begin")
            for epoch in range(self._done, settings.epochs):
                if model.stop_training:
                    break
                self._epoch(epoch, display)
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

    def _epoch(self, epoch: int, display: Display) -> None:
        trainer, history, rates = self._trainer, self.history, self._rates
        names = self._settings.metrics
        self._call("on_epoch_begin", epoch)
        rate = rates.ahead()[0]
        mean, last = self._train_epoch(display)
        validated = {}
        if self._validation is not None and math.isfinite(mean):
            # Before the layers get the parameters: bad data leave those from before the epoch.
            validated["validation_loss"] = evaluate(
                trainer, self._validation, self._teller(display)
            )
            for name, value in metrics_of(names, trainer.take_metrics(True)).items():
                validated[f"validation_{name}"] = value
        if not (math.isfinite(mean) and self._keep()):
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}, mean loss {mean:g}: {self._cause(last)}. "
                "The layers keep the parameters from before the epoch, or those that EarlyStopping "
                "restores.",
                history,
            )
        logs = {"loss": mean}
        if self._validation is not None:
            logs["validation_loss"] = validated.pop("validation_loss")
        logs |= metrics_of(names, trainer.take_metrics(False)) | validated
        history._append(logs, rate)
        rates.after_epoch(logs)
        self._remember()
        self._call("on_epoch_end", epoch, logs | {"lr": rate})
        display.advance()

    def _teller(self, display: Display) -> Callable[[int], None]:
        """Return what shows how far a validation is."""
        assert self._validation is not None
        lengths = self._validation.lengths
        total = None if lengths is None else len(lengths)
        return lambda done: display.validating(done, total)

    def _cause(self, last: Piece) -> str:
        """Return why training diverged, or what may help. `last` are the data of the last step."""
        if (fault := last.data.not_finite()) is not None:
            return fault
        for name, array in self._stack.state_dict().items():
            if not np.isfinite(array).all():
                return f"the parameter {name} was NaN or infinite before"
        help_ = "try a smaller learning rate or clip_norm"
        all_lengths = self._source.lengths
        seen = all_lengths is not None and len(last.data.lengths) == len(all_lengths)
        if self._settings.check_finite or seen:
            return help_
        return f"earlier batches may hold NaN or infinity, as check_finite=True shows; or {help_}"

    def _train_epoch(self, display: Display) -> tuple[float, Piece]:
        """Train one epoch and return the mean loss of its steps, and the data of the last."""
        trainer, source, rates, settings = self._trainer, self._source, self._rates, self._settings
        done_before, batches, loss, count, counts = 0, 0, 0.0, 0.0, False
        calls, stopped, first = self._calls, False, (0.0, 0)
        calls.begin_steps()
        for piece in source.pieces(self._order.next(), settings.batch_size):
            rates.set(settings.steps_of(piece))
            progress = Progress(batches=batches, loss_sum=loss, count=count)
            while progress.done < len(piece.order) and not stopped:
                calls.before_step()
                seconds = 0.0 if calls.each_step else piece.slice
                progress = trainer.train(
                    piece.data.core, piece.order, piece.batch_size, progress, seconds
                )
                if piece.release is not None:
                    piece.release()
                taken = self._keep_steps()
                calls.after_steps(taken)
                stopped = calls.stop_after_step() and not progress.steps and progress.count > 0
                if progress.diverged:
                    return math.nan, piece
                done = done_before + _sequences_done(progress, piece)
                told = progress.loss_sum, progress.count
                if not progress.count:  # inside the first batch there are losses of chunks
                    losses = taken[np.isfinite(taken[:, 0]), 0]
                    told = first = (first[0] + float(losses.sum()), first[1] + len(losses))
                display.within(self._fraction(done, progress), *told)
            done_before += progress.done
            counts |= piece.data.counts
            batches, loss, count = progress.batches, progress.loss_sum, progress.count
            rates.after_steps()
            if stopped:
                break
        if not counts or count == 0:  # the latter if targets have changed
            raise ValueError(
                "all targets are ignored, or have weight 0: there is nothing to train on"
            )
        trainer.finish_epoch()
        calls.after_steps(self._keep_steps())
        rates.after_steps()
        self._batches = batches
        return loss / count, piece

    def _keep_steps(self) -> Array:
        """Add the optimiser's steps of the last call of the core to the history; return them."""
        steps = self._trainer.take_steps()
        self.history.steps._extend(steps)
        return steps

    def _fraction(self, sequences: float, progress: Progress) -> float | None:
        """Return how much of the epoch is done, if its length is known, also from the last one."""
        if self._source.lengths is not None:
            return sequences / len(self._source.lengths)
        return min(progress.batches / self._batches, 1.0) if self._batches else None


def _sequences_done(progress: Progress, piece: Piece) -> float:
    """Return how many sequences of a piece are done, the current batch by its steps."""
    if not progress.steps:
        return float(progress.done)
    batch = piece.data.lengths[piece.order[progress.done : progress.done + piece.batch_size]]
    return float(progress.done + len(batch) * progress.steps / batch.max())
