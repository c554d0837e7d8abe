"""Losses for `fit` and `evaluate`: torch.nn's, with reduction="mean", computed in Rust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import IGNORED
from bptt._core import Loss as CoreLoss
from bptt._support import check, names
from bptt._support.entry import entry

Array = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """The base of all losses. `fit` takes a loss or its `name`.

    Attributes
    ----------
    name : str
        Stands for the loss with its defaults.
    """

    name: ClassVar[str]
    #: Whether targets are classes instead of real numbers.
    _classes: ClassVar[bool] = False

    def _core(self) -> CoreLoss:
        """Return the loss as the core computes it."""
        raise NotImplementedError


@entry
@dataclass(frozen=True)
class CrossEntropyLoss(Loss):
    """Softmax cross-entropy of logits and classes, in nats, as torch.nn.CrossEntropyLoss.

    Parameters
    ----------
    weight : array_like (O,), optional
        The weight of each class in the mean, at least 0; 1 by default.
    ignore_index : int, default -100
        Targets of this value are ignored.
    label_smoothing : float, default 0
        The part of each target, in [0, 1], that is spread evenly over all O classes.

    Examples
    --------
    >>> import bptt
    >>> bptt.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    CrossEntropyLoss(weight=None, ignore_index=0, label_smoothing=0.1)
    """

    name = "cross_entropy"
    _classes = True

    weight: ArrayLike | None = None
    ignore_index: int = -100
    label_smoothing: float = 0.0

    def _core(self) -> CoreLoss:
        smoothing = check.real("label_smoothing", self.label_smoothing)
        weight = _weights("weight", self.weight)
        return CoreLoss.cross_entropy(label_smoothing=smoothing, weight=weight)

    def _targets(self, name: str, value: Any, below: int) -> Array:
        """Return classes as uint32, each below `below`; `ignore_index` becomes `IGNORED`."""
        ignored = check.size("ignore_index", self.ignore_index, least=-(2**62))
        return check.classes(name, value, below, (ignored, IGNORED))

    def _counted(self, targets: Array) -> Array:
        """Tell which of these targets have a weight above 0 in the mean."""
        counted: Array = targets != IGNORED
        if (weight := _weights("weight", self.weight)) is not None:
            weights = np.array(weight)
            counted[counted] = weights[np.minimum(targets[counted], len(weights) - 1)] > 0
        return counted


@entry
@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of logits and targets in [0, 1], as torch.nn.BCEWithLogitsLoss.

    The mean over all numbers of ``-t * log(s) - (1 - t) * log(1 - s)``, where t is a target and s
    the sigmoid of an output.

    Parameters
    ----------
    pos_weight : array_like (O,), optional
        The weight of positive targets for each output, at least 0; 1 by default.

    Examples
    --------
    >>> import bptt
    >>> bptt.BCEWithLogitsLoss(pos_weight=[2.0])
    BCEWithLogitsLoss(pos_weight=[2.0])
    """

    name = "bce_with_logits"

    pos_weight: ArrayLike | None = None

    def _core(self) -> CoreLoss:
        return CoreLoss.bce_with_logits(pos_weight=_weights("pos_weight", self.pos_weight))


@entry
@dataclass(frozen=True)
class MSELoss(Loss):
    """The mean squared error over all numbers, as torch.nn.MSELoss.

    Examples
    --------
    >>> import bptt
    >>> bptt.MSELoss().name
    'mse'
    """

    name = "mse"

    def _core(self) -> CoreLoss:
        return CoreLoss.mse()


@entry
@dataclass(frozen=True)
class L1Loss(Loss):
    """The mean absolute error over all numbers, as torch.nn.L1Loss.

    Examples
    --------
    >>> import bptt
    >>> bptt.L1Loss().name
    'mae'
    """

    name = "mae"

    def _core(self) -> CoreLoss:
        return CoreLoss.mae()


@entry
@dataclass(frozen=True)
class HuberLoss(Loss):
    """Quadratic for small errors and linear for large ones, as torch.nn.HuberLoss.

    The mean over all numbers of ``e**2 / 2`` where ``|e| <= delta``, else
    ``delta * (|e| - delta / 2)``.

    Parameters
    ----------
    delta : float, default 1
        The error at which the loss becomes linear; above 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.HuberLoss(0.5)
    HuberLoss(delta=0.5)
    """

    name = "huber"

    delta: float = 1.0

    def _core(self) -> CoreLoss:
        return CoreLoss.huber(delta=check.real("delta", self.delta))


LOSSES = {
    loss.name: loss for loss in (CrossEntropyLoss, BCEWithLogitsLoss, MSELoss, L1Loss, HuberLoss)
}


def loss_of(loss: object) -> Loss:
    """Return a loss that is given as an object or by its name."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    listed = ", ".join(f'"{name}"' for name in LOSSES)
    told = ""
    if isinstance(loss, type) and issubclass(loss, Loss):
        told = f": type loss=bptt.{loss.__name__}()"
    else:
        given = loss if isinstance(loss, str) else type(loss).__name__
        lower = given.lower().replace(" ", "_")
        known = names.answer("LOSSES", lower) or names.near(lower, LOSSES)
        told = f': type loss="{known}"' if known is not None else ""
    raise ValueError(
        f"loss must be {listed} or an object such as bptt.HuberLoss(), got {check.shown(loss)}"
        f"{told}"
    )


def _weights(name: str, weights: ArrayLike | None) -> list[float] | None:
    if weights is None:
        return None
    array = check.floats(name, weights, np.dtype(np.float64))
    if array.ndim != 1 or not len(array):
        raise ValueError(
            f"{name} must have shape (O,), a number for each output, got shape {array.shape}"
        )
    return list(array.tolist())
