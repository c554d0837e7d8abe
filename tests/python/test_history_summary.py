"""`history.summary()`: each rule on histories that are made up, and on real ones."""

import math
import re

import numpy as np
import pytest

import bptt

EPOCHS = np.arange(50.0)
DOWN = np.exp(-EPOCHS / 8)


def history(loss, validation=(), **options):
    return bptt.History(loss=list(loss), validation_loss=list(validation), **options)


MADE_UP = {
    "over-fitting": (
        history(0.05 + DOWN, 0.3 + DOWN + 0.01 * np.maximum(EPOCHS - 20, 0)),
        r"Validation was best at epoch \d+ \(0.\d+\) and rises since .*: over-fitting; "
        r".*restore_best_weights.*dropout",
    ),
    "early stopping": (
        history(1 - 0.1 * EPOCHS[:9], [0.9, 0.7, 0.6, 0.5, 0.53, 0.55, 0.54, 0.56, 0.58]),
        r"best at epoch 4 \(0.5\) and rises since \(to 0.58\)",
    ),
    "stuck": (
        history(0.7 - 2e-8 * EPOCHS),
        "moved by 1e-06 in 50 epochs, from 0.7: .* scale the inputs",
    ),
    "rising": (history(1 + 0.1 * EPOCHS), r"rose from 1 to 5.9: .*lower the learning rate"),
    "jumping": (
        history(0.5 + 0.2 * np.cos(3 * EPOCHS) + 0.5 * DOWN),
        "jumps by .*% from epoch to epoch: lower the learning rate",
    ),
    "still falling": (
        history(np.exp(-EPOCHS / 30)),
        r"The training loss still falls, by 28% over the last 10 epochs .*train for more epochs",
    ),
    "validation still falling": (
        history(np.exp(-EPOCHS / 30), 1.1 * np.exp(-EPOCHS / 30)),
        "Validation still falls",
    ),
    "below": (
        history(0.3 + DOWN, 0.2 + 0.6 * DOWN),
        "Validation is below training .*: dropout acts in training only",
    ),
    "far above": (
        history(0.1 + DOWN, 0.4 + DOWN),
        "flat and far above training .*: the model knows its training data by heart",
    ),
    "done": (
        history(0.1 + DOWN, 0.11 + DOWN),
        "from 1.1 to 0.102, validation from 1.11 to 0.112, and both are flat now",
    ),
    "done without validation": (history(0.1 + DOWN), "and it is flat now"),
    "short": (history([1.0, 0.8]), "after so few epochs, train for more"),
    "nothing": (history([]), "No epoch is finished"),
    "interrupted": (
        history(0.1 + DOWN, interrupted=True),
        "^Ctrl-C ended training after 50 epochs",
    ),
    "interrupted at once": (history([], interrupted=True), "^Ctrl-C .* No epoch is finished"),
    "validation is nan": (history([1, 0.9], [1, math.nan]), "Validation was nan in epoch 2"),
    "no loss left": (history([1.0] + [0.0] * 9, [0.0] * 10), "from 1 to 0, validation"),
}


@pytest.mark.parametrize("case", MADE_UP.values(), ids=MADE_UP)
def test_what_is_said(case):
    made, words = case
    told = made.summary()
    assert re.search(words, told), told
    assert told.endswith(".") and "\n" not in told and len(told) < 420


NUMBERS = np.random.default_rng(0)
TIMES = np.arange(2000) * 0.1
WAVE = (np.sin(TIMES) + 0.5 * np.sin(2.7 * TIMES)).reshape(40, 50, 1)
X, Y = WAVE[:, :-1], WAVE[:, 1:]


def fit(layers, x, y, loss="mse", lr=0.01, epochs=30, **options):
    model = bptt.Sequential(*layers)
    options = {"rng": 0, "progress": False, "optimizer": bptt.Adam(lr)} | options
    return model.fit(x, y, loss=loss, epochs=epochs, **options)


def small(**options):
    return bptt.LSTM(1, 16, rng=0, **options), bptt.Linear(16, 1, rng=1)


def random_classes():
    """Classes that do not follow from x: only learning by heart is possible."""
    x, y = NUMBERS.standard_normal((60, 8, 3)), NUMBERS.integers(0, 2, 60)
    layers = bptt.LSTM(3, 48, rng=0), bptt.LastStep(), bptt.Linear(48, 2, rng=1)
    return fit(
        layers, x[:40], y[:40], "cross_entropy", epochs=60, validation=(x[40:], y[40:])
    ).summary()


def noise():
    x = NUMBERS.standard_normal((24, 12, 1))
    layers = bptt.GRU(1, 64, rng=0), bptt.Linear(64, 1, rng=1)
    y = NUMBERS.standard_normal((24, 12, 1))
    return fit(layers, x[:12], y[:12], epochs=80, validation=(x[12:], y[12:])).summary()


def dropout(layer):
    layers = layer, bptt.Dropout(0.6, rng=0), bptt.Linear(32, 1, rng=1)
    return fit(layers, X[:32], Y[:32], epochs=40, validation=(X[32:], Y[32:])).summary()


REAL = {
    "over-fitting: classes": (random_classes, "over-fitting"),
    "over-fitting: noise": (noise, "over-fitting"),
    "stuck: no learning rate": (lambda: fit(small(), X, Y, lr=0.0).summary(), "moved by"),
    "stuck: tiny steps": (lambda: fit(small(), X, Y, lr=1e-9).summary(), "learns nothing"),
    "falling": (lambda: fit(small(), X, Y, lr=3e-4, epochs=20).summary(), "still falls"),
    "falling, with validation": (
        lambda: fit(small(), X[:32], Y[:32], lr=3e-4, validation=(X[32:], Y[32:])).summary(),
        "Validation still falls",
    ),
    "rising": (
        lambda: fit([bptt.Linear(1, 1, rng=0)], X, Y, optimizer=bptt.SGD(4.0), epochs=6).summary(),
        "rose from",
    ),
    "rising, recurrent": (
        lambda: fit(small(), X, Y, optimizer=bptt.SGD(2.0, 0.9), epochs=3).summary(),
        "rose from",
    ),
    "jumping": (lambda: fit(small(), X, Y, lr=1.0, epochs=40, batch_size=1).summary(), "jumps by"),
    "jumping, smaller": (
        lambda: fit(small(), X, Y, lr=0.5, epochs=40, batch_size=1).summary(),
        "jumps by",
    ),
    "below: LSTM": (lambda: dropout(bptt.LSTM(1, 32, rng=0)), "dropout acts in training only"),
    "below: GRU": (lambda: dropout(bptt.GRU(1, 32, rng=0)), "dropout acts in training only"),
}


@pytest.mark.parametrize("case", REAL.values(), ids=REAL)
def test_what_is_said_of_real_training(case):
    work, words = case
    assert words in work()
