"""The lab's four parts, trained on the core with its own, true gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.history import History
from bptt.lab.data import VOCABULARY, airline_passengers, sequence_sets
from bptt.layers import Layer, Linear, OneHot
from bptt.model import Sequential
from bptt.optimizers import SGD, Adam
from bptt.recurrent import LSTM, RNN, _Recurrent

Array = NDArray[Any]

HIDDEN = 50


@dataclass(frozen=True)
class Part:
    """A trained part of the lab.

    Attributes
    ----------
    name : str
        What was trained.
    model : Sequential
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
    model: Sequential
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


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw a matrix with orthonormal rows or columns (Saxe, McClelland and Ganguli 2014)."""
    rows, columns = shape
    draw = rng.standard_normal((max(shape), min(shape)))
    q, r = np.linalg.qr(draw)
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def _start_by_hand(model: Sequential, rng: np.random.Generator) -> None:
    """Start as the lab's own networks do: orthogonal weights, gate by gate, and zero biases."""
    for layer in model.layers:
        if not isinstance(layer, Layer):
            continue
        for array in layer.parameters.values():
            if array.ndim == 1:
                array[:] = 0
                continue
            height = layer.hidden_size if isinstance(layer, _Recurrent) else array.shape[0]
            for first in range(0, array.shape[0], height):
                array[first : first + height] = _orthogonal(rng, (height, array.shape[1]))


def _train_on_sequences(
    name: str, model: Sequential, limits: tuple[float, float] | None, **settings: Any
) -> Part:
    sets = sequence_sets()
    validation = (sets.validation.x, sets.validation.y)
    history = model.fit(
        sets.train.x,
        sets.train.y,
        loss="cross_entropy",
        batch_size=1,
        shuffle=False,
        validation=validation,
        **settings,
    )
    predicted = model.predict(sets.test.x[:1])[0].argmax(axis=-1)
    return Part(
        name=name,
        model=model,
        history=history,
        train=model.evaluate(sets.train.x, sets.train.y, loss="cross_entropy"),
        validation=model.evaluate(*validation, loss="cross_entropy"),
        limits=limits,
        example=(_text(sets.test.y[0]), _text(predicted)),
    )


def _text(tokens: Array) -> str:
    names = (VOCABULARY[token] for token in tokens)
    return "".join(name if len(name) == 1 else f"<{name}>" for name in names)


def train_rnn_by_hand(*, epochs: int = 2000, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 1: RNN(4, 50) and a linear layer in float64, one sequence at a time.

    SGD with learning rate 3e-4, gradients clipped to norm 0.25, orthogonal weights at the start, as
    in the lab.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(
        OneHot(4), RNN(4, HIDDEN, dtype="float64"), Linear(HIDDEN, 4, dtype="float64")
    )
    _start_by_hand(model, rng)
    settings = {"optimizer": SGD(3e-4), "clip_norm": 0.25, "epochs": epochs, "progress": progress}
    return _train_on_sequences("1 RNN by hand", model, None, **settings)


def train_lstm_by_hand(*, epochs: int = 500, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 2: LSTM(4, 50) and a linear layer in float64, one sequence at a time.

    SGD with learning rate 0.1, gradients clipped to norm 0.25, orthogonal weights at the start, as
    in the lab.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(
        OneHot(4), LSTM(4, HIDDEN, dtype="float64"), Linear(HIDDEN, 4, dtype="float64")
    )
    _start_by_hand(model, rng)
    settings = {"optimizer": SGD(0.1), "clip_norm": 0.25, "epochs": epochs, "progress": progress}
    return _train_on_sequences("2 LSTM by hand", model, None, **settings)


def train_lstm_torch(*, epochs: int = 500, seed: int = 2023, progress: bool = True) -> Part:
    """Train part 3: LSTM(4, 50) and a linear layer without bias, one sequence at a time.

    Adam with learning rate 3e-4 and torch's initial weights, as in the lab, which asks for both
    losses to be at most 0.29 in the end.
    """
    rng = np.random.default_rng(seed)
    model = Sequential(OneHot(4), LSTM(4, HIDDEN, rng=rng), Linear(HIDDEN, 4, bias=False, rng=rng))
    settings = {"optimizer": Adam(3e-4), "epochs": epochs, "progress": progress}
    return _train_on_sequences("3 LSTM as with torch", model, (0.29, 0.29), **settings)


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
    """Train the four parts, one after the other."""
    for train in (train_rnn_by_hand, train_lstm_by_hand, train_lstm_torch, train_forecaster):
        yield train(seed=seed, progress=progress)
