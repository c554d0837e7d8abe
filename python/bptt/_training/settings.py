"""The settings of `fit`, and checks whether they fit the data and each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt._data.sources import Lengths, Piece, Source
from bptt._support import names as other_names
from bptt._training.state import Training
from bptt.callbacks import ModelCheckpoint
from bptt.callbacks.base import Monitor
from bptt.losses import Loss
from bptt.schedules import Schedule


@dataclass(frozen=True)
class Settings:
    """The parameters of `fit`, without data, optimiser, schedule and callbacks."""

    loss: Loss
    epochs: int
    batch_size: int
    shuffle: bool
    rng: np.random.Generator
    clip_norm: float | None
    tbptt: int | None
    stateful: bool
    accumulate: int
    metrics: list[str]
    progress: bool
    check_finite: bool

    def steps_of(self, piece: Piece) -> int:
        """Return the largest number of optimiser steps for a piece."""
        if self.tbptt is None:
            return -(-len(piece.order) // (piece.batch_size * self.accumulate))
        lengths, size = piece.data.lengths[piece.order], piece.batch_size
        longest = [lengths[n : n + size].max() for n in range(0, len(lengths), size)]
        return int(sum(-(-length // self.tbptt) for length in longest))

    def steps_of_run(self, source: Source, epochs: int) -> int | None:
        """Return the number of optimiser steps in the run, if it is known in advance."""
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

    def shared(
        self, training: Training, source: Source, validation: Any, sample_weight: Any
    ) -> dict[str, Any]:
        """Return, for JSON, what a run must have in common with the run that it resumes."""
        lengths = source.lengths
        return {
            "loss": repr(self.loss),
            "optimizer": repr(training.optimizer),
            "schedule": repr(training.schedule),
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "validation": validation is not None,
            "sample_weight": sample_weight is not None,
            "metrics": self.metrics,
            "clip_norm": self.clip_norm,
            "shuffle": self.shuffle,
            "tbptt": self.tbptt,
            "stateful": self.stateful,
            "sequences": None if lengths is None else len(lengths),
            "steps": None if lengths is None else int(lengths.sum()),
        }


def check_stateful(settings: Settings, lengths: Lengths | None) -> None:
    """Refuse stateful training if batches would not continue the rows of the batch before."""
    if not settings.stateful or lengths is None:
        return  # the core checks each batch of an iterable
    batch_size, count = settings.batch_size, len(lengths)
    if settings.shuffle:
        raise ValueError(
            "stateful=True needs shuffle=False: each batch starts from the states of the batch "
            "before, so their order must not change"
        )
    if batch_size < count and count % batch_size:
        raise ValueError(
            "stateful=True needs a batch_size that divides the number of sequences, got batch_size "
            f"{batch_size} for {count} sequences"
        )
    if lengths.min() < lengths.max():
        raise ValueError(
            f"stateful=True needs sequences of the same length, got {lengths.min()} to "
            f"{lengths.max()} steps: cut them to one length, or use tbptt without stateful"
        )


def check_monitors(watchers: list[Any], metrics: list[str], validation: bool) -> None:
    """Refuse a monitor that is not among the numbers of the history."""
    names = ["loss", *metrics]
    names += [f"validation_{name}" for name in names] if validation else []
    for watcher in watchers:
        monitor = getattr(watcher, "monitor", None)
        if isinstance(watcher, (Schedule, Monitor)) and monitor not in (None, *names):
            meant = other_names.answer("HISTORY", monitor) or monitor
            told = f'type monitor="{meant}"'
            if meant not in names:
                more = "validation=(x, y)" if not validation else f'metrics=["{meant}"]'
                told = f"add it to metrics, or give validation data, {more}, and {told}"
            raise ValueError(
                f"monitor of {type(watcher).__name__} must be one of {', '.join(names)}, got "
                f"{monitor!r}: {told}"
            )
        if isinstance(watcher, ModelCheckpoint):
            watcher.check_names(names)
