"""Optimisers: what `fit` takes. The updates themselves run in Rust, with torch.optim's rules.

In all of them p are the parameters, g the gradients, and with weight decay ``g + weight_decay * p``
stands for g (not in AdamW).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bptt._core import Optimizer as CoreOptimizer
from bptt._support import check


@dataclass(frozen=True)
class Optimizer:
    """What the optimisers share; `fit` takes any of them.

    An optimiser describes a rule. What it remembers of the steps it took (momentum, running means)
    is kept by the model, for as long as `fit` is given the same object or none.
    """

    lr: float

    def _core(self) -> CoreOptimizer:
        """Return the rule as the core runs it."""
        raise NotImplementedError

    def _numbers(self, *names: str) -> dict[str, float]:
        return {name: check.real(name, getattr(self, name)) for name in names}

    def _flag(self, name: str) -> bool:
        return check.flag(name, getattr(self, name))


def _two_betas(betas: Any) -> tuple[float, float]:
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers, got {betas!r}") from None
    return check.real("betas[0]", beta1), check.real("betas[1]", beta2)


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
        What is kept of the last step, in [0, 1).
    weight_decay : float, default 0
        Pulls the parameters towards 0; at least 0.
    nesterov : bool, default False
        Whether the momentum is Nesterov's; it must be above 0 then.

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


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), as torch.optim.Adam.

    Running means m of the gradient and v of its square, corrected for their start at zero:
    ``p = p - lr * m / (sqrt(v) + eps)``

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        Decay of the two means, each in [0, 1).
    eps : float, default 1e-8
        Added to the root against division by zero, at least 0.
    weight_decay : float, default 0
        Pulls the parameters towards 0, through the gradient; at least 0.

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


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW.

    ``p = p - lr * weight_decay * p``, and then a step of `Adam` without weight decay.

    Parameters
    ----------
    lr : float, default 1e-3
        Learning rate, at least 0.
    betas : tuple of two floats, default (0.9, 0.999)
        Decay of the two means, each in [0, 1).
    eps : float, default 1e-8
        Added to the root against division by zero, at least 0.
    weight_decay : float, default 1e-2
        Pulls the parameters towards 0, apart from the gradient; at least 0.

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


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Hinton 2012), as torch.optim.RMSprop.

    With v the running mean of g^2, ``b = momentum * b + g / (sqrt(v) + eps);  p = p - lr * b``;
    centred, the square of g's own running mean is taken from v (Graves 2013).

    Parameters
    ----------
    lr : float, default 1e-2
        Learning rate, at least 0.
    alpha : float, default 0.99
        Decay of the means, in [0, 1).
    eps : float, default 1e-8
        Added to the root against division by zero, at least 0.
    weight_decay : float, default 0
        Pulls the parameters towards 0; at least 0.
    momentum : float, default 0
        What is kept of the last step, in [0, 1).
    centered : bool, default False
        Whether v is centred, an estimate of the variance.

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


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011), as torch.optim.Adagrad.

    With s the sum of all g^2 so far, in step n (from 1)
    ``p = p - lr / (1 + (n - 1) * lr_decay) * g / (sqrt(s) + eps)``

    Parameters
    ----------
    lr : float, default 1e-2
        Learning rate, at least 0.
    lr_decay : float, default 0
        How fast the learning rate falls, at least 0.
    weight_decay : float, default 0
        Pulls the parameters towards 0; at least 0.
    eps : float, default 1e-10
        Added to the root against division by zero, at least 0.

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
