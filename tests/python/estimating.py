"""Series and fitted estimators for tests of `bptt.sklearn`."""

import numpy as np


def waves(rows=40, seed=0, features=1):
    """Slow and fast waves of different lengths, by turns."""
    rng = np.random.default_rng(seed)
    X = []
    for n in range(rows):
        steps = rng.integers(12, 25)
        speed = (0.4, 1.1)[n % 2]
        wave = np.sin(speed * np.arange(steps) + rng.uniform(0, 6))
        X.append(np.stack([wave + 0.1 * k for k in range(features)], axis=1))
    return X, np.array(["slow", "fast"] * (rows // 2))


def fitted(estimator, X, y=None):
    settings = {"hidden_size": 8, "max_iter": 3, "random_state": 0}
    return estimator.set_params(**(settings | estimator_settings(estimator))).fit(X, y)


def estimator_settings(estimator):
    """What was set by the test: what differs from the defaults."""
    defaults = type(estimator)().get_params()
    return {k: v for k, v in estimator.get_params().items() if v != defaults[k]}


def wave(steps=200, start=0):
    return 50 + 10 * np.sin(0.5 * np.arange(start, start + steps))
