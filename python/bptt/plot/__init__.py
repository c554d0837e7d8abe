"""Figures of training, of weights, and of what models do. They need matplotlib (extra "plot").

Each function returns a `matplotlib.figure.Figure`. A notebook shows it; elsewhere
``figure.savefig("name.png")`` writes it. Figures take their background and the colour of their text
from matplotlib's style, so ``plt.style.use("dark_background")`` makes them dark.

A colour means the same thing in all of them: `COLORS` has those of "training", "validation",
"best", "reference", "series", "RNN", "LSTM" and "GRU", and `CYCLE` those of all else, in order.
They are the colours of Okabe and Ito, which readers with any colour vision can tell apart.
"""

from bptt._support.palette import COLORS, CYCLE
from bptt.plot._compare import compare
from bptt.plot._confusion import confusion
from bptt.plot._forecast import forecast
from bptt.plot._gates import gates
from bptt.plot._weights import weights

__all__ = ["COLORS", "CYCLE", "compare", "confusion", "forecast", "gates", "weights"]
