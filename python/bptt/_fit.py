"""What `Sequential.fit` does with a trainer: checks of its settings, an epoch, an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt import _core
from bptt._progress import SLICE, Bar

Lengths = NDArray[np.int64]


def check_stateful(shuffle: bool, batch_size: int, lengths: Lengths) -> None:
    """Refuse settings with which rows of a batch cannot go on from those of the batch before."""
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


def train_epoch(
    trainer: _core.Trainer,
    data: _core.Dataset,
    lengths: Lengths,
    order: NDArray[np.uint64],
    batch_size: int,
    bar: Bar,
) -> float:
    """Train one epoch, coming back to Python now and then; return its mean loss."""
    progress = (0, 0, 0.0, False)
    while progress[0] < len(order):
        progress = trainer.train(data, order, batch_size, progress, SLICE)
        done, steps, _, diverged = progress
        if diverged:
            break
        batch: Any = lengths[order[done : done + batch_size]] if steps else None
        within = 0.0 if batch is None else len(batch) * steps / batch.max()
        bar.within((done + within) / len(order))
    return progress[2] / progress[0]


def evaluate(trainer: _core.Trainer, data: _core.Dataset, count: int) -> float:
    """Return the mean loss of the sequences, coming back to Python now and then."""
    progress = (0, 0, 0.0, False)
    while progress[0] < count:
        progress = trainer.evaluate(data, progress, SLICE)
    return progress[2] / count
