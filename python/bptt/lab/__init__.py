"""The lab notebook that this library started from: its functions, its data and its four models.

``python -m bptt lab`` trains the models, prints a table and draws the plots. The functions here
replace those of the notebook: they have the same names, arguments, shapes and numbers, and the core
computes them.

Examples
--------
>>> import numpy as np
>>> from bptt import lab
>>> np.random.seed(2023)
>>> params = lab.init_rnn(50, 4)
>>> inputs, targets = (lab.one_hot_encode_sequence(s, 4) for s in ("aab", "abb"))
>>> outputs, hidden_states = lab.forward_pass(inputs, np.zeros((50, 1)), params)
>>> loss, grads = lab.backward_pass(inputs, outputs, hidden_states, targets, params)
>>> params = lab.update_parameters(params, grads, lr=3e-4)
"""

from bptt.lab.data import (
    VOCABULARY,
    PairSet,
    airline_passengers,
    create_datasets,
    generate_data,
    one_hot_encode_sequence,
    seqs_to_dicts,
    sequence_sets,
)
from bptt.lab.floor import all_sequences, loss_floor, switch_probabilities
from bptt.lab.lstm import backward, forward, init_lstm
from bptt.lab.parts import Part, train_forecaster, train_in_batches, train_lstm_torch
from bptt.lab.pieces import (
    clip_gradient_norm,
    init_orthogonal,
    sigmoid,
    softmax,
    tanh,
    update_parameters,
)
from bptt.lab.rnn import backward_pass, forward_pass, init_rnn
from bptt.lab.training import ByHand, train_lstm, train_rnn

__all__ = [
    "VOCABULARY",
    "ByHand",
    "PairSet",
    "Part",
    "airline_passengers",
    "all_sequences",
    "backward",
    "backward_pass",
    "clip_gradient_norm",
    "create_datasets",
    "forward",
    "forward_pass",
    "generate_data",
    "init_lstm",
    "init_orthogonal",
    "init_rnn",
    "loss_floor",
    "one_hot_encode_sequence",
    "seqs_to_dicts",
    "sequence_sets",
    "sigmoid",
    "softmax",
    "switch_probabilities",
    "tanh",
    "train_forecaster",
    "train_in_batches",
    "train_lstm",
    "train_lstm_torch",
    "train_rnn",
    "update_parameters",
]
