"""`bptt.check`: what may keep a model from learning its data, as a table of findings."""

from __future__ import annotations

import copy
import math
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import Dataset, Progress
from bptt._data.findings import Finding, findings_of
from bptt._data.sequences import Converted, Use, dataset_of
from bptt._data.sources import Data, Whole, is_mapped
from bptt._support import check as checks
from bptt._support.entry import entry
from bptt._support.palette import GREEN, ORANGE, VERMILLION
from bptt._training.evaluate import evaluate
from bptt._training.trainer import trainer_of
from bptt.layers._base import TrainableLayer
from bptt.layers._stack import Stack
from bptt.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, Loss, loss_of
from bptt.optimizers import SGD, Adam

Array = NDArray[Any]

#: Seconds for learning by heart, and the most steps of it.
SECONDS, STEPS = 1.0, 400

#: Sequences to learn by heart, and steps of each: where every step has a target, and with LastStep.
SEQUENCES, FIRST, LAST = 8, 50, 300

#: Seconds: a call of the core ends when its batch does.
FOREVER = 1e9

#: A power of two, so that a step of gradient descent shows even tiny gradients in float32.
FAR = 2.0**20

#: Norms of gradients: too small, and too large, to train with.
VANISHED, EXPLODED = 1e-6, 100.0


class Report:
    """What `bptt.check` found: a sequence of findings, which prints as a table.

    Attributes
    ----------
    findings : tuple of Finding
        Each with a `name`, a `level` ("ok", "warning" or "error") and a `sentence`.
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = tuple(findings)
        self._shown_in: object = None  # the cell of a notebook that has shown the table

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __repr__(self) -> str:
        levels = [finding.level for finding in self.findings]
        errors, warnings = (_plural(levels.count(level), level) for level in ("error", "warning"))
        return f"<Report: {errors}, {warnings}, {levels.count('ok')} ok>"

    def __str__(self) -> str:
        names = max(len(finding.name) for finding in self.findings)
        lines = []
        for finding in self.findings:
            first, *rest = textwrap.wrap(finding.sentence, max(40, 98 - names - 11))
            lines.append(f"{finding.level:<9}{finding.name:<{names + 2}}{first}")
            lines += [" " * (names + 11) + line for line in rest]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shell = _notebook()
        if shell is not None and self._shown_in == shell.execution_count:
            return f"<small>{escape(repr(self)[1:-1])}</small>"
        signs = {"ok": "&#10003;", "warning": "&#9888;", "error": "&#10007;"}
        colors = {"ok": GREEN, "warning": ORANGE, "error": VERMILLION}
        left = 'style="text-align:left;vertical-align:top;padding:2px 10px"'
        rows = "".join(
            f'<tr><td {left}><span style="color:{colors[finding.level]}">{signs[finding.level]}'
            f"</span>&nbsp;{finding.level}</td><td {left}>{escape(finding.name)}</td>"
            f"<td {left}>{escape(finding.sentence)}</td></tr>"
            for finding in self.findings
        )
        return f'<table style="border-collapse:collapse">{rows}</table>'

    def show(self) -> None:
        """Show the table: in a notebook as HTML, elsewhere as printed text."""
        shell = _notebook()
        if shell is None:
            print(self)
            return
        forms = {"text/plain": str(self), "text/html": self._repr_html_()}
        sys.modules["IPython"].display.display(forms, raw=True)
        self._shown_in = shell.execution_count


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _notebook() -> Any:
    """Return IPython's shell in a notebook, or None elsewhere."""
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get is None else get()
    return shell if hasattr(shell, "kernel") else None


@entry
def check(
    model: Stack, x: Data, y: Data, *, loss: str | Loss | None = None, show: bool = True
) -> Report:
    """Look at a model and its data for what may keep it from learning, and print a table of it.

    Nothing changes: not the model, its data or any random numbers. It takes about a second.

    Parameters
    ----------
    model : Sequential
        The model, before or after training.
    x, y : array_like or list of array_like
        Sequences and targets as for `fit`. Of memory-mapped arrays, the first 1000 sequences are
        read.
    loss : str or loss, optional
        As for `fit`. By default "cross_entropy" where y holds whole numbers and the model has
        several outputs, "mse" elsewhere.
    show : bool, default True
        Whether to show the table: as HTML in a notebook, elsewhere as printed text.

    Returns
    -------
    Report
        A sequence of findings, each with a `name`, a `level` and a `sentence`. "error" means that
        training cannot work, "warning" that it may work badly.

    Raises
    ------
    TypeError, ValueError
        If the model is no model, the loss is unknown or y is missing. Data that do not fit the
        model are an error in the table.

    Notes
    -----
    Checks of the data: NaN and infinity, scales, features and targets that never change, axes that
    look swapped, classes that are missing or nearly alone. Checks of the model, on eight sequences
    (their first 50 steps, with LastStep their last 300): the initial loss beside that of a model
    that knows only how targets are distributed; the norm of the gradient by layer; whether a copy
    learns them by heart with Adam, in 400 steps or a second.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = 300 + np.sin(np.arange(400.0)).reshape(8, 50, 1)
    >>> model = bptt.Sequential(bptt.LSTM(1, 8, rng=0), bptt.Linear(8, 1, rng=1))
    >>> report = bptt.check(model, x[:, :-1], x[:, 1:], show=False)
    >>> [finding.name for finding in report if finding.level == "warning"][:2]
    ['scale of x', 'scale of y']
    """
    if not isinstance(model, Stack):
        raise TypeError(
            f"model must be a bptt.Sequential, got {checks.shown(model)}: type check(model, x, y)"
        )
    if y is None:
        raise ValueError("y is missing: for an iterable, type check(model, *next(iter(batches)))")
    show = checks.flag("show", show)
    if is_mapped(x) or is_mapped(y):
        x, y = x[:1000], y[:1000]  # type: ignore[index]
    known = loss_of(_guess(model, y) if loss is None else loss)
    report = Report(list(_findings(model, known, x, y)))
    if show:
        report.show()
    return report


def _guess(model: Stack, y: Any) -> str:
    """Return the loss that y asks for."""
    part = y[0] if isinstance(y, (list, tuple)) and len(y) else y
    numbers = np.asarray(part).dtype.kind == "f" or model.outputs == 1
    return "mse" if numbers else "cross_entropy"


def _findings(model: Stack, loss: Loss, x: Any, y: Any) -> Iterator[Finding]:
    try:
        data = dataset_of(model, loss, "", (x, y, None), None, Use(check_finite=True))
    except (TypeError, ValueError) as error:
        yield Finding("shapes", "error", f"{_sentence(str(error))}")
        return
    yield Finding("shapes", "ok", f"x and y fit the model and the loss {loss.name}.")
    if (told := data.not_finite()) is not None:
        yield Finding("finite", "error", f"{told}: replace or remove them.")
        return
    yield Finding("finite", "ok", "x and y have no NaN and no infinity.")
    if not data.counts:
        yield Finding("targets", "error", "Every target is ignored, or has weight 0.")
        return
    yield from findings_of(model, loss, data)
    some = _some(model, loss, data)
    if not some.counts:
        return
    begin = evaluate(trainer_of(model, loss), Whole(some))
    chance = _chance(loss, some.y, model.outputs)
    yield _initial(begin, chance, loss, model.outputs)
    yield _gradient(model, loss, some)
    if math.isfinite(begin):
        yield _by_heart(model, loss, some, begin, chance)


def _sentence(text: str) -> str:
    return f"{text[0].upper() if not text.startswith(('x', 'y')) else text[0]}{text[1:]}."


def _some(model: Stack, loss: Loss, data: Converted) -> Converted:
    """Return some sequences at equal distances, with some of their steps."""
    chosen = np.linspace(0, len(data.lengths) - 1, min(SEQUENCES, len(data.lengths))).astype(int)
    ends = np.cumsum(data.lengths)[chosen]
    starts = ends - data.lengths[chosen]
    if model.per_sequence:
        starts, targets = np.maximum(starts, ends - LAST), data.y[chosen]
    else:
        ends = np.minimum(ends, starts + FIRST)
        targets = np.concatenate([data.y[start:end] for start, end in zip(starts, ends)])
    x = np.concatenate([data.x[start:end] for start, end in zip(starts, ends)])
    counted = loss._counted(targets) if isinstance(loss, CrossEntropyLoss) else np.ones(1, bool)
    offsets = [0, *np.cumsum(ends - starts).tolist()]
    core = Dataset(x, targets, offsets, model.per_sequence, None, not counted.all())
    return replace(
        data, core=core, lengths=ends - starts, counts=bool(counted.any()), x=x, y=targets
    )


def _chance(loss: Loss, y: Array, outputs: int) -> float:
    """Return the loss of a model that knows how targets are distributed, but not x.

    With "cross_entropy" it knows only how many classes there are.
    """
    if isinstance(loss, CrossEntropyLoss):
        return math.log(outputs)
    numbers = y.astype(np.float64)
    if isinstance(loss, BCEWithLogitsLoss):
        share = np.clip(numbers.mean(axis=0), 1e-12, 1 - 1e-12)
        return float((-share * np.log(share) - (1 - share) * np.log(1 - share)).mean())
    if isinstance(loss, L1Loss):
        return float(np.abs(numbers - np.median(numbers, axis=0)).mean())
    away = np.abs(numbers - numbers.mean(axis=0))
    if isinstance(loss, HuberLoss):
        line = loss.delta * (away - loss.delta / 2)
        return float(np.where(away <= loss.delta, away**2 / 2, line).mean())
    return float((away**2).mean())


def _initial(begin: float, chance: float, loss: Loss, outputs: int) -> Finding:
    """Compare the loss of the model as it is with chance."""
    name = "initial loss"
    what = f"chance, ln {outputs}" if loss._classes else "chance, which knows y but not x"
    if not math.isfinite(begin):
        return Finding(name, "error", f"The loss is {begin}: a parameter is NaN, or x too large.")
    told = f"The loss is {begin:.4g}; {what}, is {chance:.4g}"
    if begin > 5 * chance:
        level = "warning"
        told += ": outputs begin far from the targets; scale x and y"
    elif begin < 0.8 * chance:
        level, told = "ok", f"{told}: the model has learnt already"
    else:
        level, told = "ok", f"{told}: as it should be before training"
    return Finding(name, level, f"{told}.")


def _gradient(model: Stack, loss: Loss, data: Converted) -> Finding:
    """Measure the gradient of each layer: a step of gradient descent shows it."""
    name, twin = "gradient", copy.deepcopy(Stack(*model.layers))
    trainer = trainer_of(twin, loss, SGD(FAR))
    every = np.arange(len(data.lengths), dtype=np.uint64)
    progress = trainer.train(data.core, every, len(every), Progress(), FOREVER)
    trainer.finish_epoch()
    if progress.diverged or not trainer.write_params():
        return Finding(name, "error", "The gradient is NaN or infinite: scale x and y.")
    before = model.flat_parameters()
    norms = {
        f"{n} {type(layer).__name__}": float(np.linalg.norm((old - new).astype(np.float64))) / FAR
        for n, (layer, old, new) in enumerate(zip(model.layers, before, twin.flat_parameters()))
        if isinstance(layer, TrainableLayer)
    }
    if not norms:
        return Finding(name, "error", "The model has no parameters: add a layer that learns.")
    most, least = max(norms.values()), min(norms.values())
    told = "The norm of the gradient is " + ", ".join(
        f"{norm:.2g} ({layer})" for layer, norm in norms.items()
    )
    if most < VANISHED:
        return Finding(
            name,
            "warning",
            f"{told}: it has vanished; scale x and y, or start from new parameters.",
        )
    if most > EXPLODED:
        return Finding(
            name, "warning", f"{told}: it is large; scale x and y, or type clip_norm=1.0."
        )
    if least < 1e-4 * most:
        return Finding(
            name,
            "warning",
            f"{told}: it hardly reaches a layer; take fewer layers, or an LSTM or GRU for an RNN.",
        )
    return Finding(name, "ok", f"{told}: every layer gets one of a good size.")


def _by_heart(model: Stack, loss: Loss, data: Converted, begin: float, chance: float) -> Finding:
    """Train copies of the parameters on a few sequences, with two learning rates."""
    name, count = "by heart", len(data.lengths)
    every = np.arange(count, dtype=np.uint64)
    least, most_steps, start = begin, 0, time.perf_counter()
    for lr, share in ((0.01, 0.5), (0.001, 1.0)):
        trainer = trainer_of(model, loss, Adam(lr), clip_norm=1.0)
        end, steps = start + share * SECONDS, 0
        while steps < STEPS and time.perf_counter() < end and least > 0.05 * begin:
            progress = trainer.train(data.core, every, count, Progress(), FOREVER)
            trainer.finish_epoch()
            steps += 1
            if progress.diverged:
                break
            if steps % 20 == 0:
                least = min(least, _finite(evaluate(trainer, Whole(data))))
        least = min(least, _finite(evaluate(trainer, Whole(data))))
        most_steps = max(steps, most_steps)
    told = (
        f"On {_plural(count, 'sequence')} alone the loss goes from {begin:.4g} to {least:.4g} in "
        f"{_plural(most_steps, 'step')}"
    )
    if most_steps < 50 and least > 0.7 * begin:
        return Finding(name, "ok", f"{told}, which are too few to tell.")
    if least > 0.7 * min(begin, chance):
        return Finding(
            name,
            "warning",
            f"{told}: the model hardly learns them by heart; look at the findings above, whether y "
            "follows from x, and whether the model is large enough.",
        )
    if least > 0.2 * begin:
        return Finding(name, "ok", f"{told}: the model learns, and would go on.")
    return Finding(name, "ok", f"{told}: the model can learn them by heart.")


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
