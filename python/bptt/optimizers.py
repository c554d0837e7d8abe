"""Optimisers for `fit`, with the rules of torch.optim. The updates run in Rust.

In all formulas p are the parameters and g the gradients. Weight decay adds ``weight_decay * p`` to
g, but not in AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bptt._core import Optimizer as CoreOptimizer
from bptt._support import check
from bptt._support.entry import entry


@dataclass(frozen=True)
class Optimizer:
    """The base of all optimisers.

    An optimiser describes an update rule. The model keeps its state (momentum, running means) and
    continues with it while `fit` is given the same optimiser object, or none.
    """

    lr: float

    def _core(self) -> CoreOptimizer:
        """Return the rule as the core runs it."""
        raise NotImplementedError

    def _numbers(self, *names: str) -> dict[str, float]:
        return {name: check.real(name, getattr(self, name)) for name in names}

    def _flag(self, name: str) -> bool:
        return check.flag(name, getattr(self, name))


def named(given: object) -> str:
    """Return the name of the optimiser that was meant: a text, a class or another library's."""
    kind = given if isinstance(given, type) else type(given)
    name = given if isinstance(given, str) else kind.__name__
    ours = {optimizer.__name__.lower(): optimizer.__name__ for optimizer in _OPTIMIZERS}
    return ours.get(name.lower(), "Adam")


def _two_betas(betas: Any) -> tuple[float, float]:
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers, got {check.shown(betas)}") from None
    return check.real("betas[0]", beta1), check.real("betas[1]", beta2)


@entry
@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, as torch.optim.SGD.

    ``v = momentum * v + g;  p = p - lr * v``, or with Nesterov's momentum
    ``p = p - lr * (g + momentum * v)``.

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    momentum : float, default 0
        The part of the previous step that is kept, in [0, 1).
    weight_decay : float, default 0
        The strength of L2 regularisation, at least 0.
    nesterov : bool, default False
        Whether to use Nesterov's momentum; then momentum must be above 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.SGD(0.1, momentum=0.9, nesterov=True)
    SGD(lr=0.1, momentum=0.9, weight_decay=0.0, nesterov=True)
    """

    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def _core(self) -> CoreOptimizer:
        numbers = self._numbers("lr", "weight_decay", "momentum")
        return CoreOptimizer.sgd(**numbers, nesterov=self._flag("nesterov"))


@entry
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as torch.optim.Adam.

    ``p = p - lr * m / (sqrt(v) + eps)``, where m and v are running means of the gradient and its
    square, corrected for their start at zero.

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        The decay rates of the two means, each in [0, 1).
    eps : float, default 1e-8
        Added to the root to avoid division by zero; at least 0.
    weight_decay : float, default 0
        The strength of L2 regularisation, at least 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.Adam(3e-4)
    Adam(lr=0.0003, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def _core(self) -> CoreOptimizer:
        numbers, betas = self._numbers("lr", "weight_decay", "eps"), _two_betas(self.betas)
        return CoreOptimizer.adam(**numbers, betas=betas, decoupled=False)


@entry
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW.

    ``p = p - lr * weight_decay * p``, followed by a step of `Adam` without weight decay.

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        The decay rates of the two means, each in [0, 1).
    eps : float, default 1e-8
        Added to the root to avoid division by zero; at least 0.
    weight_decay : float, default 1e-2
        The strength of the decay, which does not go through the gradient; at least 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.AdamW(weight_decay=0.05)
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.05)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def _core(self) -> CoreOptimizer:
        numbers, betas = self._numbers("lr", "weight_decay", "eps"), _two_betas(self.betas)
        return CoreOptimizer.adam(**numbers, betas=betas, decoupled=True)


@entry
@dataclass(frozen=True)
class SparseAdam(Optimizer):
    """Adam for an `Embedding` of which a batch reads a few rows, as torch.optim.SparseAdam.

    ``p = p - lr * m / (sqrt(v) + eps)``. Rows of the table without a gradient keep their values and
    their means m and v, and cost no time. The correction for the start at zero does not apply to
    eps, and there is no weight decay. Other layers are updated at every step.

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        The decay rates of the two means, each in [0, 1).
    eps : float, default 1e-8
        Added to the root to avoid division by zero; at least 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.optimizers.SparseAdam(0.01)
    SparseAdam(lr=0.01, betas=(0.9, 0.999), eps=1e-08)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def _core(self) -> CoreOptimizer:
        return CoreOptimizer.sparse_adam(**self._numbers("lr", "eps"), betas=_two_betas(self.betas))


@entry
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Hinton 2012), as torch.optim.RMSprop.

    ``b = momentum * b + g / (sqrt(v) + eps);  p = p - lr * b``, where v is a running mean of g^2.
    If centred, the square of the running mean of g is subtracted from v (Graves 2013).

    Parameters
    ----------
    lr : float, default 1e-2
        Learning rate, at least 0.
    alpha : float, default 0.99
        The decay rate of the means, in [0, 1).
    eps : float, default 1e-8
        Added to the root to avoid division by zero; at least 0.
    weight_decay : float, default 0
        The strength of L2 regularisation, at least 0.
    momentum : float, default 0
        The part of the previous step that is kept, in [0, 1).
    centered : bool, default False
        Whether v is centred, so that it estimates the variance.

    Examples
    --------
    >>> import bptt
    >>> bptt.RMSprop(1e-3, alpha=0.9).alpha
    0.9
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def _core(self) -> CoreOptimizer:
        numbers = self._numbers("lr", "weight_decay", "alpha", "eps", "momentum")
        return CoreOptimizer.rmsprop(**numbers, centered=self._flag("centered"))


@entry
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011), as torch.optim.Adagrad.

    ``p = p - lr / (1 + (n - 1) * lr_decay) * g / (sqrt(s) + eps)`` in step n, counted from 1, where
    s is the sum of all g^2 so far.

    Parameters
    ----------
    lr : float, default 1e-2
        Learning rate, at least 0.
    lr_decay : float, default 0
        The rate at which the learning rate falls, at least 0.
    weight_decay : float, default 0
        The strength of L2 regularisation, at least 0.
    eps : float, default 1e-10
        Added to the root to avoid division by zero; at least 0.

    Examples
    --------
    >>> import bptt
    >>> bptt.Adagrad(0.1)
    Adagrad(lr=0.1, lr_decay=0.0, weight_decay=0.0, eps=1e-10)
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    eps: float = 1e-10

    def _core(self) -> CoreOptimizer:
        return CoreOptimizer.adagrad(**self._numbers("lr", "weight_decay", "lr_decay", "eps"))


_OPTIMIZERS = (SGD, Adam, AdamW, SparseAdam, RMSprop, Adagrad)
