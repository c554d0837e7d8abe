"""Evaluation and prediction: passes over data, piece by piece.

The core returns now and then, so that Python can see Ctrl-C and draw progress.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import EVALUATION_ROWS, EVALUATION_STEPS, Progress, Trainer
from bptt._data.sources import Source
from bptt.layers._stack import Stack
from bptt.layers._states import States, to_core

Array = NDArray[Any]


def _at_a_time(source: Source) -> int:
    """Return the number of sequences in a piece: as many as the core takes at a time."""
    longest = 1 if source.lengths is None else int(source.lengths.max())
    return max(1, min(EVALUATION_ROWS, EVALUATION_STEPS // longest))


def _nobody(done: int) -> None:
    """Tell nobody."""


def evaluate(trainer: Trainer, source: Source, tell: Callable[[int], None] = _nobody) -> float:
    """Return the mean loss over all targets, with the weights that they have in training.

    `tell` is told how many sequences are done.
    """
    done, loss, count = 0, 0.0, 0.0
    for piece in source.pieces(None, _at_a_time(source)):
        progress = Progress()
        while progress.done < len(piece.order):
            progress = trainer.evaluate(piece.data.core, progress, piece.slice)
            if piece.release is not None:
                piece.release()
            tell(done + progress.done)
        done += progress.done
        loss += progress.loss_sum
        count += progress.count
    if count == 0:
        raise ValueError("all targets are ignored, or have weight 0: there is nothing to evaluate")
    return loss / count


def predict(
    stack: Stack,
    source: Source,
    tell: Callable[[int], None],
    states: States = (),
) -> Array:
    """Return the outputs (sum of T, O), or (N, O) with one output per sequence.

    `states` are the initial states of the recurrent layers, each array (L D, N, H); they become the
    final states. Without them, sequences start from zeros. `tell` is told how many sequences are
    done.
    """
    lengths, per_sequence = source.lengths, stack.per_sequence
    assert lengths is not None
    model, params = stack.core_model(), stack.flat_parameters()
    outputs = model.outputs(len(lengths) if per_sequence else int(lengths.sum()))
    done = first = 0
    for piece in source.pieces(None, _at_a_time(source)):
        end = first + (len(piece.order) if per_sequence else int(piece.data.lengths.sum()))
        rows, count = slice(done, done + len(piece.order)), 0
        of_piece = [[np.array(part[:, rows], order="C") for part in state] for state in states]
        flat = to_core(of_piece) or None
        while count < len(piece.order):
            to = outputs[first:end]
            count = model.predict(params, piece.data.core, count, to, flat, piece.slice)
            if piece.release is not None:
                piece.release()
            tell(done + count)
        for state, new in zip(states, of_piece):
            for part, numbers in zip(state, new):
                part[:, rows] = numbers
        done, first = done + count, end
    return outputs
