"""The four parts of the lab, trained on the core: by hand, as with torch, and in batches.

Two measures are told apart. `Part.train` and `Part.validation` are those of the whole project: for
the sequences the mean cross-entropy over all tokens, for the passengers the error one month ahead.
`Part.course` has the same scores as the course computes them, because its limits are in that
measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.history import History
from bptt.lab.data import (
    VOCABULARY,
    TokenSet,
    airline_passengers,
    one_hot_encode_sequence,
    sequence_sets,
)
from bptt.lab.lstm import forward
from bptt.lab.rnn import forward_pass
from bptt.lab.training import ByHand, train_lstm, train_rnn
from bptt.layers import LSTM, RNN, Linear, OneHot
from bptt.model import Sequential
from bptt.optimizers import SGD, Adam

Array = NDArray[Any]

HIDDEN = 50
#: The batch size of parts 1 to 3 in batches.
BATCH = 8
#: The limits that the course sets for part 3, on its own measure.
MARKS = (0.29, 0.29)


@dataclass(frozen=True)
class Part:
    """A trained part of the lab.

    Attributes
    ----------
    name : str
        The name of the part.
    model : Sequential or ByHand
        The trained model.
    history : History
        The losses of every epoch: for parts 1 to 3 in nats per token, for part 4 in squared
        thousands of passengers.
    train, validation : float
        The final scores. For parts 1 to 3: the mean cross-entropy over all tokens, in nats. For
        part 4: the root mean squared error of forecasts one month ahead, each made with the whole
        window of four months, in thousands of passengers, on the training and on the test months.
    course : tuple of two floats
        The same scores as the course measures them. Parts 1 and 2: the cross-entropy of a whole
        sequence divided by the size of the vocabulary, its mean over the sequences. Part 3: the
        mean cross-entropy of each sequence, its mean over the sequences, so a token of a short
        sequence counts more. Part 4: the error of the forecasts at all four steps of every window,
        so most are made with fewer than four months.
    limits : tuple of two floats, optional
        The largest scores that the course allows, in its measure.
    strict : bool
        Whether a score must be below its limit, not equal to it.
    example : tuple of str, optional
        A target sequence of the test set and the prediction of the model.
    forecast : dict of ndarray
        For part 4, the forecasts of the training and the test months.
    in_batches : bool
        Whether this is one of parts 1 to 3 in batches of sequences of different lengths.
    """

    name: str
    model: Sequential | ByHand
    history: History
    train: float
    validation: float
    course: tuple[float, float]
    limits: tuple[float, float] | None = None
    strict: bool = False
    example: tuple[str, str] | None = None
    forecast: dict[str, Array] = field(default_factory=dict)
    in_batches: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the scores meet the limits; None if the course has no limits for this part."""
        if self.limits is None:
            return None
        pairs = zip(self.course, self.limits)
        return all(score < limit if self.strict else score <= limit for score, limit in pairs)


def _text(tokens: Array) -> str:
    names = (VOCABULARY[token] for token in tokens)
    return "".join(name if len(name) == 1 else f"<{name}>" for name in names)


def by_hand(cell: str, *, exact: bool, progress: bool = True, **settings: Any) -> Part:
    """Train part 1 (`cell` "RNN") or 2 ("LSTM") with the published or the exact gradients."""
    train = train_rnn if cell == "RNN" else train_lstm
    trained = train(exact=exact, progress=progress, **settings)
    test = sequence_sets().test
    inputs, zero = one_hot_encode_sequence(test.x[0]), np.zeros((HIDDEN, 1))
    if cell == "RNN":
        outputs = forward_pass(inputs, zero, trained.params)[0]
    else:
        outputs = forward(inputs, zero, zero, trained.params)[-1]
    part = 1 if cell == "RNN" else 2
    return Part(
        name=f"{part} {cell} by hand, {'exact' if exact else 'published'}",
        model=trained,
        history=trained.per_token,
        train=trained.score[0],
        validation=trained.score[1],
        course=_per_sequence(trained.score),
        example=(_text(test.y[0]), _text(np.array(outputs)[..., 0].argmax(axis=-1))),
    )


def _per_sequence(score: tuple[float, float]) -> tuple[float, float]:
    """Convert nats per token to the course's measure of parts 1 and 2."""
    sets = sequence_sets()
    lengths = (np.mean([len(y) for y in part.y]) for part in (sets.train, sets.validation))
    train, validation = (s * n / len(VOCABULARY) for s, n in zip(score, lengths))
    return float(train), float(validation)


def train_lstm_torch(*, epochs: int = 500, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 3: LSTM(4, 50) and a linear layer without bias, one sequence at a time.

    As in the lab, with Adam, learning rate 3e-4, and torch's initial weights. The lab requires
    final losses of at most 0.29.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(OneHot(4), LSTM(4, HIDDEN, rng=rng), Linear(HIDDEN, 4, bias=False, rng=rng))
    train = sequence_sets().train
    history = _fit(
        model, train, optimizer=Adam(3e-4), epochs=epochs, batch_size=1, progress=progress
    )
    return _part(3, model, history, name="3 LSTM as with torch", limits=MARKS)


def train_in_batches(
    part: int, *, epochs: int | None = None, seed: int = 2023, progress: bool = True
) -> Part:
    """Train part 1, 2 or 3 in batches of eight sequences of different lengths, with `fit`.

    The model is OneHot(4), RNN(4, 50) (part 1) or LSTM(4, 50) (parts 2 and 3), and Linear(50, 4),
    in part 3 without bias as in the lab. It is float32 with torch's initial weights. Three things
    differ from the lab:

    - A batch is one step, so there are an eighth as many steps, each of them larger: the learning
      rates are 0.05 (part 1; the lab has 3e-4), 0.3 (part 2; 0.1) and 2e-3 (part 3; 3e-4). Part 1
      takes 1000 epochs instead of 2000.
    - Parts 1 and 2 clip gradients to a norm of 1. With the lab's 0.25, seeds 0 to 9 score 0.315 to
      0.42 and 0.313 to 0.317 on the training sequences in the mean over sequences, instead of 0.29.
    - A batch has sequences of similar lengths. The order of the batches is fixed and takes every
      third one, so that short and long sequences alternate. The loss of a batch is the mean over
      its tokens, so every batch counts the same, whether it is of short or of long sequences. That
      is nearly the course's measure of part 3, in which its limit of 0.29 is set: there the best
      probabilities for the mean over all tokens score 0.325 on the training sequences, the best
      ones for the mean over such batches 0.287, and the best possible score is 0.286.

    With seeds 0 to 9, part 3 always meets its limits, and parts 1 and 2 always score better than by
    hand.

    Parameters
    ----------
    part : {1, 2, 3}
        The part.
    epochs : int, optional
        By default 1000, 500 and 500.
    seed : int, default 2023
        The seed of the initial weights.
    progress : bool, default True
        Whether to show the training while it runs, as `Sequential.fit` does.

    Returns
    -------
    Part

    Raises
    ------
    ValueError
        If `part` is not 1, 2 or 3.

    Examples
    --------
    >>> from bptt import lab
    >>> part = lab.train_in_batches(3, epochs=100, progress=False)
    >>> part.history.loss[-1] < part.history.loss[0]
    True
    """
    if part not in (1, 2, 3):
        raise ValueError(f"part must be 1, 2 or 3, got {part!r}; part 4 always uses batches")
    rng = np.random.default_rng(seed)
    recurrent = (RNN if part == 1 else LSTM)(4, HIDDEN, rng=rng)
    model = Sequential(OneHot(4), recurrent, Linear(HIDDEN, 4, bias=part < 3, rng=rng))
    history = _fit(
        model,
        _in_batches(sequence_sets().train),
        optimizer={1: SGD(0.05), 2: SGD(0.3), 3: Adam(2e-3)}[part],
        epochs=(1000 if part == 1 else 500) if epochs is None else epochs,
        batch_size=BATCH,
        clip_norm=1.0 if part < 3 else None,
        progress=progress,
    )
    return _part(
        part,
        model,
        history,
        name=f"{part} {'RNN' if part == 1 else 'LSTM'}, batches of {BATCH}",
        limits=MARKS if part == 3 else None,
        in_batches=True,
    )


def _in_batches(data: TokenSet) -> TokenSet:
    """Sort sequences into batches of similar lengths, and take every third batch next."""
    by_length = np.argsort([len(x) for x in data.x], kind="stable").reshape(-1, BATCH)
    count = len(by_length)
    order = by_length[np.arange(count) * 3 % count].ravel()
    return TokenSet([data.x[n] for n in order], [data.y[n] for n in order])


def _fit(model: Sequential, train: TokenSet, **settings: Any) -> History:
    """Train a model on the sequences in their order."""
    validation = sequence_sets().validation
    return model.fit(
        train.x,
        train.y,
        loss="cross_entropy",
        shuffle=False,
        validation=(validation.x, validation.y),
        **settings,
    )


def _part(part: int, model: Sequential, history: History, **others: Any) -> Part:
    """Score a model on the sequences."""
    sets = sequence_sets()
    pair = sets.train, sets.validation
    train, validation = (model.evaluate(s.x, s.y, loss="cross_entropy") for s in pair)
    predicted = model.predict(sets.test.x[:1])[0].argmax(axis=-1)
    return Part(
        model=model,
        history=history,
        train=train,
        validation=validation,
        course=(
            _per_sequence((train, validation))
            if part < 3
            else (_mean_of_means(model, sets.train), _mean_of_means(model, sets.validation))
        ),
        example=(_text(sets.test.y[0]), _text(predicted)),
        **others,
    )


def _mean_of_means(model: Sequential, data: TokenSet) -> float:
    """Return the course's measure of part 3: the mean over sequences of the loss of each."""
    each = [model.evaluate([x], [y], loss="cross_entropy") for x, y in zip(data.x, data.y)]
    return float(np.mean(each))


def train_forecaster(*, epochs: int = 3100, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 4: LSTM(1, 50) and a linear layer on windows of the airline passengers.

    As in the lab: the mean squared error over all steps, Adam with learning rate 1e-3, batches of
    8. The lab requires a root mean squared error, over all steps, below 22 (training) and 70
    (test). It does not shuffle, and then none of ten seeds met both limits (its published run:
    22.28). With shuffling, as here, all ten do. The test months only serve for the curve
    ``history.validation_loss``.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(LSTM(1, HIDDEN, batch_first=True, rng=rng), Linear(HIDDEN, 1, rng=rng))
    data = airline_passengers()
    history = model.fit(
        data.train_x,
        data.train_y,
        loss="mse",
        optimizer=Adam(1e-3),
        epochs=epochs,
        batch_size=8,
        shuffle=True,
        validation=(data.test_x, data.test_y),
        rng=rng,
        progress=progress,
    )
    forecast = {
        name: np.asarray(model.predict(x))[:, -1, 0]
        for name, x in (("train", data.train_x), ("test", data.test_x))
    }
    return Part(
        name="4 forecasting",
        model=model,
        history=history,
        train=_rmse(forecast["train"], data.train_y[:, -1, 0]),
        validation=_rmse(forecast["test"], data.test_y[:, -1, 0]),
        course=(
            model.evaluate(data.train_x, data.train_y, loss="mse") ** 0.5,
            model.evaluate(data.test_x, data.test_y, loss="mse") ** 0.5,
        ),
        limits=(22.0, 70.0),
        strict=True,
        forecast=forecast,
    )


def _rmse(forecast: Array, truth: Array) -> float:
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def run(*, seed: int = 2023, progress: bool = True) -> Iterator[Part]:
    """Train all parts one after the other.

    Parts 1 and 2 with the published and the exact gradients, part 3, each followed by itself in
    batches, and part 4.
    """
    for part, cell in ((1, "RNN"), (2, "LSTM")):
        for exact in (False, True):
            yield by_hand(cell, exact=exact, seed=seed, progress=progress)
        yield train_in_batches(part, seed=seed, progress=progress)
    yield train_lstm_torch(seed=seed, progress=progress)
    yield train_in_batches(3, seed=seed, progress=progress)
    yield train_forecaster(seed=seed, progress=progress)
