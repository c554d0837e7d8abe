"""The lab's four parts, trained on the core: by hand with either gradient, then as with torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.history import History
from bptt.lab.data import (
    VOCABULARY,
    airline_passengers,
    one_hot_encode_sequence,
    sequence_sets,
)
from bptt.lab.lstm import forward
from bptt.lab.rnn import forward_pass
from bptt.lab.training import ByHand, train_lstm, train_rnn
from bptt.layers import Linear, OneHot
from bptt.model import Sequential
from bptt.optimizers import Adam
from bptt.recurrent import LSTM

Array = NDArray[Any]

HIDDEN = 50


@dataclass(frozen=True)
class Part:
    """A trained part of the lab.

    Attributes
    ----------
    name : str
        What was trained.
    model : Sequential or ByHand
        The trained model.
    history : History
        Its losses: nats a token for parts 1 to 3, squared thousands of passengers for part 4.
    train, validation : float
        The final score: cross-entropy for parts 1 to 3, root mean squared error for part 4 (on the
        test months).
    limits : tuple of two floats, optional
        What the lab asks of the two scores.
    strict : bool
        Whether a score must stay below its limit rather than reach it.
    example : tuple of str, optional
        A target sequence of the test set and what the model predicts.
    """

    name: str
    model: Sequential | ByHand
    history: History
    train: float
    validation: float
    limits: tuple[float, float] | None = None
    strict: bool = False
    example: tuple[str, str] | None = None
    forecast: dict[str, Array] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the limits are met; None if the lab asks for nothing."""
        if self.limits is None:
            return None
        pairs = zip((self.train, self.validation), self.limits)
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
        example=(_text(test.y[0]), _text(np.array(outputs)[..., 0].argmax(axis=-1))),
    )


def train_lstm_torch(*, epochs: int = 500, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 3: LSTM(4, 50) and a linear layer without bias, one sequence at a time.

    Adam with learning rate 3e-4 and torch's initial weights, as in the lab, which asks for both
    losses to be at most 0.29 in the end.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(OneHot(4), LSTM(4, HIDDEN, rng=rng), Linear(HIDDEN, 4, bias=False, rng=rng))
    sets = sequence_sets()
    train, validation = (sets.train.x, sets.train.y), (sets.validation.x, sets.validation.y)
    history = model.fit(
        *train,
        loss="cross_entropy",
        optimizer=Adam(3e-4),
        epochs=epochs,
        batch_size=1,
        shuffle=False,
        validation=validation,
        progress=progress,
    )
    predicted = model.predict(sets.test.x[:1])[0].argmax(axis=-1)
    return Part(
        name="3 LSTM as with torch",
        model=model,
        history=history,
        train=model.evaluate(*train, loss="cross_entropy"),
        validation=model.evaluate(*validation, loss="cross_entropy"),
        limits=(0.29, 0.29),
        example=(_text(sets.test.y[0]), _text(predicted)),
    )


def train_forecaster(*, epochs: int = 3100, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 4: LSTM(1, 50) and a linear layer on windows of the airline passengers.

    Mean squared error over all steps, Adam with learning rate 1e-3, batches of 8, as in the lab,
    which asks for a root mean squared error below 22 (train) and 70 (test). The lab takes its
    batches in order, and of ten seeds none reached both marks (its own published run: 22.28); in a
    new order every epoch, the same settings reach them with all ten.
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
        train=model.evaluate(data.train_x, data.train_y, loss="mse") ** 0.5,
        validation=model.evaluate(data.test_x, data.test_y, loss="mse") ** 0.5,
        limits=(22.0, 70.0),
        strict=True,
        forecast=forecast,
    )


def run(*, seed: int = 2023, progress: bool = True) -> Iterator[Part]:
    """Train parts 1 and 2 with either gradient, then parts 3 and 4, one after the other."""
    for cell in ("RNN", "LSTM"):
        for exact in (False, True):
            yield by_hand(cell, exact=exact, seed=seed, progress=progress)
    yield train_lstm_torch(seed=seed, progress=progress)
    yield train_forecaster(seed=seed, progress=progress)
