"""NumPy: layers as courses write them, but with one product for the inputs of all steps.

It has one layer with one direction, without options. Steps write their results into arrays that are
allocated once. With a small batch, most of the time goes into many small calls.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bptt._support.extras import require
from bptt.bench.cases import FitCase, FitData, LayerCase, LayerData, StepCase
from bptt.bench.rules import Array, Contender, Results, UnsupportedError


class NumPy:
    """LSTM, GRU and RNN, forward and backward."""

    name = "NumPy"
    version = np.__version__

    def __init__(self, threads: int) -> None:
        if threads != (os.cpu_count() or 1):
            # NumPy's products use all cores; only another package can limit them.
            require("threadpoolctl", "bench").threadpool_limits(threads, "blas")

    def layer(self, case: LayerCase, data: LayerData) -> list[Contender]:
        """Run the loops."""
        if case.option not in ("", "float64"):
            raise UnsupportedError("only layers without options are written in NumPy")
        forward, backward = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[case.cell]
        w = {name.removesuffix("_l0"): array for name, array in data.weights.items()}

        def infer() -> Results:
            return forward(data.x, w)[0]

        def train() -> Results:
            found, tape = forward(data.x, w)
            return found | backward(data.x, w, found["y"], tape, data.dy)

        run = train if case.train else infer
        return [Contender(self.name, run, run)]

    def step(self, case: StepCase, data: LayerData) -> list[Contender]:
        """Take the steps with the same formulas."""
        w = {name.removesuffix("_l0"): array for name, array in data.weights.items()}
        w_ih, w_hh, bias = w["weight_ih"].T, w["weight_hh"].T, w["bias_ih"] + w["bias_hh"]
        zeros = np.zeros((1, case.hidden), np.float32)
        h, c = zeros, zeros
        steps = list(data.x)

        def walk() -> list[Array]:
            nonlocal h, c
            y = []
            for x in steps:
                a = x @ w_ih + h @ w_hh + bias
                _lstm_gates(a)
                i, f, g, o = np.split(a, 4, axis=-1)
                c = f * c + i * g
                h = o * np.tanh(c)
                y.append(h)
            return y

        def results() -> Results:
            nonlocal h, c
            h, c = zeros, zeros
            return {"y": np.array(walk()), "h": h[None], "c": c[None]}

        return [Contender(self.name, walk, results, units=len(steps))]

    def fit(self, case: FitCase, data: FitData) -> list[Contender]:
        """Raise an error: there is no training loop."""
        raise UnsupportedError("there is no training loop in NumPy")


def _sigmoid(a: Array) -> None:
    """Compute 1 / (1 + exp(-a)) in place."""
    np.negative(a, out=a)
    np.exp(a, out=a)
    a += 1
    np.reciprocal(a, out=a)


def _input_products(x: Array, w: Results, bias: Array) -> Array:
    steps, rows, inputs = x.shape
    products = x.reshape(-1, inputs) @ w["weight_ih"].T
    products += bias
    return products.reshape(steps, rows, -1)


def _sums(x: Array, w: Results, h_before: Array, da: Array, da_h: Array) -> Results:
    """Return the gradients that are computed after the loop, from those of the arguments."""
    flat, flat_h = da.reshape(-1, da.shape[-1]), da_h.reshape(-1, da_h.shape[-1])
    bias = flat.sum(axis=0)
    return {
        "dx": (flat @ w["weight_ih"]).reshape(x.shape),
        "weight_ih_l0": flat.T @ x.reshape(-1, x.shape[-1]),
        "weight_hh_l0": flat_h.T @ h_before.reshape(-1, h_before.shape[-1]),
        "bias_ih_l0": bias,
        "bias_hh_l0": bias if da is da_h else flat_h.sum(axis=0),
    }


def _before(y: Array) -> Array:
    """Return h_{t-1} of every step."""
    return np.concatenate([np.zeros_like(y[:1]), y[:-1]])


def _lstm_gates(a: Array) -> None:
    hidden = a.shape[-1] // 4
    _sigmoid(a[..., : 2 * hidden])
    np.tanh(a[..., 2 * hidden : 3 * hidden], out=a[..., 2 * hidden : 3 * hidden])
    _sigmoid(a[..., 3 * hidden :])


def _lstm_forward(x: Array, w: Results) -> tuple[Results, Any]:
    gates = _input_products(x, w, w["bias_ih"] + w["bias_hh"])
    steps, rows, width = gates.shape
    y, cells = (np.empty((steps, rows, width // 4), x.dtype) for _ in range(2))
    w_hh, c = w["weight_hh"].T, np.zeros_like(y[0])
    for t, a in enumerate(gates):
        if t:
            a += y[t - 1] @ w_hh
        _lstm_gates(a)
        i, f, g, o = np.split(a, 4, axis=-1)
        np.multiply(f, c, out=cells[t])
        c = cells[t]
        c += i * g
        np.tanh(c, out=y[t])
        y[t] *= o
    return {"y": y, "h": y[-1:], "c": cells[-1:]}, (gates, cells)


def _lstm_backward(x: Array, w: Results, y: Array, tape: Any, dy: Array) -> Results:
    gates, cells = tape
    da, dh, dc = np.empty_like(gates), np.zeros_like(y[0]), np.zeros_like(y[0])
    for t in reversed(range(len(y))):
        i, f, g, o = np.split(gates[t], 4, axis=-1)
        di, df, dg, do = np.split(da[t], 4, axis=-1)
        dh += dy[t]
        tanh_c = np.tanh(cells[t])
        do[:] = dh * tanh_c * o * (1 - o)
        dc += dh * o * (1 - tanh_c * tanh_c)
        di[:] = dc * g * i * (1 - i)
        df[:] = dc * cells[t - 1] * f * (1 - f) if t else 0
        dg[:] = dc * i * (1 - g * g)
        dc *= f
        dh = da[t] @ w["weight_hh"]
    return _sums(x, w, _before(y), da, da)


def _gru_forward(x: Array, w: Results) -> tuple[Results, Any]:
    gates = _input_products(x, w, w["bias_ih"])
    steps, rows, width = gates.shape
    hidden = width // 3
    y, of_h = (np.empty((steps, rows, hidden), x.dtype) for _ in range(2))
    w_hh, h = w["weight_hh"].T, np.zeros((rows, hidden), x.dtype)
    for t, a in enumerate(gates):
        product = h @ w_hh
        product += w["bias_hh"]
        a[:, : 2 * hidden] += product[:, : 2 * hidden]
        _sigmoid(a[:, : 2 * hidden])
        r, z, n = np.split(a, 3, axis=-1)
        of_h[t] = product[:, 2 * hidden :]
        n += r * of_h[t]
        np.tanh(n, out=n)
        np.subtract(h, n, out=y[t])
        y[t] *= z
        y[t] += n
        h = y[t]
    return {"y": y, "h": y[-1:]}, (gates, of_h)


def _gru_backward(x: Array, w: Results, y: Array, tape: Any, dy: Array) -> Results:
    gates, of_h = tape
    before, hidden = _before(y), y.shape[-1]
    da, da_h, dh = np.empty_like(gates), np.empty_like(gates), np.zeros_like(y[0])
    for t in reversed(range(len(y))):
        r, z, n = np.split(gates[t], 3, axis=-1)
        dr, dz, dn = np.split(da[t], 3, axis=-1)
        dh += dy[t]
        dn[:] = dh * (1 - z) * (1 - n * n)
        dz[:] = dh * (before[t] - n) * z * (1 - z)
        dr[:] = dn * of_h[t] * r * (1 - r)
        da_h[t] = da[t]
        da_h[t][:, 2 * hidden :] *= r
        dh = dh * z + da_h[t] @ w["weight_hh"]
    return _sums(x, w, before, da, da_h)


def _rnn_forward(x: Array, w: Results) -> tuple[Results, Any]:
    y = _input_products(x, w, w["bias_ih"] + w["bias_hh"])
    w_hh = w["weight_hh"].T
    for t, a in enumerate(y):
        if t:
            a += y[t - 1] @ w_hh
        np.tanh(a, out=a)
    return {"y": y, "h": y[-1:]}, None


def _rnn_backward(x: Array, w: Results, y: Array, tape: Any, dy: Array) -> Results:
    da, dh = np.empty_like(y), np.zeros_like(y[0])
    for t in reversed(range(len(y))):
        dh += dy[t]
        np.multiply(dh, 1 - y[t] * y[t], out=da[t])
        dh = da[t] @ w["weight_hh"]
    return _sums(x, w, _before(y), da, da)


LSTM = (_lstm_forward, _lstm_backward)
GRU = (_gru_forward, _gru_backward)
RNN = (_rnn_forward, _rnn_backward)
