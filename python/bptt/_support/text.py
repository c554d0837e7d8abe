"""Texts that a prompt shows without quotes and a notebook as a table.

The tables take their colours from the page (``currentColor``), so they are readable on light and
dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Self


class Text(str):
    """A string with a form in HTML."""

    _html: str

    def __new__(cls, text: str, html: str = "") -> Self:
        made = super().__new__(cls, text)
        made._html = html
        return made

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str | None:
        return self._html or None


def table_html(
    head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, sides: Sequence[str]
) -> str:
    """Return a table as HTML.

    Parameters
    ----------
    head : sequence of str
        The names of the columns.
    rows : sequence of sequences of str
        The cells. Line ends stay.
    caption : str
        What is below the table.
    sides : sequence of {"left", "right"}
        How each column is aligned.
    """

    def row(tag: str, cells: Sequence[str], style: str = "") -> str:
        made = (
            f'<{tag} style="text-align:{side};vertical-align:top;padding:2px 10px;{style}">'
            f"{escape(cell).replace(chr(10), '<br>')}</{tag}>"
            for side, cell in zip(sides, cells)
        )
        return f"<tr>{''.join(made)}</tr>"

    line = "border-bottom:1px solid currentColor"
    body = "".join(row("td", cells) for cells in rows)
    return (
        '<table style="border-collapse:collapse"><caption style="caption-side:bottom;'
        f'text-align:left;padding:2px 10px;color:inherit">{escape(caption)}</caption>'
        f"<thead>{row('th', head, line)}</thead><tbody>{body}</tbody></table>"
    )
