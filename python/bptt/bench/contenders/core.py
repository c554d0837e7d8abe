"""bptt itself, through its public API."""

from __future__ import annotations

from typing import Any

import numpy as np

import bptt
from bptt.bench.cases import BF16, FitCase, FitData, LayerCase, LayerData, StepCase
from bptt.bench.rules import Contender, Results


class Core:
    """bptt's layers, steppers and `fit`, on NumPy arrays."""

    name = "bptt"
    version = bptt.__version__

    def __init__(self, threads: int) -> None:
        bptt.set_num_threads(threads)

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Call the layer; in training, forward and backward."""
        if case.option != BF16:
            return [self._contender(self.name, case, data)]
        rounded = self._contender(self.name, case, data, compute="bf16")
        return [rounded, self._contender(f"{self.name} float32", case, data)]

    def _contender(
        self, name: str, case: LayerCase, data: LayerData, compute: str | None = None
    ) -> Contender:
        kind = {"LSTM": bptt.LSTM, "GRU": bptt.GRU, "RNN": bptt.RNN}[case.cell]
        options: dict[str, Any] = {**case.arguments, "dtype": case.dtype, "compute": compute}
        layer = kind(case.sizes[2], case.sizes[3], **options)
        layer.load_state_dict(data.weights)
        x, dy, lengths = data.x, data.dy, data.lengths

        def infer() -> Results:
            y, state = layer(x, lengths=lengths)
            return {"y": y, **dict(zip("hc", state))}

        def train() -> Results:
            y, state, tape = layer.forward(x, lengths=lengths)
            dx, _, grads = layer.backward(tape, dy)
            return {"y": y, **dict(zip("hc", state)), "dx": dx, **grads}

        run = train if case.train else infer
        return Contender(name, run, run)

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take the steps with a stepper."""
        layer = bptt.LSTM(case.inputs, case.hidden)
        layer.load_state_dict(data.weights)
        stepper = layer.stepper()
        steps = list(data.x)

        def run() -> None:
            for x in steps:
                stepper.step(x)

        def results() -> Results:
            stepper.reset()
            y = np.array([stepper.step(x).copy() for x in steps])
            h, c = stepper.state[0]
            return {"y": y, "h": h, "c": c}

        return [Contender(self.name, run, results, units=len(steps))]

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Run `Sequential.fit`, twenty epochs per call."""
        layers = bptt.LSTM(1, case.hidden, batch_first=True), bptt.Linear(case.hidden, 1)
        model = bptt.Sequential(*layers)
        epochs = 20

        def fit(epochs: int) -> None:
            model.fit(
                data.x,
                data.y,
                loss="mse",
                optimizer=bptt.Adam(case.learning_rate),
                epochs=epochs,
                batch_size=case.batch_size,
                shuffle=False,
                progress=False,
            )

        def results() -> Results:
            for n, layer in enumerate(layers):
                layer.load_state_dict(
                    {k: v for k, v in data.weights.items() if ("l0" in k) == (n == 0)}
                )
            fit(1)
            return {k: v.copy() for layer in layers for k, v in layer.parameters.items()}

        steps = epochs * len(data.batches(case.batch_size))
        return [Contender(self.name, lambda: fit(epochs), results, units=steps)]
