"""The decision which path a call takes: the core, or torch and why."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from bptt._core import Layer

KINDS: tuple[Any, ...] = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
TORCH_FORWARD = {kind: kind.forward for kind in KINDS}
_DTYPES = (torch.float32, torch.float64)
_PLAIN = (torch.Tensor, torch.nn.Parameter)


@dataclass(frozen=True)
class Path:
    """The path of a call.

    Attributes
    ----------
    core : bool
        Whether the core computes the call; otherwise torch does.
    reason : str
        Why the core does not compute it.
    mistake : bool
        Whether torch will refuse the call, too, with its own error.
    """

    core: bool
    reason: str = ""
    mistake: bool = False

    def __str__(self) -> str:
        return "core" if self.core else f"torch: {self.reason}"

    def _repr_html_(self) -> str:
        return f"<code>{escape(str(self))}</code>"


def explain(module: torch.nn.Module, x: Any, hx: Any = None) -> Path:
    """Tell which path ``module(x, hx)`` takes, without computing it.

    Parameters
    ----------
    module : torch.nn.LSTM, torch.nn.GRU or torch.nn.RNN
        A layer of bptt or of torch.
    x : torch.Tensor or PackedSequence
        The input.
    hx : torch.Tensor or tuple of torch.Tensor, optional
        The initial state.

    Returns
    -------
    Path
        It prints as "core", or as "torch: " and the reason.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> print(bptt.torch.explain(bptt.torch.LSTM(3, 5), torch.ones(7, 2, 3)))
    core
    >>> print(bptt.torch.explain(torch.nn.LSTM(3, 5), torch.ones(7, 2, 3)))
    torch: LSTM is torch's own; use bptt.torch.accelerate or install
    """
    if not isinstance(module, KINDS):
        found = [
            name
            for name, layer in getattr(module, "named_modules", dict)()
            if isinstance(layer, KINDS)
        ]
        where = f"; inside it there are {found}" if found else ""
        raise TypeError(
            f"module must be a torch.nn.LSTM, GRU or RNN layer, got {type(module).__name__}{where}"
        )
    name, forward = type(module).__name__, type(module).forward
    if forward is TORCH_FORWARD[kind_of(module)]:
        return Path(False, f"{name} is torch's own; use bptt.torch.accelerate or install")
    if forward.__module__ != "bptt.torch":
        return Path(False, f"{name} has its own forward, which decides")
    return path_of(module, x, hx)


def kind_of(module: Any) -> Any:
    return next(kind for kind in KINDS if isinstance(module, kind))


def unsupported_option(module: Any) -> str | None:
    if module.dropout >= 1:
        return f"dropout={module.dropout} is not supported by bptt, only below 1"
    return None


def path_of(module: Any, x: Any, hx: Any) -> Path:
    """Decide on the path by options, tensors, the state of torch, and shapes."""
    option = unsupported_option(module)
    if option is not None:
        return Path(False, option)
    states = states_of(hx)
    module._update_flat_weights()
    data = x.data if isinstance(x, PackedSequence) else x
    dtype = getattr(data, "dtype", None)
    for tensor in (data, *states, *module._flat_weights):
        plain = type(tensor) in _PLAIN and tensor.is_cpu and tensor.layout is torch.strided
        if not (plain and tensor.dtype is dtype and dtype in _DTYPES):
            return _unsupported_tensor(tensor, dtype)
    doing = _torch_is_doing()
    if doing is not None:
        return Path(False, f"{doing} is not supported by bptt")
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


def states_of(hx: Any) -> tuple[Any, ...]:
    if hx is None:
        return ()
    return tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)


def _torch_is_doing() -> str | None:
    """Return what torch is doing around a call, if an extension cannot take part in it."""
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
    packed = isinstance(x, PackedSequence)
    data = x.data if packed else x
    batched = packed or data.dim() == 3
    if data.dim() not in ((2,) if packed else (2, 3)) or data.shape[-1] != module.input_size:
        return Path(False, f"x has shape {tuple(data.shape)}", True)
    if 0 in data.shape:
        return Path(False, f"x has shape {tuple(data.shape)}, which is empty")
    if packed:
        rows = int(x.batch_sizes[0])
    else:
        rows = x.shape[0 if module.batch_first else 1] if batched else 1
    is_lstm = kind_of(module) is torch.nn.LSTM
    if hx is not None and (is_lstm != isinstance(hx, (tuple, list)) or len(states) != 1 + is_lstm):
        return Path(False, "hx is not a tensor, or not a tuple of two (LSTM)", True)
    layers = module.num_layers * (2 if module.bidirectional else 1)
    for tensor, size in zip(states, (module.proj_size or module.hidden_size, module.hidden_size)):
        state = (layers, rows, size) if batched else (layers, size)
        if tensor.shape != state:
            return Path(False, f"hx has shape {tuple(tensor.shape)}, not {state}", True)
    weights, shapes = module._flat_weights, _weight_shapes(*_options(module))
    if len(weights) != len(shapes) or any(
        weight.shape != shape for weight, shape in zip(weights, shapes)
    ):
        return Path(False, "the weights do not have the layer's shapes", True)
    return _CORE


def core_of(module: Any) -> Layer:
    """Return the core's layer with the options of a module."""
    return _core_layer(*_options(module))


_MODES = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}


def _options(module: Any) -> tuple[Any, ...]:
    sizes = (module.input_size, module.hidden_size, module.num_layers)
    dropout = float(module.dropout) if module.training else 0.0
    options = (module.bias, (dropout, 0.0, 0.0), module.bidirectional, module.proj_size)
    layer_norm, bf16 = False, False  # torch's layers have neither
    return (_MODES[module.mode], *sizes, *options, layer_norm, bf16)


@functools.lru_cache(maxsize=256)
def _core_layer(*options: Any) -> Layer:
    return Layer.recurrent(*options)


@functools.lru_cache(maxsize=256)
def _weight_shapes(*options: Any) -> list[tuple[int, ...]]:
    return [tuple(shape) for _, shape in _core_layer(*options).parameters()]


_CORE = Path(True)
_warned: set[str] = set()


def warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        # The caller of the layer: above _forward and torch's _call_impl and _wrapped_call_impl.
        warnings.warn(f"torch computes this call, not bptt: {reason}", stacklevel=5)
