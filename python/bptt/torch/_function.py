"""A pass on the core as an autograd function, on the memory of the tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from bptt._core import Layer, Lengths, Tape
from bptt.torch._path import core_of, states_of, warn_once


def run(module: Any, x: Any, hx: Any) -> Any:
    """Run a layer on the core, with or without a tape."""
    packed = x if isinstance(x, PackedSequence) else None
    states = states_of(hx)
    batched = packed is not None or x.dim() == 3
    lengths = None
    if packed is not None:
        x = packed.data
        lengths = Lengths.packed(packed.batch_sizes.tolist())
        if packed.sorted_indices is not None:
            states = tuple(state.index_select(1, packed.sorted_indices) for state in states)
    elif not batched:
        x = x.unsqueeze(0 if module.batch_first else 1)
        states = tuple(state.unsqueeze(1) for state in states)
    call = _Call(core_of(module), _Sizes.of(module), lengths, _seed(module))
    h, c = (*states, None, None)[:2]
    weights = tuple(module._flat_weights)
    tensors = (x, *states, *weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, *final = _Pass.apply(call, x, h, c, *weights)
    else:
        # The core applies dropout only in passes with a tape.
        y, final, _ = call.forward(x, (h, c), weights, record=call.seed > 0)
    if packed is not None:
        y = PackedSequence(y, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        if packed.unsorted_indices is not None:
            final = [state.index_select(1, packed.unsorted_indices) for state in final]
    elif not batched:
        y = y.squeeze(0 if module.batch_first else 1)
        final = [state.squeeze(1) for state in final]
    return y, (tuple(final) if len(final) == 2 else final[0])


def _seed(module: Any) -> int:
    """Draw the seed of dropout, above 0, from torch's generator; return 0 without dropout."""
    if module.training and module.dropout > 0 and module.num_layers > 1:
        return int(torch.randint(1, 2**62, ()))
    return 0


@dataclass(frozen=True)
class _Sizes:
    """The options of a layer that its states and `torch_forward` depend on."""

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int

    @classmethod
    def of(cls, module: Any) -> _Sizes:
        return cls(**{name: getattr(module, name) for name in cls.__dataclass_fields__})

    @property
    def states(self) -> tuple[tuple[int, int], ...]:
        """The first and last dimension of h and, for an LSTM, of c."""
        layers = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return tuple((layers, size) for size in sizes[: 2 if self.mode == "LSTM" else 1])


@dataclass(frozen=True)
class _Call:
    """A call without its tensors."""

    core: Layer
    sizes: _Sizes
    lengths: Lengths | None
    seed: int

    def forward(
        self, x: Any, states: tuple[Any, ...], weights: tuple[Any, ...], record: bool
    ) -> tuple[Any, list[Any], Tape | None]:
        """Return y, the final states (L D, B, H) and the tape."""
        array = _array(x)
        given = self.state_arrays(array, states)
        params = [_array(weight) for weight in weights]
        y, final, tape = self.core.forward(
            params,
            array,
            given,
            self.sizes.batch_first,
            self.lengths,
            (self.seed, False) if record else None,
        )
        return torch.from_numpy(y), [torch.from_numpy(state) for state in final], tape

    def state_arrays(self, x: Any, states: tuple[Any, ...]) -> list[Any]:
        """Return states or their gradients as arrays (L D, B, H); an empty list means zeros."""
        shapes = self.sizes.states
        states = states[: len(shapes)]
        if all(state is None for state in states):
            return []
        if self.lengths is not None:
            rows = len(self.lengths.order)
        else:
            rows = x.shape[0 if self.sizes.batch_first else 1]
        return [
            np.zeros((layers, rows, size), x.dtype) if s is None else _array(s, contiguous=True)
            for s, (layers, size) in zip(states, shapes)
        ]

    def torch_forward(self, x: Any, states: tuple[Any, ...], weights: tuple[Any, ...]) -> Any:
        """Compute the same pass with torch's operations, which have all kinds of derivatives."""
        if self.lengths is not None or self.seed:
            what = "packed sequences" if self.lengths is not None else "dropout"
            raise NotImplementedError(
                f"bptt has no second derivatives through {what}: use torch's own layer"
            )
        sizes = self.sizes
        if sizes.batch_first:
            x = x.transpose(0, 1)
        given = [
            x.new_zeros(layers, x.shape[1], size) if state is None else state
            for state, (layers, size) in zip(states, sizes.states)
        ]
        count = (2 + 2 * sizes.bias + bool(sizes.proj_size)) if weights else 0
        finals, n = [], 0
        for _ in range(sizes.num_layers):
            outputs = []
            for reverse in (False, True)[: 2 if sizes.bidirectional else 1]:
                state = tuple(s[n] for s in given)
                own = weights[n * count : (n + 1) * count]
                y, final = self._torch_direction(x.flip(0) if reverse else x, state, own)
                outputs.append(y.flip(0) if reverse else y)
                finals.append(final)
                n += 1
            x = torch.cat(outputs, -1)
        final = [torch.stack(parts) for parts in zip(*finals)]
        return x.transpose(0, 1) if sizes.batch_first else x, *final

    def _torch_direction(self, x: Any, state: Any, weights: Any) -> Any:
        """Compute y and the final state of one direction of one layer."""
        w_ih, w_hh, *rest = weights
        b_ih, b_hh = rest[:2] if self.sizes.bias else (None, None)
        linear, outputs = torch.nn.functional.linear, []
        h, c = (*state, None)[:2]
        for x_t in x.unbind(0):
            from_x, from_h = linear(x_t, w_ih, b_ih), linear(h, w_hh, b_hh)
            if self.sizes.mode == "LSTM":
                i, f, g, o = (from_x + from_h).chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                if self.sizes.proj_size:
                    h = linear(h, rest[-1])
            elif self.sizes.mode == "GRU":
                (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3, -1), from_h.chunk(3, -1)
                z = torch.sigmoid(z_x + z_h)
                n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
                h = (1 - z) * n + z * h
            else:
                gates = from_x + from_h
                h = torch.relu(gates) if self.sizes.mode == "RNN_RELU" else torch.tanh(gates)
            outputs.append(h)
        return torch.stack(outputs), (h,) if c is None else (h, c)


def _array(tensor: Any, contiguous: bool = False) -> Any:
    """Return the memory of a tensor as an array, or a copy if the kernels cannot read it."""
    tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not tensor.is_contiguous() and not (
        tensor.dim() == 3 and tensor.transpose(0, 1).is_contiguous() and not contiguous
    ):
        tensor = tensor.contiguous()
    if tensor.data_ptr() % tensor.element_size():
        tensor = tensor.clone()
    return tensor.numpy()


class _Pass(torch.autograd.Function):
    """A pass on the core: (call, x, h0, c0, *weights) to (y, h_n) or (y, h_n, c_n).

    Every pass makes new arrays from the tensors, because the memory of a tensor may move in
    between.
    """

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Any, h: Any, c: Any, *weights: Any) -> Any:
        y, final, ctx.tape = call.forward(x, (h, c), weights, record=True)
        # y is not saved like the others, because users may change it in place, as after torch's
        # RNN. The alias shares its memory and its version.
        ctx.call, ctx.y, ctx.version = call, y.detach(), y._version
        ctx.save_for_backward(x, h, c, *weights)
        ctx.set_materialize_grads(False)
        return (y, *final)

    @staticmethod
    def backward(ctx: Any, *douts: Any) -> Any:
        # torch raises an error here if one of these tensors was changed in place.
        x, h, c, *weights = ctx.saved_tensors
        if all(d is None for d in douts):
            return (None,) * (4 + len(weights))
        batched = any(d is not None and _is_batched(d) for d in douts)
        if torch.is_grad_enabled() or batched:
            return None, *_torch_gradients(ctx, (x, h, c, *weights), douts)

        # A tape serves one backward pass. A second one through a retained graph, or one after y was
        # changed, runs forward again for a new tape.
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
            call.sizes.batch_first,
            call.lengths,
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
        dh, dc = (torch.from_numpy(d) for d in (*initial, *initial)[:2])
        return (
            None,
            None if dx is None else torch.from_numpy(dx),
            dh if needs_h else None,
            dc if needs_c else None,
            *dweights,
        )


def _is_batched(tensor: Any) -> bool:
    """Tell whether vmap, the present one or that of is_grads_batched, has batched a tensor."""
    functorch = torch._C._functorch
    return bool(functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor))


def _torch_gradients(ctx: Any, inputs: tuple[Any, ...], douts: tuple[Any, ...]) -> list[Any]:
    """Compute with torch a backward pass that is differentiated again or batched by vmap."""
    create = torch.is_grad_enabled()
    what = "a double backward (create_graph=True)" if create else "a batched backward"
    warn_once(f"{what} is not supported by bptt")
    needs = ctx.needs_input_grad[1:]
    with torch.enable_grad():
        # Aliases hide graph paths between the inputs, which torch follows elsewhere.
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        x, h, c, *weights = aliases
        result = ctx.call.torch_forward(x, (h, c), tuple(weights))
        outputs, grads = zip(*((out, d) for out, d in zip(result, douts) if d is not None))
        wanted = [alias for alias, need in zip(aliases, needs) if need]
        found = iter(
            torch.autograd.grad(outputs, wanted, grads, create_graph=create, allow_unused=True)
        )
    return [next(found) if need else None for need in needs]
