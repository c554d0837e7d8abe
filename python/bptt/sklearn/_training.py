"""A model in training, an epoch at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt._fit import train_epoch
from bptt._progress import Bar


class Training:
    """A trainer that keeps the optimiser's state from epoch to epoch, and what it trains with."""

    def __init__(
        self, model: bptt.Sequential, loss: str, optimizer: bptt.Adam, clip_norm: float | None
    ) -> None:
        self._model, self._loss = model, loss
        self._trainer = model._trainer(loss, optimizer, clip_norm)
        self._trainer.set_seed(sum(layer._seed() for layer in model._trained) % 2**64)

    def set_data(self, x: Any, y: NDArray[Any]) -> None:
        """Take the sequences and the targets of the epochs that follow."""
        self._data, self._sequences = self._model._dataset(x, y, self._loss)

    def epoch(self, order: NDArray[np.uint64], batch_size: int) -> float:
        """Train one epoch, sequences in that order; return the mean loss."""
        lengths = np.diff(self._sequences.offsets)
        loss = train_epoch(self._trainer, self._data, lengths, order, batch_size, Bar(None))
        if not (math.isfinite(loss) and self.write()):
            raise bptt.DivergedError(
                f"training diverged: mean loss {loss:g}. A smaller learning_rate_init or clip_norm "
                "may help.",
                bptt.History(),
            )
        return loss

    def write(self) -> bool:
        """Copy the parameters into the model, unless some are not finite; tell whether."""
        return self._model._write(self._trainer)
