"""PyTorch: its layers under inference_mode, and forward with autograd."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from bptt._support.extras import require
from bptt.bench.cases import BF16, FitCase, FitData, LayerCase, LayerData, StepCase
from bptt.bench.rules import Contender, Results

#: From x to y and the final states, h or (h, c).
Pass = Callable[[Any], tuple[Any, ...]]


class Torch:
    """torch.nn's layers; for sequences of different lengths both packed and padded."""

    name = "torch"

    def __init__(self, threads: int) -> None:
        self.torch = require("torch", "bench")
        self.rnn = require("torch.nn.utils.rnn", "bench")
        self.torch.set_num_threads(threads)
        self.version = str(self.torch.__version__)

    def _load(self, module: Any, weights: Results) -> Any:
        tensors = {name: self.torch.from_numpy(array) for name, array in weights.items()}
        module.load_state_dict(tensors)
        return module

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Call the layer; in training, autograd.grad of y with x and all parameters."""
        kind = getattr(self.torch.nn, case.cell)
        dtype = getattr(self.torch, case.dtype.name)
        module = kind(case.sizes[2], case.sizes[3], **case.arguments, dtype=dtype)
        self._load(module, data.weights)
        ways = {"torch": self._dense(module, case.option == BF16)}
        if data.lengths is not None:
            ways = {
                "torch": self._packed(module, data),
                "torch padded": self._padded(module, data),
            }
        return [self._contender(name, way, module, case, data) for name, way in ways.items()]

    def _contender(
        self, name: str, way: Pass, module: Any, case: LayerCase, data: LayerData
    ) -> Contender:
        torch = self.torch
        x, dy = torch.from_numpy(data.x.copy()), torch.from_numpy(data.dy)
        names, parameters = zip(*module.named_parameters())

        def infer() -> tuple[Any, ...]:
            with torch.inference_mode():
                return way(x)

        def train() -> tuple[Any, ...]:
            y, *state = way(x)
            gradients = torch.autograd.grad(y, (x, *parameters), dy.to(y.dtype))
            return (y, *state, *gradients)

        keys = ["y", "h"] + (["c"] if case.cell == "LSTM" and name != "torch padded" else [])
        if case.train:
            x.requires_grad_()
            keys += ["dx", *names]
        run = train if case.train else infer

        def results() -> Results:
            arrays = [
                tensor.detach().float() if case.option == BF16 else tensor.detach()
                for tensor in run()
            ]
            return dict(zip(keys, (array.numpy() for array in arrays)))

        return Contender(name, run, results)

    def _dense(self, module: Any, autocast: bool) -> Pass:
        torch = self.torch

        def run(x: Any) -> tuple[Any, ...]:
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                return _flat(*module(x))

        return run

    def _packed(self, module: Any, data: LayerData) -> Pass:
        lengths, steps = self.torch.from_numpy(data.lengths), len(data.x)

        def run(x: Any) -> tuple[Any, ...]:
            packed = self.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, state = module(packed)
            return _flat(self.rnn.pad_packed_sequence(y, total_length=steps)[0], state)

        return run

    def _padded(self, module: Any, data: LayerData) -> Pass:
        """Compute the padding, too, and mask it: more work, but on the fused path."""
        mask, rows = self.torch.from_numpy(data.mask), self.torch.arange(data.x.shape[1])
        last = self.torch.from_numpy(data.lengths) - 1

        def run(x: Any) -> tuple[Any, ...]:
            y = module(x)[0] * mask
            return y, y[last, rows][None]

        return run

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take the steps with an LSTM and with an LSTMCell."""
        torch = self.torch
        lstm = self._load(torch.nn.LSTM(case.inputs, case.hidden), data.weights)
        weights = {name.removesuffix("_l0"): array for name, array in data.weights.items()}
        cell = self._load(torch.nn.LSTMCell(case.inputs, case.hidden), weights)
        x = torch.from_numpy(data.x)
        states: dict[str, Any] = {}

        def layer() -> list[Any]:
            state, y = states["LSTM"], []
            with torch.inference_mode():
                for x_t in steps:
                    y_t, state = lstm(x_t, state)
                    y.append(y_t)
            states["LSTM"] = state
            return y

        def single() -> list[Any]:
            state, y = states["LSTMCell"], []
            with torch.inference_mode():
                for x_t in rows:
                    state = cell(x_t, state)
                    y.append(state[0])
            states["LSTMCell"] = state
            return y

        steps, rows = list(x[:, None]), list(x)

        def results(name: str, run: Callable[[], list[Any]]) -> Results:
            shape = (1, case.hidden) if name == "LSTMCell" else (1, 1, case.hidden)
            states[name] = (torch.zeros(shape), torch.zeros(shape))
            y = torch.stack(run()).numpy().reshape(len(x), 1, case.hidden)
            h, c = (state.numpy().reshape(1, 1, case.hidden) for state in states[name])
            return {"y": y, "h": h, "c": c}

        return [
            Contender("torch", layer, lambda: results("LSTM", layer), units=len(x)),
            Contender("torch LSTMCell", single, lambda: results("LSTMCell", single), units=len(x)),
        ]

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Train as in the lab, and with fused Adam, one epoch per call."""
        return [
            self._training("torch", case, data),
            self._training("torch, fused Adam", case, data, fused=True),
        ]

    def _training(self, name: str, case: FitCase, data: FitData, **options: bool) -> Contender:
        torch = self.torch
        lstm = torch.nn.LSTM(1, case.hidden, batch_first=True)
        linear = torch.nn.Linear(case.hidden, 1)
        parameters = [*lstm.parameters(), *linear.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=case.learning_rate, **options)
        mse = torch.nn.MSELoss()
        batches = [
            (torch.from_numpy(x), torch.from_numpy(y)) for x, y in data.batches(case.batch_size)
        ]

        def epoch() -> Any:
            total = torch.zeros(())
            for x, y in batches:
                optimizer.zero_grad()
                loss = mse(linear(lstm(x)[0]), y)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            return total

        def results() -> Results:
            self._load(lstm, {k: v for k, v in data.weights.items() if k.endswith("_l0")})
            self._load(linear, {k: v for k, v in data.weights.items() if not k.endswith("_l0")})
            optimizer.state.clear()
            epoch()
            named = [*lstm.named_parameters(), *linear.named_parameters()]
            return {name: parameter.detach().numpy().copy() for name, parameter in named}

        return Contender(name, epoch, results, units=len(batches))


def _flat(y: Any, state: Any) -> tuple[Any, ...]:
    return (y, *state) if isinstance(state, tuple) else (y, state)
