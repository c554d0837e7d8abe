"""The loop of `Sequential.fit`: epochs, evaluations, and what is set and told between them."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt import _core
from bptt._checkpoint import (
    Checkpoint,
    HistoryState,
    Order,
    Part,
    ScheduleState,
    TrainerState,
)
from bptt._evaluate import evaluate
from bptt._metrics import metrics_of
from bptt._progress import Bar, progress_bar
from bptt._sources import Piece, Source
from bptt.callbacks import Calls, EarlyStopping
from bptt.history import DivergedError, History
from bptt.optimizers import Optimizer
from bptt.schedules import Rate, Schedule

if TYPE_CHECKING:
    from bptt.model import Sequential

Array = NDArray[Any]
Lengths = NDArray[np.int64]


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


def check_stateful(shuffle: bool, batch_size: int, lengths: Lengths | None) -> None:
    """Refuse settings with which rows of a batch cannot go on from those of the batch before."""
    if lengths is None:
        return  # of batches that come one by one, the core sees it
    if shuffle:
        raise ValueError(
            "stateful=True carries the states of every batch into the next one, so their order "
            "must stay: it needs shuffle=False"
        )
    count = len(lengths)
    if batch_size < count and count % batch_size:
        raise ValueError(
            "stateful=True carries the state of every row into the next batch, so batch_size must "
            f"divide the number of sequences: got batch_size {batch_size} for {count} sequences"
        )
    if lengths.min() < lengths.max():
        raise ValueError(
            f"stateful=True needs sequences of one length, got {lengths.min()} to {lengths.max()} "
            "steps: cut them to one length, or use tbptt without stateful"
        )


def check_monitors(watchers: list[Any], metrics: list[str], validation: bool) -> None:
    """See whether what is watched will be there."""
    names = ["loss", *metrics]
    names += [f"validation_{name}" for name in names] if validation else []
    for watcher in watchers:
        monitor = getattr(watcher, "monitor", None)
        if isinstance(watcher, (Schedule, EarlyStopping)) and monitor not in (None, *names):
            raise ValueError(
                f"{type(watcher).__name__} has monitor={monitor!r}, but fit has only "
                f"{', '.join(names)}: name it in metrics, or give validation data"
            )


class Rates:
    """The schedule of a run: gives the trainer the rates of the coming steps."""

    def __init__(self, trainer: _core.Trainer, training: Training, steps: int | None) -> None:
        """Take the steps of all the run, if they are known."""
        self._trainer, self._training = trainer, training
        self._taken = trainer.optimizer_steps
        schedule = training.schedule
        if schedule is not None:
            schedule._plan(training.schedule_state, steps)
            self.set(1)  # refused here, if at all

    def ahead(self, step: int = 0) -> Rate:
        """Return the rate so many steps from here."""
        schedule, lr = self._training.schedule, float(self._training.optimizer.lr)
        if schedule is None:
            return lr, None
        return schedule._rate(self._training.schedule_state, lr, step)

    def set(self, steps: int) -> None:
        """Set the rates of the coming steps."""
        schedule = self._training.schedule
        if schedule is not None:
            count = steps if schedule.per == "step" else 1
            self._trainer.set_rates([self.ahead(step) for step in range(count)])

    def after_steps(self) -> None:
        """Go on by the steps that were taken."""
        taken, self._taken = (
            self._trainer.optimizer_steps - self._taken,
            self._trainer.optimizer_steps,
        )
        schedule = self._training.schedule
        if schedule is not None and schedule.per == "step":
            schedule._step(self._training.schedule_state, {}, taken)

    def after_epoch(self, logs: dict[str, float]) -> None:
        """Go on by an epoch."""
        schedule = self._training.schedule
        if schedule is not None and schedule.per == "epoch":
            schedule._step(self._training.schedule_state, logs)


@dataclass
class Settings:
    """Those of `fit` that its loop needs."""

    epochs: int
    batch_size: int
    shuffle: bool
    tbptt: int | None
    accumulate: int
    metrics: list[str]
    progress: bool

    def steps_of(self, piece: Piece) -> int:
        """Return how many steps of the optimiser a piece takes, at most."""
        if self.tbptt is None:
            return -(-len(piece.order) // (piece.batch_size * self.accumulate))
        lengths, size = piece.lengths[piece.order], piece.batch_size
        longest = [lengths[n : n + size].max() for n in range(0, len(lengths), size)]
        return int(sum(-(-length // self.tbptt) for length in longest))

    def steps_of_run(self, source: Source, epochs: int) -> int | None:
        """Return how many steps of the optimiser the run takes, if that is known beforehand."""
        batches = source.batches(self.batch_size)
        if batches is None:
            return None
        chunks = 1
        if self.tbptt is not None:
            lengths = source.lengths
            if lengths is None or lengths.min() < lengths.max():
                return None
            chunks = -(-int(lengths[0]) // self.tbptt)
        return epochs * -(-batches * chunks // self.accumulate)


class Run:
    """A training run; what the model keeps goes along epoch by epoch."""

    def __init__(
        self,
        model: Sequential,
        trainer: _core.Trainer,
        training: Training,
        source: Source,
        validation: Source | None,
        calls: Calls,
        generator: np.random.Generator,
        settings: Settings,
        file: Checkpoint | None,
    ) -> None:
        self._model, self._trainer, self._training = model, trainer, training
        self._source, self._validation = source, validation
        self._calls, self._settings, self._file = calls, settings, file
        self._history, self._done, self._stopped = History(), 0, False
        count = None if source.lengths is None else len(source.lengths)
        self._order = Order(count, generator if settings.shuffle else None)
        if training.moments is not None:
            trainer.restore_optimizer(*training.moments)
        if training.schedule is not None and not training.schedule_state:
            training.schedule_state = training.schedule._start(float(training.optimizer.lr))

    def _parts(self) -> dict[str, Part]:
        """Return all that has a state."""
        parts: dict[str, Part] = {
            "trainer": TrainerState(self._trainer),
            "order": self._order,
            "history": HistoryState(self._history),
            "schedule": ScheduleState(self._training),
            "run": self,
        }
        for n, callback in enumerate(self._calls.callbacks):
            if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
                parts[f"callbacks.{n}"] = callback
        return parts

    def state_dict(self) -> dict[str, Any]:
        """Return whether a callback has stopped the run."""
        return {"stopped": self._model.stop_training}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be stopped if the run was."""
        self._stopped = bool(state["stopped"])

    def resume(self) -> None:
        """Go on where the checkpoint is, if there is one."""
        assert self._file is not None
        saved = self._file.read(self._model)
        if saved is None:
            return
        # Of what was before, there is nothing left; the moments are the checkpoint's.
        saved.restore(self._parts())
        self._model.load_state_dict(saved.model.state_dict())
        self._trainer.read_params(self._flat())
        self._training.moments = self._trainer.optimizer_state()
        self._done = saved.epochs

    def _flat(self) -> list[Array]:
        return [layer._flat for layer in self._model._trained]

    def _keep(self) -> bool:
        """Copy what was learnt to the layers and the model, unless some of it is not finite."""
        if not self._trainer.write_params(self._flat()):
            return False
        self._training.moments = self._trainer.optimizer_state()
        self._remember()
        return True

    def _remember(self) -> None:
        kept = copy.copy(self._training)
        kept.schedule_state = dict(kept.schedule_state)
        self._model._training = kept

    def _call(self, hook: str, *values: Any) -> None:
        if self._calls.callbacks:
            self._calls(hook, *values)
            self._trainer.read_params(self._flat())

    def __call__(self) -> History:
        """Train."""
        model, settings, history = self._model, self._settings, self._history
        left = max(settings.epochs - self._done, 0)
        rates = Rates(self._trainer, self._training, settings.steps_of_run(self._source, left))
        if self._done == 0:
            self._trainer.set_seed(sum(layer._seed() for layer in model.layers) % 2**64)
        model.history, model.stop_training = history, self._stopped
        self._remember()
        start = time.perf_counter() - history.seconds
        try:
            with progress_bar(left, settings.progress) as bar:
                self._call("on_train_begin")
                for epoch in range(self._done, settings.epochs):
                    if model.stop_training:
                        break
                    self._epoch(epoch, rates, bar)
                    if self._file is not None and (
                        epoch + 1 == settings.epochs
                        or model.stop_training
                        or self._file.is_due(epoch + 1)
                    ):
                        history.seconds = time.perf_counter() - start
                        self._file.write(model, epoch + 1, self._parts())
        except KeyboardInterrupt:
            rates.after_steps()
            self._keep()
            history.interrupted = True
        finally:
            history.seconds = time.perf_counter() - start
        self._calls("on_train_end")
        return history

    def _epoch(self, epoch: int, rates: Rates, bar: Bar) -> None:
        trainer, history, names = self._trainer, self._history, self._settings.metrics
        self._call("on_epoch_begin", epoch)
        rate = rates.ahead()[0]
        mean = train_epoch(trainer, self._source, self._order.next(), rates, self._settings, bar)
        if not (math.isfinite(mean) and self._keep()):
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}, mean loss {mean:g}; the layers keep the "
                "parameters from before that epoch. A smaller learning rate or clip_norm may help.",
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
        bar.advance(history)
        self._call("on_epoch_end", epoch, logs | {"lr": rate})


def train_epoch(
    trainer: _core.Trainer,
    source: Source,
    order: NDArray[np.uint64] | None,
    rates: Rates,
    settings: Settings,
    bar: Bar,
) -> float:
    """Train one epoch, coming back to Python now and then; return the mean loss of its steps."""
    done_before, batches, loss, count = 0, 0, 0.0, 0.0
    for piece in source.pieces(order, settings.batch_size):
        rates.set(settings.steps_of(piece))
        progress = (0, 0, batches, loss, count, False)
        while progress[0] < len(piece.order):
            progress = trainer.train(
                piece.core, piece.order, piece.batch_size, progress, piece.slice
            )
            if piece.release is not None:
                piece.release()
            done, steps, batches, loss, count, diverged = progress
            if diverged:
                return math.nan
            if source.lengths is not None:
                batch: Any = piece.lengths[piece.order[done : done + piece.batch_size]]
                within = len(batch) * steps / batch.max() if steps else 0.0
                bar.within((done_before + done + within) / len(source.lengths))
        done_before += progress[0]
        rates.after_steps()
    trainer.finish_epoch()
    rates.after_steps()
    return loss / count if count else 0.0
