"""The learning rate range test of Smith (2017): the loss while the learning rate grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import Progress, Trainer
from bptt._data.sources import Source
from bptt._history.figure import dress
from bptt._support.extras import require
from bptt._support.palette import BEST, REFERENCE, TRAINING
from bptt._training.state import Order

Numbers = NDArray[np.float64]

#: The weight of the past in the smoothed loss, and how far above its minimum the test ends: as in
#: fast.ai and Lightning.
SMOOTHING, EXPLODED = 0.98, 4.0

#: How far the smoothed loss must fall below that of the first steps to suggest a learning rate.
FALLEN = 0.95


@dataclass(frozen=True)
class RangeTest:
    """What `Sequential.find_lr` returns: the loss of each step while the learning rate grows.

    Attributes
    ----------
    lr : ndarray of float64
        The learning rates of the steps that were taken, from low to high.
    loss : ndarray of float64
        The mean loss of the batch of every step, computed before it.
    smoothed : ndarray of float64
        The running mean of the losses: each weighs 0.98 of the one after it, corrected for the
        start as in Adam.
    suggestion : float or None
        A tenth of the learning rate with the lowest smoothed loss after the first tenth of the
        steps, as in fast.ai's "minimum": large enough to learn fast, and below where training
        becomes unstable. None if that loss is not a twentieth below the mean of those first steps.
    """

    lr: Numbers
    loss: Numbers
    smoothed: Numbers
    suggestion: float | None

    def __repr__(self) -> str:
        text = f"{len(self.lr)} steps from {self.lr[0]:.3g} to {self.lr[-1]:.3g}"
        if self.suggestion is None:
            return f"<RangeTest: {text}, no suggestion: the loss does not fall>"
        return f"<RangeTest: {text}, suggestion {self.suggestion:.3g}>"

    def plot(self, ax: Any = None) -> Any:
        """Plot the losses over the learning rate, with the suggestion. Needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            The axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            ax = require("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        ax.plot(self.lr, self.loss, color=REFERENCE, alpha=0.6, linewidth=1.5, label="batch")
        ax.plot(self.lr, self.smoothed, color=TRAINING, linewidth=2.5, label="smoothed")
        if self.suggestion is not None:
            text = f"suggestion {self.suggestion:.2g}"
            ax.axvline(self.suggestion, color=BEST, linestyle=":", linewidth=2, label=text)
        # What explodes would hide the rest.
        least, most = np.nanmin(self.loss), max(np.nanmax(self.loss[:10]), np.nanmin(self.smoothed))
        room = 0.1 * (most - least) or 1.0
        ax.set_ylim(least - room, most + 2 * room)
        ax.set(
            xscale="log", xlabel="learning rate", ylabel="loss", title="Learning rate range test"
        )
        ax.legend(frameon=False)
        dress(ax)
        return ax


def range_test(
    trainer: Trainer, source: Source, order: Order, batch_size: int, rates: Numbers
) -> RangeTest:
    """Train the trainer's own copies of the parameters with these learning rates, one a step."""
    trainer.set_rates([(rate, None) for rate in rates.tolist()])
    losses: list[float] = []
    smoothed: list[float] = []
    mean = weight = 0.0
    for loss in _losses(trainer, source, order, batch_size):
        if math.isfinite(loss):  # a step whose targets are all ignored has none
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            weight = SMOOTHING * weight + (1 - SMOOTHING)
        losses.append(loss)
        smoothed.append(mean / weight if weight else math.nan)
        if len(losses) == len(rates) or smoothed[-1] > EXPLODED * np.nanmin(smoothed):
            break
    if not weight:
        raise ValueError(
            f"the loss is not finite at the lowest learning rate, {rates[0]:g}: look for NaN in "
            "the parameters and the data, or for targets that are all ignored"
        )
    taken = rates[: len(losses)]
    suggestion = None
    begin = len(rates) // 10  # before, the running mean is that of few batches
    later = np.array(smoothed[begin:])
    if np.isfinite(later).any() and np.nanmin(later) < FALLEN * np.nanmean(losses[:begin]):
        suggestion = float(taken[begin + np.nanargmin(later)]) / 10
    return RangeTest(taken, np.array(losses), np.array(smoothed), suggestion)


def _losses(trainer: Trainer, source: Source, order: Order, batch_size: int) -> Iterator[float]:
    """Yield the loss of every step, over as many epochs as are asked for, until one diverges."""
    while True:
        batches = 0
        for piece in source.pieces(order.next(), batch_size):
            progress = Progress(batches=batches)
            while progress.done < len(piece.order):
                progress = trainer.train(  # returns after one step
                    piece.data.core, piece.order, piece.batch_size, progress, 0.0
                )
                if piece.release is not None:
                    piece.release()
                yield from trainer.take_steps()[:, 0].tolist()
                if progress.diverged:
                    return
            batches = progress.batches
