"""What all figures share: a figure that notebooks show, and its look."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

from bptt._support.extras import require

#: The width of lines and the sizes of text in points: readable at half the size.
LINE = 1.8
TEXT, SMALL = 11, 10

#: White where there is nothing, so that numbers can be written over it.
SHARES = "Blues"


@cache
def _figure_class() -> Any:
    class Figure(require("matplotlib.figure", "plot").Figure):  # type: ignore[misc]
        """A figure without a window, which notebooks show even without pyplot."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Figure


def figure(width: float, height: float) -> Any:
    """Return a new figure of a size in inches."""
    return _figure_class()(figsize=(width, height), layout="constrained")


def tidy(ax: Any) -> None:
    """Take away the lines of the frame that show nothing, and set the sizes of the text."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL)
    ax.xaxis.label.set_size(TEXT)
    ax.yaxis.label.set_size(TEXT)
    ax.title.set_size(TEXT)


def legend(figure: Any, handles: Any, labels: Any, width: float) -> None:
    """Put a legend above the axes, where it hides nothing, in as many columns as fit."""
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), int(width / (0.085 * longest + 0.65))))
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=TEXT,
        borderaxespad=0.0,  # the layout does not count it
    )


def plain(text: object) -> str:
    """Return a text that matplotlib shows as it is: a dollar sign begins no formula."""
    return str(text).replace("$", r"\$")
