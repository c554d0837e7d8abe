"""A layer's pass on the core as an autograd function, on the tensors' own memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bptt import _core
from bptt.torch._path import kind_of, states_of, warn_once


def run(module: Any, x: Any, hx: Any) -> Any:
    """Run a layer on the core, with or without a tape."""
    batched = x.dim() == 3
    states = states_of(hx)
    if not batched:
        x = x.unsqueeze(0 if module.batch_first else 1)
        states = tuple(state.unsqueeze(1) for state in states)
    call = _call(kind_of(module), module.mode, *_sizes(module))
    h, c = (*states, None, None)[:2]
    weights = tuple(module._flat_weights)
    tensors = (x, *states, *weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, *final = _Pass.apply(call, x, h, c, *weights)
    else:
        arrays = [_array(weight) for weight in weights]
        y, final, _ = call.forward(x, (h, c), arrays, record=False)
    if not batched:
        y = y.squeeze(0 if module.batch_first else 1)
        final = [state.squeeze(1) for state in final]
    return y, (tuple(final) if len(final) == 2 else final[0])


def _sizes(module: Any) -> tuple[int, int, bool, bool]:
    return module.input_size, module.hidden_size, module.bias, module.batch_first


@dataclass(frozen=True)
class _Call:
    """What a layer is, but for its tensors."""

    core: _core.Layer
    mode: str
    hidden_size: int
    bias: bool
    batch_first: bool

    @property
    def states(self) -> int:
        return 2 if self.mode == "LSTM" else 1

    def forward(
        self, x: Any, states: tuple[Any, ...], weights: list[Any], record: bool
    ) -> tuple[Any, list[Any], _core.Tape | None]:
        """Return y, the final states (1, B, H) and the tape; the weights are arrays."""
        array = _array(x)
        given = self.state_arrays(array, states)
        y, final, tape = self.core.forward(weights, array, given, self.batch_first, record)
        return torch.from_numpy(y), [torch.from_numpy(state[None]) for state in final], tape

    def state_arrays(self, x: Any, states: tuple[Any, ...]) -> list[Any]:
        """Return states or their gradients as (B, H) arrays: none for zeros."""
        states = states[: self.states]
        if all(state is None for state in states):
            return []
        shape = (x.shape[0 if self.batch_first else 1], self.hidden_size)
        return [np.zeros(shape, x.dtype) if s is None else _array(s)[0] for s in states]

    def torch_forward(self, x: Any, states: tuple[Any, ...], weights: tuple[Any, ...]) -> Any:
        """Compute the same with torch, so that it can be differentiated twice."""
        rows = x.shape[0 if self.batch_first else 1]
        full = [
            x.new_zeros(1, rows, self.hidden_size) if state is None else state
            for state in states[: self.states]
        ]
        function = getattr(torch._VF, self.mode.lower())
        hx = full if self.states == 2 else full[0]
        before = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)  # oneDNN's layer has no second derivative
        try:
            options = (self.bias, 1, 0.0, False, False, self.batch_first)
            return function(x, hx, list(weights), *options)
        finally:
            torch._C._set_mkldnn_enabled(before)


@functools.lru_cache(maxsize=256)
def _call(kind: type, mode: str, inputs: int, hidden: int, bias: bool, batch_first: bool) -> _Call:
    if kind is torch.nn.LSTM:
        core = _core.Layer.lstm(inputs, hidden, bias)
    else:
        core = _core.Layer.rnn(inputs, hidden, mode == "RNN_RELU", bias)
    return _Call(core, mode, hidden, bias, batch_first)


def _array(tensor: Any) -> Any:
    """Return the tensor's memory as an array; a contiguous copy if the kernels cannot read it."""
    tensor = tensor.detach()
    if not tensor.is_contiguous() and not (
        tensor.dim() == 3 and tensor.transpose(0, 1).is_contiguous()
    ):
        tensor = tensor.contiguous()
    return tensor.numpy()


class _Pass(torch.autograd.Function):
    """A layer's pass on the core: (call, x, h0, c0, *weights) to (y, h_n) or (y, h_n, c_n)."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Any, h: Any, c: Any, *weights: Any) -> Any:
        arrays = [_array(weight) for weight in weights]
        y, final, ctx.tape = call.forward(x, (h, c), arrays, record=True)
        ctx.call, ctx.weights = call, arrays
        ctx.save_for_backward(x, h, c, y, *weights)
        ctx.set_materialize_grads(False)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, dy: Any, *dstate: Any) -> Any:
        # Here torch raises its error if one of them was changed in place.
        x, h, c, y, *weights = ctx.saved_tensors
        call, inputs = ctx.call, (x, h, c, *weights)
        if torch.is_grad_enabled():
            warn_once("a double backward (create_graph=True) is not supported by bptt")
            wanted = [t for t, need in zip(inputs, ctx.needs_input_grad[1:]) if need]
            result = call.torch_forward(x, (h, c), tuple(weights))
            pairs = [(out, d) for out, d in zip(result, (dy, *dstate)) if d is not None]
            outputs, grads = zip(*pairs)
            found = iter(
                torch.autograd.grad(outputs, wanted, grads, create_graph=True, allow_unused=True)
            )
            return None, *(next(found) if need else None for need in ctx.needs_input_grad[1:])

        # The tape serves once; a second backward through a graph that was retained records anew.
        tape, ctx.tape = ctx.tape, None
        if tape is None:
            tape = call.forward(x, (h, c), ctx.weights, record=True)[2]
        needs_x, needs_h, needs_c, *needs_weights = ctx.needs_input_grad[1:]
        array = _array(torch.zeros_like(y) if dy is None else dy)
        given = call.state_arrays(array, dstate)
        dx, initial, flat = call.core.backward(
            ctx.weights, tape, array, given, needs_x, any(needs_weights)
        )
        dweights: list[Any] = [None] * len(weights)
        start = 0
        for n, weight in enumerate(ctx.weights if flat is not None else ()):
            part = flat[start : start + weight.size]
            if needs_weights[n]:
                dweights[n] = torch.from_numpy(part.reshape(weight.shape))
            start += weight.size
        dh, dc = (torch.from_numpy(d[None]) for d in (*initial, *initial)[:2])
        return (
            None,
            None if dx is None else torch.from_numpy(dx),
            dh if needs_h else None,
            dc if needs_c else None,
            *dweights,
        )
