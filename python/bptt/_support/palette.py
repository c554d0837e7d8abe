"""The colours of all figures: one colour for one thing.

They are those of Okabe and Ito (2008, "Color universal design"), which readers with any colour
vision can tell apart. All are readable on white and on black.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#666666"

TRAINING, VALIDATION = BLUE, VERMILLION
#: The best epoch, and the lowest loss that data allow.
BEST = GREEN
#: What others are held against: limits, chance, where a forecast begins.
REFERENCE = GREY
#: Known values of a series, behind the forecasts.
DATA = "#888888"
CELLS = {"RNN": PURPLE, "LSTM": BLUE, "GRU": ORANGE}

#: The colours of things by name, for figures of one's own.
COLORS = {
    "training": TRAINING,
    "validation": VALIDATION,
    "best": BEST,
    "reference": REFERENCE,
    "series": DATA,
    **CELLS,
}

#: The order in which things without a colour of their own get one.
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, GREY)


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name: that of the cell that it names, or the next free one.

    Examples
    --------
    >>> from bptt._support.palette import colors_of
    >>> colors_of(["GRU, small", "LSTM", "naive"])
    {'GRU, small': '#E69F00', 'LSTM': '#0072B2', 'naive': '#D55E00'}
    """
    names = list(names)
    colors: dict[str, str] = {}
    for name in names:
        for cell, color in CELLS.items():
            word = re.search(rf"(?<![a-z]){cell}(?![a-z])", name, re.IGNORECASE)
            if word and color not in colors.values():
                colors[name] = color
                break
    free = [color for color in CYCLE if color not in colors.values()]
    rest = [name for name in names if name not in colors]
    for n, name in enumerate(rest):
        colors[name] = free[n % len(free)]
    return {name: colors[name] for name in names}
