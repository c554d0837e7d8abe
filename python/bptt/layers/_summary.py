"""The summary of a model: a table of its layers in text or HTML.

HTML takes its colours from the notebook (``currentColor``), so it is readable on light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bptt.layers._stack import Stack
from bptt.layers.last_step import LastStep


class Text(str):
    """A string that Python's prompt shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _rows(stack: Stack) -> tuple[list[list[str]], str]:
    """Return name, output shape and number of parameters of each layer, and a line of totals."""
    rows, lead, total = [], "N, T", 0
    for layer, (_, features) in zip(stack.layers, stack.features):
        if isinstance(layer, LastStep):
            lead = "N"
        count = sum(array.size for array in layer.parameters.values())
        total += count
        rows.append([repr(layer), f"({lead}, {features})", f"{count:,}"])
    size = float(total * stack.dtype.itemsize)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    number = f"{size:.0f}" if unit == "bytes" else f"{size:.1f}"
    return rows, f"{total:,} parameters, {stack.dtype}, {number} {unit}"


_HEAD = ["layer", "output", "parameters"]


def summary(stack: Stack) -> Text:
    """Return the table of `Sequential.summary`."""
    rows, total = _rows(stack)
    widths = [max(len(row[n]) for row in [_HEAD, *rows]) for n in range(3)]
    lines = []
    for layer, shape, count in [_HEAD, *rows]:
        cells = layer.ljust(widths[0]), shape.ljust(widths[1]), count.rjust(widths[2])
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 4)
    return Text("\n".join([lines[0], rule, *lines[1:], rule, total]))


def summary_html(stack: Stack) -> str:
    """Return the same table as HTML."""
    rows, total = _rows(stack)
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
