"""How models and histories show themselves: a table in text or HTML, a curve in SVG.

HTML takes its colours from the notebook (``currentColor``): it is readable in light and dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from bptt.layers import LastStep

if TYPE_CHECKING:
    from bptt._model import Model
    from bptt.history import History


class Text(str):
    """A text that a prompt shows as it is."""

    def __repr__(self) -> str:
        return str(self)


def _rows(model: Model) -> tuple[list[list[str]], str]:
    """Return layer, output shape and parameters of every layer, and the total."""
    rows, lead, total = [], "N, T", 0
    for layer, (_, features) in zip(model.layers, model._features):
        if isinstance(layer, LastStep):
            lead = "N"
        count = sum(array.size for array in layer.parameters.values())
        total += count
        rows.append([repr(layer), f"({lead}, {features})", f"{count:,}"])
    size = float(total * model._dtype.itemsize)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    number = f"{size:.0f}" if unit == "bytes" else f"{size:.1f}"
    return rows, f"{total:,} parameters, {model._dtype}, {number} {unit}"


_HEAD = ["layer", "output", "parameters"]


def summary(model: Model) -> Text:
    """Return the table of `Model.summary`."""
    rows, total = _rows(model)
    widths = [max(len(row[n]) for row in [_HEAD, *rows]) for n in range(3)]
    lines = []
    for layer, shape, count in [_HEAD, *rows]:
        cells = layer.ljust(widths[0]), shape.ljust(widths[1]), count.rjust(widths[2])
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 4)
    return Text("\n".join([lines[0], rule, *lines[1:], rule, total]))


def model_html(model: Model) -> str:
    """Return the same table in HTML."""
    rows, total = _rows(model)
    line = "border-bottom:1px solid currentColor"

    def row(tag: str, cells: Sequence[str], style: str = "") -> str:
        sides = ("left", "left", "right")
        made = (
            f'<{tag} style="text-align:{side};padding:2px 10px;{style}">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return (
        '<table style="border-collapse:collapse"><caption style="caption-side:bottom;'
        f'text-align:left;padding:2px 10px;color:inherit">{escape(total)}</caption>'
        f"<thead>{row('th', _HEAD, line)}</thead><tbody>{body}</tbody></table>"
    )


WIDTH, HEIGHT = 260, 70


def history_html(history: History) -> str:
    """Return the history's text with its curves: training whole, validation dashed."""
    text = escape(repr(history)[1:-1])
    curves = [("", history.loss), (' stroke-dasharray="4 3"', history.validation_loss)]
    known = [y for _, losses in curves for y in losses if math.isfinite(y)]
    if len(history.loss) < 2 or not known:
        return f"<div>{text}</div>"
    least, most = min(known), max(known)
    across, up = WIDTH / (len(history.loss) - 1), HEIGHT / ((most - least) or 1.0)
    lines = []
    for dashes, losses in curves:
        points = " ".join(
            f"{2 + n * across:.1f},{2 + (most - y) * up:.1f}"
            for n, y in enumerate(losses)
            if math.isfinite(y)
        )
        if points:
            lines.append(
                f'<polyline points="{points}" fill="none" stroke="currentColor" '
                f'stroke-width="1.5"{dashes}/>'
            )
    dashed = " (validation dashed)" if history.validation_loss else ""
    return (
        f'<div>{text}<br><svg width="{WIDTH + 4}" height="{HEIGHT + 4}" role="img" '
        f'aria-label="losses over the epochs">{"".join(lines)}</svg><br>'
        f"<small>loss over {len(history.loss)} epochs, {least:.4g} to {most:.4g}{dashed}"
        "</small></div>"
    )
