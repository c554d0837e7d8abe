"""Makes early_stopping.json: what Keras' EarlyStopping does with series of numbers.

Needs Keras and JAX: KERAS_BACKEND=jax python tests/golden/make_keras_golden.py
"""

import json
from itertools import product
from pathlib import Path

import keras

NAN = float("nan")
SERIES = {
    "never": [1.0] * 12,
    "worse": [float(n) for n in range(12)],
    "better": [float(-n) for n in range(12)],
    "by turns": [5.0, 4.0, 4.5, 4.25, 3.5, 4.0, 3.75, 3.75, 3.5, 3.5, 3.5, 3.25],
    "nan": [NAN] * 12,
    "nan later": [3.0, 2.0, NAN, NAN, 1.0, NAN, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0],
    "infinite": [float("inf")] * 12,
}


class Model:
    """What the callback uses of a model; its weights are the number of the epoch."""

    stop_training = False
    metrics = ()

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def case(numbers, **options):
    """Return epochs, the epoch whose weights are there at the end, and the best epoch."""
    model = Model()
    stopping = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True, **options)
    stopping.set_model(model)
    stopping.on_train_begin()
    for epoch, number in enumerate(numbers):
        model.weights = epoch
        stopping.on_epoch_end(epoch, {"val_loss": number})
        if model.stop_training:
            break
    stopping.on_train_end()
    return [epoch + 1, model.weights, int(stopping.best_epoch)]


def main():
    cases = []
    for name, mode, patience, delta in product(
        SERIES, ("min", "max"), (0, 1, 2, 3, 5), (0.0, 0.25, 0.5)
    ):
        options = {"mode": mode, "patience": patience, "min_delta": delta}
        cases.append([name, options, case(SERIES[name], **options)])
    text = json.dumps({"keras": keras.__version__, "series": SERIES, "cases": cases})
    rows = text.replace('], ["', '],\n["')
    (Path(__file__).parent / "early_stopping.json").write_text(rows + "\n")


if __name__ == "__main__":
    main()
