"""The loop of `Sequential.fit`: epochs, evaluations, and what is set and told between them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt import _core
from bptt._progress import Bar, progress_bar
from bptt._sources import Part, Source
from bptt.callbacks import Calls, EarlyStopping
from bptt.history import DivergedError, History
from bptt.optimizers import Optimizer
from bptt.schedules import Rate, Schedule

if TYPE_CHECKING:
    from bptt.model import Sequential

Array = NDArray[Any]
Lengths = NDArray[np.int64]


def perplexity(cross_entropy: float) -> float:
    """Return its exponential."""
    return math.exp(cross_entropy) if cross_entropy < 700 else math.inf


#: Metrics: the core's mean, what is made of it, and the losses it goes with.
METRICS: dict[str, tuple[str, Callable[[float], float], tuple[str, ...]]] = {
    "accuracy": ("accuracy", float, ("cross_entropy", "bce_with_logits")),
    "perplexity": ("cross_entropy", perplexity, ("cross_entropy",)),
    "rmse": ("squared_error", math.sqrt, ("mse", "mae", "huber")),
}


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


def check_metrics(metrics: object, loss: str) -> list[str]:
    """Return the names of metrics that go with a loss."""
    if isinstance(metrics, str) or not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics must be a list of names, got {metrics!r}")
    for name in metrics:
        if not isinstance(name, str) or name not in METRICS:
            raise ValueError(f"there is no metric {name!r}: there are {', '.join(METRICS)}")
        if loss not in METRICS[name][2]:
            raise ValueError(
                f"metric {name!r} goes with the losses {', '.join(METRICS[name][2])}, "
                f"not with {loss}"
            )
    return list(metrics)


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
        schedule, lr = training.schedule, float(training.optimizer.lr)
        if schedule is not None:
            if not training.schedule_state:
                training.schedule_state = schedule._start(lr)
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

    def steps_of(self, part: Part) -> int:
        """Return how many steps of the optimiser a part takes, at most."""
        if self.tbptt is None:
            return -(-len(part.order) // (part.batch_size * self.accumulate))
        lengths, size = part.lengths[part.order], part.batch_size
        longest = [lengths[n : n + size].max() for n in range(0, len(lengths), size)]
        return int(sum(-(-length // self.tbptt) for length in longest))

    def steps_of_run(self, source: Source) -> int | None:
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
        return self.epochs * -(-batches * chunks // self.accumulate)


def run(
    model: Sequential,
    trainer: _core.Trainer,
    training: Training,
    source: Source,
    validation: Source | None,
    calls: Calls,
    generator: np.random.Generator,
    settings: Settings,
) -> History:
    """Train the model's layers, in place; what the model keeps goes along epoch by epoch."""
    rates = Rates(trainer, training, settings.steps_of_run(source))
    if training.moments is not None:
        trainer.restore_optimizer(*training.moments)
        rates._taken = trainer.optimizer_steps
    history = model.history = History()
    model._training = copy.copy(training)
    model.stop_training = False

    def keep() -> bool:
        """Copy what was learnt to the layers and the model, unless some of it is not finite."""
        if not trainer.write_params([layer._flat for layer in model._trained]):
            return False
        training.moments = trainer.optimizer_state()
        model._training = copy.copy(training)
        model._training.schedule_state = dict(training.schedule_state)
        return True

    def call(hook: str, *values: Any) -> None:
        if calls.callbacks:
            calls(hook, *values)
            trainer.read_params([layer._flat for layer in model._trained])

    start = time.perf_counter()
    order = None
    if source.lengths is not None:
        order = np.arange(len(source.lengths), dtype=np.uint64)
    try:
        with progress_bar(settings.epochs, settings.progress) as bar:
            call("on_train_begin")
            for epoch in range(settings.epochs):
                if model.stop_training:
                    break
                call("on_epoch_begin", epoch)
                if settings.shuffle and order is not None:
                    generator.shuffle(order)
                rate = rates.ahead()[0]
                mean = train_epoch(trainer, source, order, rates, settings, bar)
                if not (math.isfinite(mean) and keep()):
                    raise DivergedError(
                        f"training diverged in epoch {epoch + 1}, mean loss {mean:g}; the "
                        "layers keep the parameters from before that epoch. A smaller learning "
                        "rate or clip_norm may help.",
                        history,
                    )
                logs = {"loss": mean}
                told = metrics_of(settings.metrics, trainer.take_metrics(False))
                if validation is not None:
                    logs["validation_loss"] = evaluate(trainer, validation)
                    means = trainer.take_metrics(True)
                    for name, value in metrics_of(settings.metrics, means).items():
                        told[f"validation_{name}"] = value
                logs |= told
                history._append(logs, rate)
                rates.after_epoch(logs)
                model._training.schedule_state = dict(training.schedule_state)
                bar.advance(history)
                call("on_epoch_end", epoch, logs | {"lr": rate})
    except KeyboardInterrupt:
        rates.after_steps()
        keep()
        history.interrupted = True
    finally:
        history.seconds = time.perf_counter() - start
    calls("on_train_end")
    return history


def train_epoch(
    trainer: _core.Trainer,
    source: Source,
    order: NDArray[np.uint64] | None,
    rates: Rates,
    settings: Settings,
    bar: Bar,
) -> float:
    """Train one epoch, coming back to Python now and then; return its mean loss."""
    count, batches, loss = 0, 0, 0.0
    for part in source.parts(order, settings.batch_size):
        rates.set(settings.steps_of(part))
        progress = (0, 0, batches, loss, False)
        while progress[0] < len(part.order):
            progress = trainer.train(part.core, part.order, part.batch_size, progress, part.slice)
            if part.release is not None:
                part.release()
            done, steps, batches, loss, diverged = progress
            if diverged:
                return math.nan
            if source.lengths is not None:
                batch: Any = part.lengths[part.order[done : done + part.batch_size]]
                within = len(batch) * steps / batch.max() if steps else 0.0
                bar.within((count + done + within) / len(source.lengths))
        count += progress[0]
        rates.after_steps()
    trainer.finish_epoch()
    rates.after_steps()
    return loss / count


def evaluate(trainer: _core.Trainer, source: Source) -> float:
    """Return the mean loss of the sequences, coming back to Python now and then."""
    count, loss = 0, 0.0
    longest = 1 if source.lengths is None else int(source.lengths.max())
    # As the core itself takes them at a time (src/train/evaluate.rs).
    for part in source.parts(None, max(1, min(256, 2**18 // longest))):
        progress = (0, 0, 0, 0.0, False)
        while progress[0] < len(part.order):
            progress = trainer.evaluate(part.core, progress, part.slice)
            if part.release is not None:
                part.release()
        count, loss = count + progress[0], loss + progress[3]
    return loss / count


def metrics_of(names: list[str], means: list[float]) -> dict[str, float]:
    """Return metrics by name, made of the core's means."""
    return {name: METRICS[name][1](mean) for name, mean in zip(names, means)}
