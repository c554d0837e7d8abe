"""The losses of a training as HTML: a table of the last numbers, and the curves as a picture (SVG).

The HTML is static, and notebooks keep it when they do not trust it: JupyterLab then takes out an
``<svg>``, and keeps an image that holds its data. Such an image does not follow the colours of the
page, so its own are readable on white and on black.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt._support.palette import BEST, TRAINING, VALIDATION

Numbers = NDArray[np.float64]

#: The colour of axes and text.
INK = "#7a7a7a"

#: The size of the picture in pixels, and of what lies around the curves.
WIDTH, HEIGHT, TOP, BOTTOM, RIGHT = 480, 220, 28, 24, 12

#: A line has at most twice as many points.
BUCKETS = 100


class Losses(Protocol):
    """What is needed of a history."""

    loss: list[float]
    validation_loss: list[float]
    metrics: dict[str, list[float]]


def _is_validation(name: str) -> bool:
    return name.startswith("validation_")


def best_epoch(history: Losses) -> int | None:
    """Return the epoch, counted from 1, with the lowest loss: of validation, if there is any."""
    losses = history.validation_loss or history.loss
    if not history.validation_loss and any(map(_is_validation, history.metrics)):
        return None  # something else than a loss says what is best
    known = np.nan_to_num(np.array(losses), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    return int(known.argmin()) + 1 if known.min(initial=np.inf) < np.inf else None


def training_html(
    head: str,
    history: Losses,
    reach: int | None = None,
    stretches: Sequence[tuple[float, float]] = (),
) -> str:
    """Return a head, which is HTML, and below it the numbers and the curves."""
    numbers, curves = _numbers_html(history), _curves_html(history, reach, stretches)
    return f"<div><div>{head}</div>{numbers}{curves}</div>"


def _numbers_html(history: Losses) -> str:
    """Return a table of the losses and metrics of the last epoch and of the best one."""
    if not history.loss:
        return ""
    names = list(dict.fromkeys(name.removeprefix("validation_") for name in history.metrics))
    columns = history.metrics | {"loss": history.loss, "validation_loss": history.validation_loss}

    def numbers(prefix: str, epoch: int) -> list[str]:
        of_epoch = (columns.get(prefix + name, [])[epoch - 1 : epoch] for name in ["loss", *names])
        return [f"{values[0]:.4g}" if values else "" for values in of_epoch]

    last, best, prefix = len(history.loss), best_epoch(history), ""
    rows = [("training", numbers("", last))]
    if history.validation_loss or any(map(_is_validation, history.metrics)):
        prefix = "validation_"
        rows.append(("validation", numbers(prefix, last)))
    if best is not None and last > 1:
        rows.append((f"best: epoch {best}", numbers(prefix, best)))

    def row(tag: str, head: str, cells: Sequence[str]) -> str:
        style = "padding:1px 12px 1px 0;text-align:"
        first = f'<{tag} style="{style}left;font-weight:normal">{escape(head)}</{tag}>'
        rest = (
            f'<{tag} style="{style}right;font-weight:normal">{escape(cell)}</{tag}>'
            for cell in cells
        )
        return f"<tr>{first}{''.join(rest)}</tr>"

    head = row("th", "", ["loss", *names])
    body = "".join(row("td", name, cells) for name, cells in rows)
    return (
        '<table style="border-collapse:collapse;margin:4px 0">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def _curves_html(
    history: Losses, reach: int | None, stretches: Sequence[tuple[float, float]]
) -> str:
    """Return the curves of the losses as an image, or nothing where there are less than two points.

    Parameters
    ----------
    history : Losses
        The losses of the epochs.
    reach : int, optional
        The epoch at the right end, unless the losses go beyond it.
    stretches : sequence of (epochs, loss)
        For each group of steps inside an epoch: where it ends, in epochs, and its mean loss.
    """
    pairs = np.array(stretches, np.float64).reshape(-1, 2)
    losses, validated = np.array(history.loss), np.array(history.validation_loss)
    lines = [
        _line(TRAINING, 1.5, 1.0 if len(losses) < 2 else 0.5, pairs[:, 0], pairs[:, 1]),
        _line(TRAINING, 2.0, 1.0, np.arange(1.0, len(losses) + 1), losses),
        _line(VALIDATION, 2.0, 1.0, np.arange(1.0, len(validated) + 1), validated),
    ]
    if max(len(line.x) for line in lines) < 2:
        return ""
    best = best_epoch(history) if len(history.loss) > 1 else None
    end = max(math.ceil(line.x[-1]) for line in lines if len(line.x))
    svg = _svg(lines, best, max(reach or 0, end))
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<img width="{WIDTH}" height="{HEIGHT}" alt="loss over the epochs" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


@dataclass
class _Line:
    """A line of the picture; each point is at (x, y), in epochs and losses."""

    colour: str
    width: float
    opacity: float
    x: Numbers
    y: Numbers


def _line(colour: str, width: float, opacity: float, x: Numbers, y: Numbers) -> _Line:
    """Return the line through the points that are finite and not nearly infinite.

    Of many points it has the lowest and the highest of each bucket.
    """
    known = np.abs(y) < 1e300
    x, y = x[known], y[known]
    if len(x) > 2 * BUCKETS:
        size = -(-len(x) // BUCKETS)
        rows = np.pad(y, (0, -len(y) % size), mode="edge").reshape(-1, size)
        first = size * np.arange(len(rows))
        ends = np.array([0, len(x) - 1])
        kept = np.unique(np.concatenate([ends, first + rows.argmin(1), first + rows.argmax(1)]))
        x, y = x[kept], y[kept]
    return _Line(colour, width, opacity, x, y)


def _svg(lines: list[_Line], best: int | None, reach: int) -> str:
    """Return the picture: axes with their ticks, lines, a mark at the best epoch, a legend."""
    every = np.concatenate([line.y for line in lines])
    least, most = float(every.min()), float(every.max())
    log = least > 0 and most > 50 * least
    if not log:
        room = 0.04 * (most - least) or 0.5 * abs(most) or 1.0
        least, most = least - room, most + room
    values = _log_ticks(least, most) if log else _ticks(least, most, 4)
    labels = _labels(values)
    left = 16 + 7.5 * max(len("epoch"), *map(len, labels))
    begin = min(float(line.x.min()) for line in lines if len(line.x))
    begin = 0.0 if begin < 1 else 1.0
    across = (WIDTH - left - RIGHT) / max(reach - begin, 1e-9)
    low, high = (math.log(least), math.log(most)) if log else (least, most)
    up = (HEIGHT - TOP - BOTTOM) / (high - low)

    def x_of(epoch: Any) -> Any:
        return left + (epoch - begin) * across

    def y_of(loss: Any) -> Any:
        return HEIGHT - BOTTOM - ((np.log(loss) if log else loss) - low) * up

    parts = []
    for value, label in zip(values, labels):
        y = y_of(value)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{WIDTH - RIGHT}" stroke-opacity=".3"/>')
        parts.append(_text(left - 6, y + 4.5, label, "end"))
    parts.append(f'<path d="M{left:.1f} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    for epoch in _epoch_ticks(begin, reach):
        parts.append(_text(x_of(epoch), HEIGHT - 7, f"{epoch}", "middle"))
    parts.append(_text(left - 12, HEIGHT - 7, "epoch", "end"))
    if best is not None:
        x = x_of(best)
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{BEST}" stroke-width="1.5" '
            'stroke-dasharray="5 4"/>'
        )
    for line in lines:
        if len(line.x):
            places = zip(x_of(line.x).tolist(), y_of(line.y).tolist())
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(
                f'<polyline points="{points}" stroke="{line.colour}" stroke-width="{line.width}" '
                f'stroke-opacity="{line.opacity}" stroke-linejoin="round" stroke-linecap="round"/>'
            )
    parts.append(_text(left, 15, "loss, log scale" if log else "loss", "start"))
    parts.append(_legend(left + 110, bool(len(lines[2].x)), best))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" fill="none" stroke="{INK}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" stroke="none" font-family="sans-serif" '
        f'font-size="13" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _legend(x: float, validated: bool, best: int | None) -> str:
    """Return the names of the lines, beside a piece of each."""
    entries = [("training", TRAINING, "")]
    if validated:
        entries.append(("validation", VALIDATION, ""))
    if best is not None:
        entries.append((f"best: epoch {best}", BEST, ' stroke-dasharray="5 4"'))
    parts = []
    for name, colour, dashes in entries:
        parts.append(
            f'<path d="M{x:.0f} 11h18" stroke="{colour}" stroke-width="2.5"{dashes}/>'
            + _text(x + 23, 15, name, "start")
        )
        x += 38 + 6.9 * len(name)
    return "".join(parts)


def _ticks(least: float, most: float, count: int) -> list[float]:
    """Return round numbers between two, about so many."""
    rough = (most - least) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough)
    first, last = math.ceil(least / step), math.floor(most / step)
    return [n * step for n in range(first, last + 1)] or [least]


def _log_ticks(least: float, most: float) -> list[float]:
    """Return powers of ten between two numbers; where they are few, also 2 and 5 times these."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    times = (1,) if high - low > 3 else (1, 2, 5)
    step = 1 + (high - low) // 7
    values = [n * 10.0**power for power in range(low, high + 1, step) for n in times]
    return [value for value in values if least <= value <= most]


def _labels(values: list[float]) -> list[str]:
    """Return the numbers with as many digits as they need to differ."""
    labels = []
    for digits in range(3, 16):
        labels = [f"{value:.{digits}g}" for value in values]
        if len(set(labels)) == len(labels):
            break
    return labels


def _epoch_ticks(begin: float, reach: int) -> list[int]:
    """Return the first and the last epoch, and round numbers between them that have room."""
    ticks = [n for n in map(round, _ticks(begin, reach, 6)) if n > begin]
    room = 0.08 * (reach - begin)
    inner = sorted({n for n in ticks if begin + room < n < reach - room})
    return sorted({round(begin), *inner, reach})
