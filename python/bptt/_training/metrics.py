"""Metrics: their names, and how they follow from the means that the core computes."""

from __future__ import annotations

import math
from collections.abc import Callable

from bptt._support import names as other_names
from bptt._support.check import shown


def perplexity(cross_entropy: float) -> float:
    """Return the perplexity: exp of the cross-entropy in nats."""
    return math.exp(cross_entropy) if cross_entropy < 700 else math.inf


#: For each metric the mean of the core, a function of it, and the losses that it goes with.
METRICS: dict[str, tuple[str, Callable[[float], float], tuple[str, ...]]] = {
    "accuracy": ("accuracy", float, ("cross_entropy", "bce_with_logits")),
    "perplexity": ("cross_entropy", perplexity, ("cross_entropy",)),
    "rmse": ("squared_error", math.sqrt, ("mse", "mae", "huber")),
}


def check_metrics(metrics: object, loss: str) -> list[str]:
    """Return the names of metrics, or raise an error if they do not go with the loss."""
    if isinstance(metrics, str) or not isinstance(metrics, (list, tuple)):
        raise TypeError(f"metrics must be a list of names, got {shown(metrics)}{_told(metrics)}")
    for name in metrics:
        if not isinstance(name, str) or name not in METRICS:
            raise ValueError(
                f"metrics must be among {', '.join(METRICS)}, got {shown(name)}{_told(name)}"
            )
        if loss not in METRICS[name][2]:
            raise ValueError(
                f"metric {name!r} needs one of the losses {', '.join(METRICS[name][2])}, got {loss}"
            )
    return list(metrics)


def _told(name: object) -> str:
    """Return what to type for a metric with another name, or one that is not in a list."""
    known = other_names.answer("METRICS", name) or other_names.near(name, METRICS)
    return f': type metrics=["{known}"]' if known else ""


def metrics_of(names: list[str], means: list[float]) -> dict[str, float]:
    """Return metrics by name, from the means of the core."""
    return {name: METRICS[name][1](mean) for name, mean in zip(names, means)}
