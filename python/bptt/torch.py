"""PyTorch's recurrent layers, computed by the core on the CPU. Needs torch (the extra "torch").

Three ways to use it, from the most explicit to the most sweeping:

- `LSTM` and `RNN` in place of ``torch.nn.LSTM`` and ``torch.nn.RNN``, of which they are subclasses;
- `accelerate` (model) to turn the layers inside a model into those, in place;
- `install` (), after which ``torch.nn.LSTM`` and ``torch.nn.RNN`` themselves compute on the core.

What the core does not support goes to torch's own path, with a warning the first time for each
reason; `explain` (layer, x) tells which path a call takes. Tensors are shared with the kernels, not
copied. The core has threads of its own: `bptt.set_num_threads`.

Examples
--------
>>> import torch
>>> import bptt.torch
>>> lstm = bptt.torch.LSTM(3, 5, batch_first=True)
>>> y, (h, c) = lstm(torch.ones(2, 7, 3))
>>> y.sum().backward()
>>> lstm.weight_ih_l0.grad.shape
torch.Size([20, 3])
>>> model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
>>> bptt.torch.accelerate(model)
Sequential(
  (0): LSTM(3, 5)
)
>>> with bptt.torch.install():
...     print(bptt.torch.explain(torch.nn.RNN(3, 5), torch.ones(7, 2, 3)))
core
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from bptt import _core

try:
    import torch
    from torch.nn.utils.rnn import PackedSequence
except ImportError as error:
    raise ImportError('bptt.torch needs PyTorch: pip install "bptt[torch]"') from error

__all__ = ["LSTM", "RNN", "Path", "accelerate", "explain", "install", "uninstall"]

_KINDS: tuple[Any, ...] = (torch.nn.LSTM, torch.nn.RNN)
_TORCH_FORWARD = {kind: kind.forward for kind in _KINDS}
_DTYPES = (torch.float32, torch.float64)
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def _forward(self: Any, input: Any, hx: Any = None) -> Any:
    """Run a layer on the core if it can, else as torch does."""
    if torch.compiler.is_compiling():
        return _TORCH_FORWARD[_kind(self)](self, input, hx)
    path = _path(self, input, hx)
    if path.core:
        return _run(self, input, hx)
    if not path.mistake:
        _warn_once(path.reason)
    return _TORCH_FORWARD[_kind(self)](self, input, hx)


class LSTM(torch.nn.LSTM):
    """``torch.nn.LSTM``, computed by the core on the CPU in float32 and float64.

    Arguments, parameters, shapes, state_dict and everything else are those of ``torch.nn.LSTM``.
    More than one layer, two directions, ``proj_size`` and packed sequences are left to torch.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> lstm = bptt.torch.LSTM(3, 5)
    >>> isinstance(lstm, torch.nn.LSTM)
    True
    >>> y, (h, c) = lstm(torch.zeros(7, 2, 3))
    >>> y.shape, h.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """

    forward = _forward


class RNN(torch.nn.RNN):
    """``torch.nn.RNN`` (tanh or relu), computed by the core on the CPU in float32 and float64.

    Arguments, parameters, shapes, state_dict and everything else are those of ``torch.nn.RNN``.
    More than one layer, two directions and packed sequences are left to torch.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> y, h = bptt.torch.RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 3))  # (T, I), no batch
    >>> y.shape, h.shape
    (torch.Size([7, 5]), torch.Size([1, 5]))
    """

    forward = _forward


_OURS: dict[Any, Any] = {torch.nn.LSTM: LSTM, torch.nn.RNN: RNN}


def accelerate(module: torch.nn.Module) -> torch.nn.Module:
    """Turn every ``torch.nn.LSTM`` and ``torch.nn.RNN`` that the core supports into ours, in place.

    The layers stay the same objects with the same parameters, so optimisers, hooks and other
    references keep working. Subclasses, and layers with options that the core does not support, are
    left as they are.

    Parameters
    ----------
    module : torch.nn.Module
        A model, or a layer itself.

    Returns
    -------
    torch.nn.Module
        `module` itself.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> type(bptt.torch.accelerate(torch.nn.LSTM(3, 5)))
    <class 'bptt.torch.LSTM'>
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    for layer in module.modules():
        if type(layer) in _OURS and _unsupported_option(layer) is None:
            layer.__class__ = _OURS[type(layer)]
    return module


class _Installation:
    """What `install` returns: a context that puts everything back as it was."""

    def __init__(self, before: bool) -> None:
        self._before = before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._before:
            uninstall()


def install() -> _Installation:
    """Let ``torch.nn.LSTM`` and ``torch.nn.RNN`` compute on the core, in this process, from now on.

    Layers made before and after, and subclasses that call ``super().forward``, are all affected.
    Doing it twice does no harm. ``torch.jit.script`` cannot compile the layers meanwhile:
    `uninstall` first.

    Returns
    -------
    context manager
        Ends the installation where its block ends; may be ignored.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> with bptt.torch.install():
    ...     y, h = torch.nn.RNN(3, 5)(torch.zeros(7, 2, 3))
    """
    before = _is_installed()
    for kind in _KINDS:
        kind.forward = _forward
    return _Installation(before)


def uninstall() -> None:
    """Undo `install`; without it, do nothing.

    Examples
    --------
    >>> import bptt.torch
    >>> bptt.torch.uninstall()
    """
    for kind, forward in _TORCH_FORWARD.items():
        kind.forward = forward


def _is_installed() -> bool:
    return bool(torch.nn.LSTM.forward is _forward)


@dataclass(frozen=True)
class Path:
    """Which path a call takes.

    Attributes
    ----------
    core : bool
        Whether it is computed by the core; by torch otherwise.
    reason : str
        Why not, if it is not.
    mistake : bool
        Whether torch, too, will refuse it, with an error of its own.
    """

    core: bool
    reason: str = ""
    mistake: bool = False

    def __str__(self) -> str:
        return "core" if self.core else f"torch: {self.reason}"


def explain(module: torch.nn.Module, x: Any, hx: Any = None) -> Path:
    """Tell which path ``module(x, hx)`` takes. Nothing is computed.

    Parameters
    ----------
    module : torch.nn.LSTM or torch.nn.RNN
        A layer: ours, or torch's.
    x : torch.Tensor or PackedSequence
        The input.
    hx : torch.Tensor or tuple of torch.Tensor, optional
        The initial state.

    Returns
    -------
    Path
        Prints as "core", or as "torch: " and the reason.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> print(bptt.torch.explain(bptt.torch.LSTM(3, 5), torch.ones(7, 2, 3)))
    core
    >>> print(bptt.torch.explain(bptt.torch.LSTM(3, 5, num_layers=2), torch.ones(7, 2, 3)))
    torch: num_layers=2 is not supported by bptt, only 1
    """
    if not isinstance(module, _KINDS):
        found = [
            name
            for name, layer in getattr(module, "named_modules", dict)()
            if isinstance(layer, _KINDS)
        ]
        where = f"; inside it there are {found}" if found else ""
        raise TypeError(
            f"module must be a torch.nn.LSTM or RNN layer, got {type(module).__name__}{where}"
        )
    kind = _kind(module)
    if type(module).forward is _TORCH_FORWARD[kind]:
        name = type(module).__name__
        return Path(False, f"{name} is torch's own; use bptt.torch.accelerate or install")
    return _path(module, x, hx)


def _kind(module: Any) -> Any:
    return torch.nn.LSTM if isinstance(module, torch.nn.LSTM) else torch.nn.RNN


def _unsupported_option(module: Any) -> str | None:
    if module.num_layers != 1:
        return f"num_layers={module.num_layers} is not supported by bptt, only 1"
    if module.bidirectional:
        return "bidirectional=True is not supported by bptt"
    if module.proj_size:
        return f"proj_size={module.proj_size} is not supported by bptt"
    return None


def _path(module: Any, x: Any, hx: Any) -> Path:
    """Decide on a path: the options, where the tensors are, what torch is doing, and the shapes."""
    option = _unsupported_option(module)
    if option is not None:
        return Path(False, option)
    if isinstance(x, PackedSequence):
        return Path(False, "a PackedSequence is not supported by bptt")
    states = _states(hx)
    module._update_flat_weights()
    dtype = getattr(x, "dtype", None)
    for tensor in (x, *states, *module._flat_weights):
        plain = type(tensor) in _PLAIN and tensor.is_cpu and tensor.layout is torch.strided
        if not (plain and tensor.dtype is dtype and dtype in _DTYPES):
            return _unsupported_tensor(tensor, dtype)
    doing = _torch_is_doing()
    if doing is not None:
        return Path(False, f"{doing} is torch's own business")
    return _check_shapes(module, x, hx, states)


def _unsupported_tensor(tensor: Any, dtype: Any) -> Path:
    if type(tensor) not in _PLAIN:
        mistake = not isinstance(tensor, torch.Tensor)
        return Path(False, f"a {type(tensor).__name__} is not a plain tensor", mistake)
    if not tensor.is_cpu:
        return Path(False, f"device {tensor.device} is not supported by bptt, only the CPU")
    if tensor.layout is not torch.strided:
        return Path(False, f"layout {tensor.layout} is not supported by bptt")
    if tensor.dtype not in _DTYPES:
        return Path(False, f"{tensor.dtype} is not supported by bptt, only float32 and float64")
    return Path(False, f"{dtype} and {tensor.dtype} are mixed", True)


def _states(hx: Any) -> tuple[Any, ...]:
    if hx is None:
        return ()
    return tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)


def _torch_is_doing() -> str | None:
    """Return what goes on around a call that an extension cannot take part in."""
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    if torch.jit.is_tracing():
        return "tracing"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a torch.func transform"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch._C._len_torch_dispatch_stack() > 0:
        return "a TorchDispatchMode"
    return None


def _check_shapes(module: Any, x: Any, hx: Any, states: tuple[Any, ...]) -> Path:
    batched = x.dim() == 3
    if x.dim() not in (2, 3) or x.shape[-1] != module.input_size:
        return Path(False, f"x has shape {tuple(x.shape)}", True)
    if 0 in x.shape:
        return Path(False, f"x has shape {tuple(x.shape)}, which is empty")
    rows = x.shape[0 if module.batch_first else 1] if batched else 1
    state = (1, rows, module.hidden_size) if batched else (1, module.hidden_size)
    is_lstm = _kind(module) is torch.nn.LSTM
    if hx is not None and (is_lstm != isinstance(hx, (tuple, list)) or len(states) != 1 + is_lstm):
        return Path(False, "hx is not a tensor (RNN), or not a tuple of two (LSTM)", True)
    for tensor in states:
        if tensor.shape != state:
            return Path(False, f"hx has shape {tuple(tensor.shape)}, not {state}", True)
    return _CORE


_CORE = Path(True)
_warned: set[str] = set()


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        # From the caller of the layer: past _forward and torch's _call_impl and _wrapped_call_impl.
        warnings.warn(f"torch's own path is taken: {reason}", stacklevel=5)


def _run(module: Any, x: Any, hx: Any) -> Any:
    """Run a layer on the core, with or without a tape."""
    batched = x.dim() == 3
    states = _states(hx)
    if not batched:
        x = x.unsqueeze(0 if module.batch_first else 1)
        states = tuple(state.unsqueeze(1) for state in states)
    call = _call(_kind(module), module.mode, *_sizes(module))
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
            _warn_once("a double backward (create_graph=True) is not supported by bptt")
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
