"""Builds the trainer of the core for `fit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence

from bptt._core import Trainer
from bptt._training.metrics import METRICS
from bptt.layers._stack import Stack
from bptt.losses import Loss
from bptt.optimizers import SGD, Optimizer

#: The optimiser of trainers that only evaluate.
NO_STEPS = SGD(0.0)


def trainer_of(  # one argument for each option of the core
    stack: Stack,
    loss: Loss,
    optimizer: Optimizer = NO_STEPS,
    *,
    metrics: Sequence[str] = (),
    clip_norm: float | None = None,
    tbptt: int | None = None,
    stateful: bool = False,
    accumulate: int = 1,
) -> Trainer:
    """Return a trainer with copies of the parameters."""
    return Trainer(
        stack.core_model(),
        stack.flat_parameters(),
        loss=loss._core(),
        optimizer=optimizer._core(),
        metrics=[METRICS[name][0] for name in metrics],
        clip_norm=clip_norm,
        tbptt=tbptt,
        stateful=stateful,
        accumulate=accumulate,
    )
