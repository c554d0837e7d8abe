"""Metrics: their names, and what is made of the core's means."""

from __future__ import annotations

import math
from collections.abc import Callable


def perplexity(cross_entropy: float) -> float:
    """Return its exponential."""
    return math.exp(cross_entropy) if cross_entropy < 700 else math.inf


#: Metrics: the core's mean, what is made of it, and the losses it goes with.
METRICS: dict[str, tuple[str, Callable[[float], float], tuple[str, ...]]] = {
    "accuracy": ("accuracy", float, ("cross_entropy", "bce_with_logits")),
    "perplexity": ("cross_entropy", perplexity, ("cross_entropy",)),
    "rmse": ("squared_error", math.sqrt, ("mse", "mae", "huber")),
}


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


def metrics_of(names: list[str], means: list[float]) -> dict[str, float]:
    """Return metrics by name, made of the core's means."""
    return {name: METRICS[name][1](mean) for name, mean in zip(names, means)}
