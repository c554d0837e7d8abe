"""JAX: lax.scan under jit, with the products of the input outside the loop; gradients by jax.vjp.

Weights are stored transposed, so that no product transposes them. A run ends when all arrays are
ready.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bptt._support.extras import require
from bptt.bench.cases import BF16, FitCase, FitData, LayerCase, LayerData, StepCase
from bptt.bench.rules import Contender, Results, UnsupportedError

#: Up to this number of steps, a scan with four unrolled steps is a contender, too.
SHORT = 16


class Jax:
    """Layers written with lax.scan; JAX has no layers of its own."""

    name = "JAX"

    def __init__(self, threads: int) -> None:
        os.environ["NPROC"] = str(threads)  # XLA reads it when it starts
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        self.jax, self.numpy = require("jax", "bench"), require("jax.numpy", "bench")
        self.jax.config.update("jax_enable_x64", True)  # allows float64; float32 stays float32
        self.version = str(self.jax.__version__)

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Run the jitted pass; in training, with its vector-Jacobian product."""
        if case.option == BF16:
            raise UnsupportedError("bf16 is compared with torch only")
        ways = {self.name: 1}
        if case.sizes[0] <= SHORT:
            ways["JAX, unrolled"] = 4
        return [self._contender(name, unroll, case, data) for name, unroll in ways.items()]

    def _contender(self, name: str, unroll: int, case: LayerCase, data: LayerData) -> Contender:
        jax, jnp = self.jax, self.numpy
        params = {k: jnp.asarray(v.T) for k, v in data.weights.items()}
        x, dy = jnp.asarray(data.x), jnp.asarray(data.dy)
        mask = None if data.lengths is None else jnp.asarray(data.mask)
        network = partial(self._network, case, unroll)

        def forward_backward(params: Any, x: Any, mask: Any, dy: Any) -> Any:
            y, pull, states = jax.vjp(lambda p, x: network(p, x, mask), params, x, has_aux=True)
            return y, states, *pull(dy)

        infer, train = jax.jit(network), jax.jit(forward_backward)

        def run() -> Any:
            if case.train:
                return jax.block_until_ready(train(params, x, mask, dy))
            return jax.block_until_ready(infer(params, x, mask))

        def results() -> Results:
            y, states, *gradients = run()
            found = {"y": y, **dict(zip("hc", states))}
            if gradients:
                grads, dx = gradients
                found |= {"dx": dx, **{k: v.T for k, v in grads.items()}}
            return {k: np.asarray(v) for k, v in found.items()}

        return Contender(name, run, results)

    def _network(self, case: LayerCase, unroll: int, p: Any, x: Any, mask: Any) -> Any:
        """Return y, and h (and c) after the last step, of all layers and directions."""
        finals, outputs = [], []
        for n, (place, _) in enumerate(case.places):
            w = {k.removesuffix(f"_{place}"): v for k, v in p.items() if k.endswith(f"_{place}")}
            y, final = self._scan(case, unroll, w, x, mask, reverse=place.endswith("_reverse"))
            outputs.append(y)
            finals.append(final)
            if (n + 1) % case.directions == 0:
                x = self.numpy.concatenate(outputs, axis=-1) if outputs[1:] else y
                outputs = []
        return x, tuple(self.numpy.stack(parts) for parts in zip(*finals))

    def _scan(
        self, case: LayerCase, unroll: int, w: Any, x: Any, mask: Any, *, reverse: bool
    ) -> tuple[Any, Any]:
        """Return y and the final state of one direction of a layer."""
        jnp = self.numpy
        both = w["bias_ih"] if case.cell == "GRU" else w["bias_ih"] + w["bias_hh"]
        arguments = x @ w["weight_ih"] + both
        cell = self._cell(case.cell, w)

        def step(state: Any, inputs: Any) -> Any:
            argument, counts = inputs
            new = cell(argument, state)
            if counts is None:
                return new, new[0]
            new = tuple(jnp.where(counts > 0, a, b) for a, b in zip(new, state))
            return new, new[0] * counts

        rows, sizes = x.shape[1], (case.outputs, case.sizes[3])[: 1 + (case.cell == "LSTM")]
        zeros = tuple(jnp.zeros((rows, size), x.dtype) for size in sizes)
        final, y = self.jax.lax.scan(step, zeros, (arguments, mask), reverse=reverse, unroll=unroll)
        return y, final

    def _cell(self, kind: str, w: Any) -> Callable[[Any, Any], tuple[Any, ...]]:
        jnp, sigmoid = self.numpy, self.jax.nn.sigmoid

        def lstm(argument: Any, state: Any) -> tuple[Any, ...]:
            h, c = state
            i, f, g, o = jnp.split(argument + h @ w["weight_hh"], 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return (h @ w["weight_hr"] if "weight_hr" in w else h), c

        def gru(argument: Any, state: Any) -> tuple[Any, ...]:
            (h,) = state
            r, z, n = jnp.split(argument, 3, axis=-1)
            r_h, z_h, n_h = jnp.split(h @ w["weight_hh"] + w["bias_hh"], 3, axis=-1)
            z, n = sigmoid(z + z_h), jnp.tanh(n + sigmoid(r + r_h) * n_h)
            return ((1 - z) * n + z * h,)

        def rnn(argument: Any, state: Any) -> tuple[Any, ...]:
            return (jnp.tanh(argument + state[0] @ w["weight_hh"]),)

        return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take the steps with a jitted cell; wait for each, as a user of its output must."""
        jax, jnp = self.jax, self.numpy
        params = {k.removesuffix("_l0"): jnp.asarray(v.T) for k, v in data.weights.items()}
        steps = [jnp.asarray(x) for x in data.x]

        @jax.jit  # type: ignore[untyped-decorator]
        def cell(p: Any, x: Any, state: Any) -> Any:
            return self._cell("LSTM", p)(x @ p["weight_ih"] + p["bias_ih"] + p["bias_hh"], state)

        zeros = (jnp.zeros((1, case.hidden), jnp.float32),) * 2
        kept = zeros

        def walk() -> list[Any]:
            nonlocal kept
            y = []
            for x in steps:
                kept = cell(params, x, kept)
                y.append(kept[0].block_until_ready())
            return y

        def results() -> Results:
            nonlocal kept
            kept = zeros
            y = np.array(walk())
            return {"y": y, **{name: np.asarray(part)[None] for name, part in zip("hc", kept)}}

        return [Contender(self.name, walk, results, units=len(steps))]

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Train with a jitted step and Adam written out, one epoch per call."""
        jax, jnp = self.jax, self.numpy
        initial = {k: jnp.asarray(v.T) for k, v in data.weights.items()}
        batches = [
            (jnp.asarray(x.swapaxes(0, 1)), jnp.asarray(y.swapaxes(0, 1)))
            for x, y in data.batches(case.batch_size)
        ]

        def loss(p: Any, x: Any, y: Any) -> Any:
            lstm = {k: v for k, v in p.items() if k.endswith("_l0")}
            outputs, _ = self._network(case.layer, 4, lstm, x, None)
            return ((outputs @ p["weight"] + p["bias"] - y) ** 2).mean()

        @jax.jit  # type: ignore[untyped-decorator]
        def train(state: Any, x: Any, y: Any) -> Any:
            p, m, v, t, total = state
            value, g = jax.value_and_grad(loss)(p, x, y)
            t, tree = t + 1, jax.tree.map
            m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            rate, scale = case.learning_rate / (1 - 0.9**t), 1 - 0.999**t
            p = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v / scale) + 1e-8), p, m, v)
            return p, m, v, t, total + value

        def begin() -> Any:
            zeros = jax.tree.map(jnp.zeros_like, initial)
            return initial, zeros, zeros, jnp.float32(0), jnp.float32(0)

        state = begin()

        def epoch() -> None:
            nonlocal state
            for x, y in batches:
                state = train(state, x, y)
            jax.block_until_ready(state)

        def results() -> Results:
            nonlocal state
            state = begin()
            epoch()
            return {k: np.asarray(v.T) for k, v in state[0].items()}

        return [Contender(self.name, epoch, results, units=len(batches))]
