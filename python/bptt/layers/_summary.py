"""The summary of a model: a table of its layers in text and HTML."""

from __future__ import annotations

from bptt._support.text import Text, table_html
from bptt.layers._stack import Stack
from bptt.layers.last_step import LastStep


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
    text = "\n".join([lines[0], rule, *lines[1:], rule, total])
    return Text(text, table_html(_HEAD, rows, total, ("left", "left", "right")))
