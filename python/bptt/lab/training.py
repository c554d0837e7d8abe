"""Training of the two networks by hand, as in the notebook; whole runs are in Rust."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Dataset, LabProgress, LabTraining
from bptt._data.sequences import Sequences
from bptt._support import check
from bptt._support.progress import SLICE
from bptt._training.display import Display, training_display
from bptt.history import DivergedError, History
from bptt.lab import lstm, rnn
from bptt.lab.data import VOCABULARY, Tokens, sequence_sets, token_numbers
from bptt.lab.pieces import MAX_NORM, Array, parameters

Pairs = Iterable[tuple[Tokens, Tokens]]


@dataclass(frozen=True)
class ByHand:
    """A trained network of part 1 or 2.

    Attributes
    ----------
    params : tuple of ndarray
        The parameters in the order of `init_rnn` or `init_lstm`.
    history : History
        The losses of the notebook in every epoch: for the training sequences computed while
        training, for the validation sequences before it. The notebook's loss is the cross-entropy
        of a whole sequence divided by the size of the vocabulary, and its mean over the sequences.
        So it grows with the length of the sequences.
    per_token : History
        The same losses as `fit` and `evaluate` define them: the mean cross-entropy over all tokens,
        in nats.
    score : tuple of two floats
        The final loss per token of the training and the validation sequences.
    """

    params: tuple[Array, ...]
    history: History
    per_token: History
    score: tuple[float, float]


def train_rnn(
    training_set: Pairs | None = None,
    validation_set: Pairs | None = None,
    *,
    params: Sequence[ArrayLike] | None = None,
    hidden_size: int = 50,
    epochs: int = 2000,
    lr: float = 3e-4,
    max_norm: float = MAX_NORM,
    exact: bool = False,
    seed: int = 2023,
    progress: bool = True,
) -> ByHand:
    """Train part 1 of the notebook: the RNN by hand, one sequence at a time, in float64.

    Every epoch computes the losses of the validation sequences, then makes a step of gradient
    descent for each training sequence, with gradients clipped to `max_norm`. The defaults reproduce
    the losses of the notebook.

    Parameters
    ----------
    training_set, validation_set : iterable of (inputs, targets), optional
        Sequences of tokens ("a", "b", "EOS", "UNK" or their numbers), as from `create_datasets`. By
        default both are those of the notebook.
    params : sequence of array_like, optional
        Initial parameters, which are copied. By default those of the notebook: the second draw of
        `init_rnn` after seeding NumPy's global generator, which is then restored.
    hidden_size : int, default 50
        Hidden units, if `params` is not given.
    epochs : int, default 2000
        Passes over the sequences.
    lr : float, default 3e-4
        The learning rate.
    max_norm : float, default 0.25
        The largest joint norm of the gradients.
    exact : bool, default False
        Whether to train with the exact gradients instead of the published ones; see
        `backward_pass`.
    seed : int, default 2023
        The seed of the initial parameters, if `params` is not given.
    progress : bool, default True
        Whether to show the training while it runs, as `Sequential.fit` does.

    Returns
    -------
    ByHand
        Parameters and losses; after Ctrl-C, those reached so far.

    Raises
    ------
    DivergedError
        If a loss becomes NaN or infinite.

    Examples
    --------
    >>> from bptt import lab
    >>> run = lab.train_rnn(epochs=1, progress=False)
    >>> round(run.history.loss[0], 9), round(run.history.validation_loss[0], 9)
    (4.050465095, 4.801971836)
    """
    if params is None:
        params = _draw(lambda: rnn.init_rnn(hidden_size, len(VOCABULARY)), seed)
    start = parameters("params", params, rnn.SHAPES)
    sizes = start["V"].shape[0], start["W"].shape[0]
    training = _Training(start, False, sizes, lr, max_norm, exact)
    return training.run(training_set, validation_set, epochs, progress)


def train_lstm(
    training_set: Pairs | None = None,
    validation_set: Pairs | None = None,
    *,
    params: Sequence[ArrayLike] | None = None,
    hidden_size: int = 50,
    epochs: int = 500,
    lr: float = 0.1,
    max_norm: float = MAX_NORM,
    exact: bool = False,
    seed: int = 2023,
    progress: bool = True,
) -> ByHand:
    """Train part 2 of the notebook: the LSTM by hand, one sequence at a time, in float64.

    Parameters and results are those of `train_rnn`, except that `params` has the order of
    `init_lstm` and the gradients are those of `backward`.

    Examples
    --------
    >>> from bptt import lab
    >>> run = lab.train_lstm(epochs=1, progress=False)
    >>> round(run.history.loss[0], 9), round(run.history.validation_loss[0], 9)
    (3.06540846, 4.499707061)
    """
    if params is None:
        params = _draw(lambda: lstm.init_lstm(hidden_size, len(VOCABULARY)), seed)
    start, *sizes = lstm.check_parameters("params", params)
    training = _Training(start, True, (sizes[0], sizes[1]), lr, max_norm, exact)
    return training.run(training_set, validation_set, epochs, progress)


def _draw(init: Callable[[], tuple[Array, ...]], seed: int) -> tuple[Array, ...]:
    """Draw parameters as in the notebook: twice after seeding, and keep the second draw."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        init()
        return init()
    finally:
        np.random.set_state(before)  # noqa: NPY002


@dataclass(frozen=True)
class _Sequences:
    """A data set, the number of its sequences and of their tokens."""

    data: Dataset
    count: int
    tokens: int


class _Training:
    """The training of a network: the loop over epochs."""

    def __init__(
        self,
        params: dict[str, Array],
        is_lstm: bool,
        sizes: tuple[int, int],
        lr: object,
        max_norm: object,
        exact: object,
    ) -> None:
        self._shapes = [param.shape for param in params.values()]
        self._vocab_size = sizes[1]
        self._core = LabTraining(
            list(params.values()),
            is_lstm,
            sizes,
            check.real("lr", lr),
            check.real("max_norm", max_norm),
            check.flag("exact", exact),
        )

    def run(
        self,
        training_set: Pairs | None,
        validation_set: Pairs | None,
        epochs: int,
        progress: bool,
    ) -> ByHand:
        epochs = check.size("epochs", epochs, least=0)
        progress = check.flag("progress", progress)
        if training_set is None:
            sets = sequence_sets()
            training_set = zip(sets.train.x, sets.train.y)
            if validation_set is None:
                validation_set = zip(sets.validation.x, sets.validation.y)
        training = self._dataset("training_set", training_set)
        validation = None
        if validation_set is not None:
            validation = self._dataset("validation_set", validation_set)

        history, per_token = History(), History()
        begin = time.perf_counter()
        with training_display(history, epochs, progress) as display:
            try:
                for epoch in range(epochs):
                    validated = None if validation is None else self._walk(validation)
                    loss = self._walk(training, display)
                    if not math.isfinite(loss):
                        message = f"training diverged in epoch {epoch + 1}: try a smaller lr"
                        raise DivergedError(message, history)
                    history.loss.append(loss)
                    per_token.loss.append(self._per_token(loss, training))
                    if validation is not None and validated is not None:
                        history.validation_loss.append(validated)
                        per_token.validation_loss.append(self._per_token(validated, validation))
                    display.advance()
            except KeyboardInterrupt:
                history.interrupted = per_token.interrupted = True
            finally:
                history.seconds = per_token.seconds = time.perf_counter() - begin
        pairs = zip(self._core.params(), self._shapes)
        return ByHand(
            params=tuple(flat.reshape(shape) for flat, shape in pairs),
            history=history,
            per_token=per_token,
            score=(
                self._score(training),
                math.nan if validation is None else self._score(validation),
            ),
        )

    def _walk(self, sequences: _Sequences, display: Display | None = None) -> float:
        """Make a pass over the sequences; return their mean loss as the notebook defines it.

        With a display, the network learns.
        """
        progress, learn = LabProgress(), display is not None
        while progress.done < sequences.count and not progress.diverged:
            progress = self._core.walk(sequences.data, progress, learn, SLICE)
            if display is not None:
                done = progress.done
                display.within(done / sequences.count, progress.loss_sum, done)
        return progress.loss_sum / sequences.count

    def _per_token(self, loss: float, sequences: _Sequences) -> float:
        """Convert a loss of the notebook: it is a V-th of the cross-entropy of a sequence."""
        return loss * self._vocab_size * sequences.count / sequences.tokens

    def _score(self, sequences: _Sequences) -> float:
        return self._per_token(self._walk(sequences), sequences)

    def _dataset(self, name: str, pairs: Pairs) -> _Sequences:
        sequences: list[list[Array]] = []
        for n, pair in enumerate(pairs):
            if len(pair) != 2:
                raise ValueError(
                    f"{name}[{n}] must be a pair (inputs, targets), got {len(pair)} items"
                )
            sequences.append([np.atleast_1d(token_numbers(tokens)) for tokens in pair])
            given, wanted = map(len, sequences[-1])
            if given != wanted:
                raise ValueError(
                    f"{name}[{n}] must have a target for every input, got {wanted} for {given}"
                )

        def flat(which: int) -> Sequences:
            tokens = [pair[which] for pair in sequences]
            below = self._vocab_size
            return Sequences(name, tokens, None, lambda part, v: check.classes(part, v, below))

        inputs, targets = flat(0), flat(1)
        # Copies: one sequence alone is the caller's array, which other code may change.
        flats = inputs.flat.copy(), targets.flat.copy()
        return _Sequences(Dataset(*flats, inputs.offsets), len(sequences), len(flats[0]))
