"""What can be known of the lab's sequences: all of them, and the loss of the best of all models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bptt.lab.data import Array, Tokens, TokenSet, token_numbers

#: A sequence has from 1 to so many 'a', each number as likely as the others.
LONGEST = 11


def all_sequences() -> TokenSet:
    """Return every sequence that can be drawn, each once: n = 1 to 11.

    All are equally likely, so the mean cross-entropy over them is as good as the expectation over
    all draws, without the chance of a sample.

    Examples
    --------
    >>> from bptt import lab
    >>> sequences = lab.all_sequences()
    >>> len(sequences.x), sequences.x[1], sequences.y[1]
    (11, array([0, 0, 1, 1]), array([0, 1, 1, 2]))
    """
    whole = [token_numbers(["a"] * n + ["b"] * n + ["EOS"]) for n in range(1, LONGEST + 1)]
    return TokenSet([s[:-1] for s in whole], [s[1:] for s in whole])


def switch_probabilities() -> Array:
    """Return how likely 'b' is after n times 'a', for n = 1 to 11: ``1 / (12 - n)``.

    It is the only event of a sequence that cannot be known. A model that has counted the 'a' knows
    everything after it.

    Examples
    --------
    >>> from bptt import lab
    >>> lab.switch_probabilities().round(2)
    array([0.09, 0.1 , 0.11, 0.12, 0.14, 0.17, 0.2 , 0.25, 0.33, 0.5 , 1.  ])
    """
    return 1.0 / (LONGEST + 1 - np.arange(1, LONGEST + 1))


def loss_floor(targets: Sequence[Tokens] | None = None) -> float:
    """Return the least mean cross-entropy, in nats per token, that a model can expect.

    The best model gives 'b' after n times 'a' the probability of `switch_probabilities`, and
    everything after the switch the probability 1. For every n the product of its probabilities over
    the sequence is 1/11, because all n are equally likely. So each sequence costs ``ln 11`` nats,
    however long it is, and the mean per token is ``ln 11 / (mean number of targets)``.

    Parameters
    ----------
    targets : sequence of sequences of tokens, optional
        The target sequences, such as ``lab.sequence_sets().train.y``; only their lengths matter. By
        default all sequences that can be drawn.

    Returns
    -------
    float
        A model can score less on given sequences only by learning their own numbers of 'a' by
        heart.

    Examples
    --------
    >>> from bptt import lab
    >>> round(lab.loss_floor(), 4)  # ln 11 / 12
    0.1998
    >>> round(lab.loss_floor(lab.sequence_sets().train.y), 4)
    0.2155
    """
    lengths = [len(y) for y in (all_sequences().y if targets is None else targets)]
    if not sum(lengths):
        raise ValueError("targets must hold at least one token, got none")
    return math.log(LONGEST) / (sum(lengths) / len(lengths))
