"""Layers: LSTM, GRU and RNN, the layers without a state, and steppers."""

from bptt.layers._base import Layer
from bptt.layers.gru import GRU
from bptt.layers.last_step import LastStep
from bptt.layers.lstm import LSTM
from bptt.layers.recurrent import Tape, explain
from bptt.layers.rnn import RNN
from bptt.layers.stateless import Dropout, Embedding, LayerNorm, Linear, OneHot, Record
from bptt.layers.stepper import Stepper

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dropout",
    "Embedding",
    "LastStep",
    "Layer",
    "LayerNorm",
    "Linear",
    "OneHot",
    "Record",
    "Stepper",
    "Tape",
    "explain",
]
