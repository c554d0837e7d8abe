"""What the curves of a training run say, in a sentence or two: `History.summary`.

Each rule looks at the losses of all epochs and returns a sentence, or None. The first that speaks
is the answer; why validation is below training may follow. Sentences count epochs from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median


@dataclass
class Curves:
    """The losses of a run.

    Attributes
    ----------
    loss, validation : list of float
        The losses of every epoch; `validation` is empty without validation data.
    """

    loss: list[float]
    validation: list[float]

    @property
    def watched(self) -> list[float]:
        """The losses that matter: those of validation, if there are any."""
        return self.validation or self.loss

    @property
    def name(self) -> str:
        """What they are called."""
        return "validation" if self.validation else "the training loss"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _ends(losses: list[float]) -> str:
    return f"{_number(losses[0])} to {_number(losses[-1])}"


def _not_finite(curves: Curves) -> str | None:
    """Say where validation became NaN or infinite."""
    for epoch, value in enumerate(curves.validation, 1):
        if not math.isfinite(value):
            return (
                f"Validation was {value} in epoch {epoch}: the outputs left the range of numbers; "
                "lower the learning rate, or look at the validation data with bptt.check."
            )
    return None


def _stuck(curves: Curves) -> str | None:
    """Say that the loss did not move."""
    losses = curves.loss
    if len(losses) < 5:
        return None
    moved = max(losses) - min(losses)
    if moved > 1e-3 * abs(losses[0]):
        return None
    return (
        f"The loss moved by {moved:.1g} in {len(losses)} epochs, from {_number(losses[0])}: the "
        "model learns nothing; scale the inputs and targets, raise the learning rate, or ask "
        "bptt.check(model, x, y)."
    )


def _rising(curves: Curves) -> str | None:
    """Say that training made the model worse."""
    losses = curves.loss
    if len(losses) < 3 or losses[-1] < 1.05 * losses[0] or losses[0] <= 0:
        return None
    return (
        f"The training loss rose from {_ends(losses)}: training diverges; lower the learning rate, "
        "or type clip_norm=1.0."
    )


def _overfitting(curves: Curves) -> str | None:
    """Say that validation has risen since its best epoch, while training fell."""
    if len(curves.validation) < 5:
        return None
    best = min(range(len(curves.validation)), key=curves.validation.__getitem__)
    since = curves.validation[best + 1 :]
    fell = curves.loss[-1] < curves.loss[best]
    least = curves.validation[best]
    if len(since) < 2 or not fell or min(median(since), since[-1]) <= 1.03 * least:
        return None
    return (
        f"Validation was best at epoch {best + 1} ({_number(least)}) and rises since (to "
        f"{_number(since[-1])}), while training fell to {_number(curves.loss[-1])}: over-fitting; "
        "early_stopping=bptt.EarlyStopping(patience=5) gives back the weights of that epoch "
        "(restore_best_weights); dropout or more data help, too."
    )


def _noisy(curves: Curves) -> str | None:
    """Say that the training loss jumps up and down."""
    losses = curves.loss[len(curves.loss) // 2 :]
    if len(losses) < 5 or min(losses) <= 0:
        return None
    steps = [after - before for before, after in pairwise(losses)]
    turns = sum(a * b < 0 for a, b in pairwise(steps)) / (len(steps) - 1)
    jump = fmean(map(abs, steps)) / median(losses)
    if turns < 0.4 or jump < 0.15:
        return None
    return (
        f"The training loss jumps by {jump:.0%} from epoch to epoch: lower the learning rate, or "
        "type clip_norm=1.0 or a larger batch_size."
    )


def _falling(curves: Curves) -> str | None:
    """Say that the loss was still falling at the end: in itself, or of all that it has fallen."""
    losses, count = curves.watched, len(curves.watched)
    part = max(2, count // 5)
    if count < 5 or losses[-1] <= 0 or losses[-1] > 1.02 * min(losses):
        return None
    before, last = fmean(losses[-2 * part : -part]), fmean(losses[-part:])
    fell = before - last
    if fell < 0.2 * before and fell < 0.05 * (max(losses) - min(losses)):
        return None
    name = f"{curves.name[0].upper()}{curves.name[1:]}"
    return (
        f"{name} still falls, by {100 * fell / before:.2g}% over the last {part} epochs (to "
        f"{_number(losses[-1])}): train for more epochs."
    )


def _gap(curves: Curves) -> str | None:
    """Say that validation is flat far above training."""
    loss, validation = _last(curves)
    if validation is None or loss <= 0 or validation < 1.5 * loss:
        return None
    return (
        f"Validation is flat and far above training ({_number(validation)} and {_number(loss)}): "
        "the model knows its training data by heart; use more data, dropout or a smaller model."
    )


def _below(curves: Curves) -> str:
    """Add why validation is below training, where it is."""
    loss, validation = _last(curves)
    if validation is None or validation >= 0.9 * loss:
        return ""
    return (
        f" Validation is below training ({_number(validation)} and {_number(loss)}): dropout acts "
        "in training only, and the training loss is a mean over an epoch in which the model learns."
    )


def _last(curves: Curves) -> tuple[float, float | None]:
    """Return means over the last epochs: of training, and of validation if there are enough."""
    part = max(2, len(curves.loss) // 5)
    if len(curves.validation) < 5:
        return fmean(curves.loss[-part:]), None
    return fmean(curves.loss[-part:]), fmean(curves.validation[-part:])


RULES: list[Callable[[Curves], str | None]] = [
    _not_finite,
    _stuck,
    _rising,
    _overfitting,
    _noisy,
    _falling,
    _gap,
]


def summary(loss: list[float], validation: list[float], interrupted: bool) -> str:
    """Return what happened in a run, in a sentence or two."""
    told = f"Ctrl-C ended training after {len(loss)} epochs. " if interrupted else ""
    if not loss:
        return told + "No epoch is finished."
    curves = Curves(loss, validation)
    for rule in RULES:
        if (sentence := rule(curves)) is not None:
            return told + sentence + _below(curves)
    what = f"The training loss went from {_ends(loss)}"
    if validation:
        what += f", validation from {_ends(validation)}"
    if len(loss) < 5:
        return f"{told}{what}: after so few epochs, train for more."
    flat = "both are" if validation else "it is"
    return f"{told}{what}, and {flat} flat now: more epochs would change little.{_below(curves)}"
