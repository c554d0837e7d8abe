"""The lab that this library started from: its data, and its four models trained on the core.

``python -m bptt lab`` runs them, prints a table and draws the plots. From Python:

Examples
--------
>>> from bptt import lab
>>> part = lab.train_rnn_by_hand(epochs=2, progress=False)
>>> len(part.history.loss)
2
"""

from bptt.lab.data import VOCABULARY, airline_passengers, sequence_sets
from bptt.lab.parts import (
    Part,
    train_forecaster,
    train_lstm_by_hand,
    train_lstm_torch,
    train_rnn_by_hand,
)

__all__ = [
    "VOCABULARY",
    "Part",
    "airline_passengers",
    "sequence_sets",
    "train_forecaster",
    "train_lstm_by_hand",
    "train_lstm_torch",
    "train_rnn_by_hand",
]
