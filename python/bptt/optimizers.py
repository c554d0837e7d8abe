"""Optimisers: what `fit` takes. The updates themselves run in Rust, with torch.optim's rules."""

from __future__ import annotations

from dataclasses import dataclass

from bptt import _check


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, as torch.optim.SGD.

    ``v = momentum * v + g;  p = p - lr * v``

    Parameters
    ----------
    lr : float
        Learning rate, at least 0.
    momentum : float, default 0
        What is kept of the last step, in [0, 1).

    Examples
    --------
    >>> import bptt
    >>> bptt.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9)
    """

    lr: float
    momentum: float = 0.0

    def _core(self) -> tuple[str, list[float]]:
        return "sgd", [_check.real("lr", self.lr), _check.real("momentum", self.momentum)]


@dataclass(frozen=True)
class Adam:
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

    Examples
    --------
    >>> import bptt
    >>> bptt.Adam(3e-4)
    Adam(lr=0.0003, betas=(0.9, 0.999), eps=1e-08)
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def _core(self) -> tuple[str, list[float]]:
        try:
            beta1, beta2 = self.betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, got {self.betas!r}") from None
        values = [self.lr, beta1, beta2, self.eps]
        names = ["lr", "betas[0]", "betas[1]", "eps"]
        return "adam", [_check.real(name, value) for name, value in zip(names, values)]
