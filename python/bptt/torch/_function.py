"""A layer's pass on the core as an autograd function, on the tensors' own memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bptt import _core
from bptt.torch._path import states_of, warn_once


def run(module: Any, x: Any, hx: Any) -> Any:
    """Run a layer on the core, with or without a tape."""
    batched = x.dim() == 3
    states = states_of(hx)
    if not batched:
        x = x.unsqueeze(0 if module.batch_first else 1)
        states = tuple(state.unsqueeze(1) for state in states)
    sizes = (module.input_size, module.hidden_size)
    call = _call(module.mode, *sizes, module.bias, module.batch_first)
    h, c = (*states, None, None)[:2]
    weights = tuple(module._flat_weights)
    tensors = (x, *states, *weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, *final = _Pass.apply(call, x, h, c, *weights)
    else:
        y, final, _ = call.forward(x, (h, c), weights, record=False)
    if not batched:
        y = y.squeeze(0 if module.batch_first else 1)
        final = [state.squeeze(1) for state in final]
    return y, (tuple(final) if len(final) == 2 else final[0])


@dataclass(frozen=True)
class _Call:
    """What a layer is, but for its tensors."""

    core: _core.Layer
    mode: str
    hidden_size: int
    batch_first: bool

    @property
    def states(self) -> int:
        return 2 if self.mode == "LSTM" else 1

    def forward(
        self, x: Any, states: tuple[Any, ...], weights: tuple[Any, ...], record: bool
    ) -> tuple[Any, list[Any], _core.Tape | None]:
        """Return y, the final states (1, B, H) and the tape."""
        array = _array(x)
        given = self.state_arrays(array, states)
        params = [_array(weight) for weight in weights]
        y, final, tape = self.core.forward(params, array, given, self.batch_first, record)
        return torch.from_numpy(y), [torch.from_numpy(state[None]) for state in final], tape

    def state_arrays(self, x: Any, states: tuple[Any, ...]) -> list[Any]:
        """Return states or their gradients as (B, H) arrays: none for zeros."""
        states = states[: self.states]
        if all(state is None for state in states):
            return []
        shape = (x.shape[0 if self.batch_first else 1], self.hidden_size)
        return [np.zeros(shape, x.dtype) if s is None else _array(s)[0] for s in states]

    def torch_forward(self, x: Any, states: tuple[Any, ...], weights: tuple[Any, ...]) -> Any:
        """Compute the same with torch's operations, which know all kinds of derivatives."""
        if self.batch_first:
            x = x.transpose(0, 1)
        h, c = (x.new_zeros(x.shape[1], self.hidden_size) if s is None else s[0] for s in states)
        w_ih, w_hh, b_ih, b_hh = (*weights, None, None)[:4]
        linear, outputs = torch.nn.functional.linear, []
        for x_t in x.unbind(0):
            gates = linear(x_t, w_ih, b_ih) + linear(h, w_hh, b_hh)
            if self.mode == "LSTM":
                i, f, g, o = gates.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                h = torch.relu(gates) if self.mode == "RNN_RELU" else torch.tanh(gates)
            outputs.append(h)
        final = [h[None], c[None]][: self.states]
        return torch.stack(outputs, 1 if self.batch_first else 0), *final


@functools.lru_cache(maxsize=256)
def _call(mode: str, inputs: int, hidden: int, bias: bool, batch_first: bool) -> _Call:
    if mode == "LSTM":
        core = _core.Layer.lstm(inputs, hidden, bias)
    else:
        core = _core.Layer.rnn(inputs, hidden, mode == "RNN_RELU", bias)
    return _Call(core, mode, hidden, batch_first)


def _array(tensor: Any) -> Any:
    """Return the tensor's memory as an array; a copy if the kernels cannot read it."""
    tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not tensor.is_contiguous() and not (
        tensor.dim() == 3 and tensor.transpose(0, 1).is_contiguous()
    ):
        tensor = tensor.contiguous()
    if tensor.data_ptr() % tensor.element_size():
        tensor = tensor.clone()
    return tensor.numpy()


class _Pass(torch.autograd.Function):
    """A layer's pass on the core: (call, x, h0, c0, *weights) to (y, h_n) or (y, h_n, c_n).

    Arrays are made of the tensors in every pass, not kept: a tensor's memory may move in between.
    """

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Any, h: Any, c: Any, *weights: Any) -> Any:
        y, final, ctx.tape = call.forward(x, (h, c), weights, record=True)
        # y is not saved as the others are, because users may change it in place, as with torch's
        # RNN; the alias shares its memory and its version.
        ctx.call, ctx.y, ctx.version = call, y.detach(), y._version
        ctx.save_for_backward(x, h, c, *weights)
        ctx.set_materialize_grads(False)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, *douts: Any) -> Any:
        # Here torch raises its error if one of them was changed in place.
        x, h, c, *weights = ctx.saved_tensors
        if all(d is None for d in douts):
            return (None,) * (4 + len(weights))
        batched = any(d is not None and _is_batched(d) for d in douts)
        if torch.is_grad_enabled() or batched:
            return None, *_torch_gradients(ctx, (x, h, c, *weights), douts)

        # The tape serves once; a second backward through a graph that was retained records anew,
        # and so does one whose y was changed.
        call, tape, y = ctx.call, ctx.tape, ctx.y
        ctx.tape = ctx.y = None
        if tape is None or y._version != ctx.version:
            y, _, tape = call.forward(x, (h, c), tuple(weights), record=True)
        dy, *dstate = douts
        needs_x, needs_h, needs_c, *needs_weights = ctx.needs_input_grad[1:]
        x_array = _array(x)
        dx, initial, flat = call.core.backward(
            [_array(weight) for weight in weights],
            x_array,
            _array(y),
            tape,
            _array(torch.zeros_like(y) if dy is None else dy),
            call.state_arrays(x_array, tuple(dstate)),
            call.batch_first,
            needs_x,
            any(needs_weights),
        )
        dweights: list[Any] = [None] * len(weights)
        start = 0
        for n, weight in enumerate(weights if flat is not None else ()):
            end = start + weight.numel()
            if needs_weights[n]:
                dweights[n] = torch.from_numpy(flat[start:end].reshape(weight.shape))
            start = end
        dh, dc = (torch.from_numpy(d[None]) for d in (*initial, *initial)[:2])
        return (
            None,
            None if dx is None else torch.from_numpy(dx),
            dh if needs_h else None,
            dc if needs_c else None,
            *dweights,
        )


def _is_batched(tensor: Any) -> bool:
    """Tell whether vmap, the present one or that of is_grads_batched, stands behind a tensor."""
    functorch = torch._C._functorch
    return bool(functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor))


def _torch_gradients(ctx: Any, inputs: tuple[Any, ...], douts: tuple[Any, ...]) -> list[Any]:
    """Compute a backward pass with torch: one that is differentiated again, or batched by vmap."""
    create = torch.is_grad_enabled()
    what = "a double backward (create_graph=True)" if create else "a batched backward"
    warn_once(f"{what} is not supported by bptt")
    needs = ctx.needs_input_grad[1:]
    with torch.enable_grad():
        # Aliases, so that paths between the inputs are not counted here too.
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        x, h, c, *weights = aliases
        result = ctx.call.torch_forward(x, (h, c), tuple(weights))
        outputs, grads = zip(*((out, d) for out, d in zip(result, douts) if d is not None))
        wanted = [alias for alias, need in zip(aliases, needs) if need]
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=create, allow_unused=True)
        )
    return [next(found) if need else None for need in needs]
