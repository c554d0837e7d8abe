"""Learning-rate schedules for `fit`, with the names and formulas of torch.optim.lr_scheduler.

A schedule advances after every epoch of `fit`, as is usual with torch, or with ``per="step"`` after
every step of the optimiser. `OneCycleLR` always advances after every step, `ReduceLROnPlateau`
after every epoch. Schedules start from the learning rate of the optimiser; `OneCycleLR` has its
own. The model keeps the state of a schedule, as it keeps the optimiser's, and continues with it if
the next `fit` is given the same object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bptt._support import check
from bptt._support.entry import entry

#: A learning rate, and a momentum that replaces the optimiser's, or None.
Rate = tuple[float, float | None]


class Schedule:
    """The base of all schedules."""

    @property
    def per(self) -> str:
        """When the schedule advances: after every "epoch", or "step" of the optimiser."""
        return "epoch"

    def _start(self, lr: float) -> dict[str, float]:
        """Return the initial state, made of plain numbers."""
        self._check()
        return {"step": 0}

    def _check(self) -> None:
        check.choice("per", self.per, "epoch", "step")

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        """Return the rate `ahead` steps after a state; `lr` is the rate of the optimiser."""
        raise NotImplementedError

    def _step(self, state: dict[str, float], logs: dict[str, float], steps: int = 1) -> None:
        """Advance the state by so many steps."""
        state["step"] += steps

    def _plan(self, state: dict[str, float], steps: int | None) -> None:
        """Refuse a run of so many steps of the optimiser if it is too long; None: not known."""


@entry
@dataclass(frozen=True)
class StepLR(Schedule):
    """Multiply the learning rate by `gamma` after every `step_size` epochs, as torch's StepLR.

    Parameters
    ----------
    step_size : int
        Epochs (or steps) with the same learning rate.
    gamma : float, default 0.1
        The factor, at least 0.
    per : {"epoch", "step"}, default "epoch"
        What the schedule counts.

    Examples
    --------
    >>> import bptt
    >>> bptt.StepLR(30)
    StepLR(step_size=30, gamma=0.1, per='epoch')
    """

    step_size: int
    gamma: float = 0.1
    per: str = "epoch"

    def _check(self) -> None:
        super()._check()
        check.size("step_size", self.step_size)
        _at_least_0("gamma", self.gamma)

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        return lr * self.gamma ** ((state["step"] + ahead) // self.step_size), None


@entry
@dataclass(frozen=True)
class CosineAnnealingLR(Schedule):
    """Follow a cosine to `eta_min` in `T_max` epochs, then back up, as torch's CosineAnnealingLR.

    ``eta_min + (lr - eta_min) * (1 + cos(pi * epoch / T_max)) / 2`` (Loshchilov and Hutter 2017)

    Parameters
    ----------
    T_max : int
        Epochs (or steps) of half a period.
    eta_min : float, default 0
        The lowest learning rate, at least 0.
    per : {"epoch", "step"}, default "epoch"
        What the schedule counts.

    Examples
    --------
    >>> import bptt
    >>> bptt.CosineAnnealingLR(T_max=100)
    CosineAnnealingLR(T_max=100, eta_min=0.0, per='epoch')
    """

    T_max: int
    eta_min: float = 0.0
    per: str = "epoch"

    def _check(self) -> None:
        super()._check()
        check.size("T_max", self.T_max)
        _at_least_0("eta_min", self.eta_min)

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        wave = math.cos(math.pi * (state["step"] + ahead) / self.T_max)
        return self.eta_min + (lr - self.eta_min) * (1 + wave) / 2, None


@entry
@dataclass(frozen=True)
class LinearLR(Schedule):
    """Change a factor of the learning rate linearly, as torch's LinearLR: a warm-up.

    Parameters
    ----------
    start_factor : float, default 1/3
        The factor at the start, in (0, 1].
    end_factor : float, default 1
        The factor after `total_iters`, in [0, 1].
    total_iters : int, default 5
        Epochs (or steps) from one to the other.
    per : {"epoch", "step"}, default "epoch"
        What the schedule counts.

    Examples
    --------
    >>> import bptt
    >>> bptt.LinearLR(start_factor=0.1, total_iters=1000, per="step")
    LinearLR(start_factor=0.1, end_factor=1.0, total_iters=1000, per='step')
    """

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    total_iters: int = 5
    per: str = "epoch"

    def _check(self) -> None:
        super()._check()
        check.size("total_iters", self.total_iters)
        start, end = check.real("start_factor", self.start_factor), self.end_factor
        if not 0 < start <= 1:
            raise ValueError(f"start_factor must be in (0, 1], got {start}")
        if not 0 <= check.real("end_factor", end) <= 1:
            raise ValueError(f"end_factor must be in [0, 1], got {end}")

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        done = min(1.0, (state["step"] + ahead) / self.total_iters)
        return lr * (self.start_factor + (self.end_factor - self.start_factor) * done), None


@entry
@dataclass(frozen=True)
class OneCycleLR(Schedule):
    """Raise the learning rate to `max_lr` and lower it again, as torch's OneCycleLR.

    The momentum (Adam's first beta) goes the other way (Smith and Topin 2018). The learning rate of
    the optimiser is not used.

    Parameters
    ----------
    max_lr : float
        The highest learning rate.
    total_steps : int, optional
        Steps of the cycle; by default ``epochs * steps_per_epoch``, or without these all steps of
        the first `fit` with this schedule. Training for more steps is an error.
    epochs, steps_per_epoch : int, optional
        Both or none, instead of `total_steps`.
    pct_start : float, default 0.3
        The part of the cycle in which the learning rate rises, in [0, 1].
    anneal_strategy : {"cos", "linear"}, default "cos"
        The form of the curve.
    cycle_momentum : bool, default True
        Whether the momentum changes, too. Adagrad has no momentum and needs False.
    base_momentum, max_momentum : float, default 0.85 and 0.95
        The lowest and the highest momentum.
    div_factor : float, default 25
        The first learning rate is ``max_lr / div_factor``.
    final_div_factor : float, default 1e4
        The last learning rate is the first one divided by this.
    three_phase : bool, default False
        Whether a second phase returns to the first learning rate, as fast as it rose, before the
        last phase.

    Examples
    --------
    >>> import bptt
    >>> bptt.OneCycleLR(0.01).per
    'step'
    """

    max_lr: float
    total_steps: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    @property
    def per(self) -> str:
        """Always "step"."""
        return "step"

    def _check(self) -> None:
        _at_least_0("max_lr", self.max_lr)
        for name in ("total_steps", "epochs", "steps_per_epoch"):
            if getattr(self, name) is not None:
                check.size(name, getattr(self, name))
        if (self.epochs is None) != (self.steps_per_epoch is None):
            raise ValueError("epochs and steps_per_epoch must both be given, or neither")
        if not 0 <= check.real("pct_start", self.pct_start) <= 1:
            raise ValueError(f"pct_start must be in [0, 1], got {self.pct_start}")
        check.choice("anneal_strategy", self.anneal_strategy, "cos", "linear")
        check.flag("cycle_momentum", self.cycle_momentum)
        check.flag("three_phase", self.three_phase)
        for name in ("base_momentum", "max_momentum"):
            if not 0 <= check.real(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("div_factor", "final_div_factor"):
            if not 0 < check.real(name, getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def _start(self, lr: float) -> dict[str, float]:
        self._check()
        total = self.total_steps
        if total is None and self.epochs is not None and self.steps_per_epoch is not None:
            total = self.epochs * self.steps_per_epoch
        return {"step": 0, "total": total or 0}  # 0: not known until `fit` plans the run

    def _plan(self, state: dict[str, float], steps: int | None) -> None:
        if not state["total"]:
            if steps is None:
                raise ValueError(
                    "OneCycleLR needs total_steps: the number of steps is not known in advance"
                )
            state["total"] = steps
        rest = int(state["total"] - state["step"])
        if steps is not None and steps > rest:
            raise ValueError(
                f"OneCycleLR has {rest} steps left of total_steps={int(state['total'])}, this run "
                f"takes {steps}: raise total_steps or train for fewer epochs"
            )

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        step, total = state["step"] + ahead, state["total"]
        if step > total:
            raise ValueError(f"OneCycleLR ends after total_steps={int(total)} steps")
        first = self.max_lr / self.div_factor
        low, high = self.base_momentum, self.max_momentum
        up = self.pct_start * total - 1
        # For each phase its last step, and the first and last learning rate and momentum.
        phases = [(up, (first, self.max_lr), (high, low))]
        if self.three_phase:
            phases.append((2 * self.pct_start * total - 2, (self.max_lr, first), (low, high)))
            phases.append((total - 1, (first, first / self.final_div_factor), (high, high)))
        else:
            phases.append((total - 1, (self.max_lr, first / self.final_div_factor), (low, high)))
        begin = 0.0
        for end, rates, momenta in phases:
            if step <= end or end == total - 1:
                done = (step - begin) / (end - begin) if end != begin else 1.0
                momentum = self._between(*momenta, done) if self.cycle_momentum else None
                return self._between(*rates, done), momentum
            begin = end
        raise AssertionError("the last phase takes all steps")

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


@entry
@dataclass(frozen=True)
class ReduceLROnPlateau(Schedule):
    """Lower the learning rate when a number no longer improves, as torch's ReduceLROnPlateau.

    Parameters
    ----------
    mode : {"min", "max"}, default "min"
        Whether a lower or a higher number is better.
    factor : float, default 0.1
        The factor of the learning rate, in [0, 1).
    patience : int, default 10
        The number of epochs without improvement that are allowed.
    threshold : float, default 1e-4
        The smallest difference that counts as an improvement.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether the threshold is relative to the best number or absolute.
    cooldown : int, default 0
        Epochs after a change that are not counted.
    min_lr : float, default 0
        The smallest learning rate.
    eps : float, default 1e-8
        Changes smaller than this are skipped.
    monitor : str, optional
        The name of the number in the history; by default "validation_loss", without validation data
        "loss".

    Examples
    --------
    >>> import bptt
    >>> bptt.ReduceLROnPlateau(factor=0.5, patience=3).monitor is None
    True
    """

    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8
    monitor: str | None = None

    def _check(self) -> None:
        check.choice("mode", self.mode, "min", "max")
        check.choice("threshold_mode", self.threshold_mode, "rel", "abs")
        if not 0 <= check.real("factor", self.factor) < 1:
            raise ValueError(f"factor must be in [0, 1), got {self.factor}")
        check.size("patience", self.patience, least=0)
        check.size("cooldown", self.cooldown, least=0)
        for name in ("threshold", "min_lr", "eps"):
            _at_least_0(name, getattr(self, name))

    def _start(self, lr: float) -> dict[str, float]:
        self._check()
        best = math.inf if self.mode == "min" else -math.inf
        return {"lr": lr, "best": best, "bad": 0, "cooldown": 0}

    def _rate(self, state: dict[str, float], lr: float, ahead: int = 0) -> Rate:
        return state["lr"], None

    def _step(self, state: dict[str, float], logs: dict[str, float], steps: int = 1) -> None:
        now = monitored(self.monitor, logs)
        if self._better(now, state["best"]):
            state |= {"best": now, "bad": 0}
        else:
            state["bad"] += 1
        if state["cooldown"] > 0:
            state |= {"cooldown": state["cooldown"] - 1, "bad": 0}
        if state["bad"] > self.patience:
            lr = max(state["lr"] * self.factor, self.min_lr)
            if state["lr"] - lr > self.eps:
                state["lr"] = lr
            state |= {"cooldown": self.cooldown, "bad": 0}

    def _better(self, now: float, best: float) -> bool:
        if self.threshold_mode == "abs":
            margin = self.threshold
            return now < best - margin if self.mode == "min" else now > best + margin
        if self.mode == "min":
            return now < best * (1 - self.threshold)
        return now > best * (1 + self.threshold)


def monitored(monitor: str | None, logs: dict[str, float]) -> float:
    """Return the monitored number of an epoch."""
    if monitor is None:
        monitor = "validation_loss" if "validation_loss" in logs else "loss"
    if monitor not in logs:
        raise ValueError(f"monitor must be one of {', '.join(logs)}, got {monitor!r}")
    return logs[monitor]


def schedule_of(schedule: Any) -> Schedule | None:
    """Return a schedule or None, or raise an error."""
    if schedule is not None and not isinstance(schedule, Schedule):
        known = schedule.__name__ if isinstance(schedule, type) else "StepLR"
        told = "bptt.StepLR(10)" if known == "StepLR" else f"bptt.{known}(...)"
        raise TypeError(
            f"schedule must be a schedule such as bptt.StepLR(10), got {check.shown(schedule)}: "
            f"type schedule={told}"
        )
    return schedule


def _at_least_0(name: str, value: object) -> None:
    if not 0 <= check.real(name, value) < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
