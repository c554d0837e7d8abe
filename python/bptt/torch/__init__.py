"""PyTorch's recurrent layers, computed by bptt's core on the CPU. Needs torch (the extra "torch").

There are three ways to use it:

- `LSTM`, `GRU` and `RNN` replace the classes of ``torch.nn`` and are subclasses of them;
- `accelerate` (model) converts the layers inside a model, in place;
- `install` () lets the classes of ``torch.nn`` themselves compute on the core.

Calls that the core does not support run torch's own code, with one warning for each reason.
`explain` (layer, x) shows which path a call takes. The kernels read the memory of the tensors,
without copies. The core has its own threads: `bptt.set_num_threads`.

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

from types import TracebackType
from typing import Any

from bptt._support import extras

try:
    import torch
except ImportError as error:
    raise ImportError(f"bptt.torch needs PyTorch: {extras.install('torch', 'torch')}") from error

from bptt.torch._function import run
from bptt.torch._path import (
    KINDS,
    TORCH_FORWARD,
    Path,
    explain,
    kind_of,
    path_of,
    unsupported_option,
    warn_once,
)

__all__ = ["GRU", "LSTM", "RNN", "Path", "accelerate", "explain", "install", "uninstall"]


def _forward(self: Any, input: Any, hx: Any = None) -> Any:
    """Run a layer on the core if it supports the call, otherwise in torch."""
    if torch.compiler.is_compiling():
        return TORCH_FORWARD[kind_of(self)](self, input, hx)
    path = path_of(self, input, hx)
    if path.core:
        return run(self, input, hx)
    if not path.mistake:
        warn_once(path.reason)
    return TORCH_FORWARD[kind_of(self)](self, input, hx)


class LSTM(torch.nn.LSTM):
    """``torch.nn.LSTM``, computed by the core on the CPU in float32 and float64.

    Arguments, parameters, shapes, state_dict and autograd are those of ``torch.nn.LSTM``, packed
    sequences included. Dropout draws its seed from torch's generator, but its masks differ from
    torch's. Tools that look at the exact type of a module (``torch.jit.script``, ``torch.fx``,
    dynamic quantisation) do not recognise this class: give them torch's.

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


class GRU(torch.nn.GRU):
    """``torch.nn.GRU``, computed by the core on the CPU in float32 and float64.

    Arguments, parameters, shapes, state_dict and autograd are those of ``torch.nn.GRU``. The
    notes of `LSTM` apply here, too.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> y, h = bptt.torch.GRU(3, 5, num_layers=2, bidirectional=True)(torch.zeros(7, 2, 3))
    >>> y.shape, h.shape
    (torch.Size([7, 2, 10]), torch.Size([4, 2, 5]))
    """

    forward = _forward


class RNN(torch.nn.RNN):
    """``torch.nn.RNN`` (tanh or relu), computed by the core on the CPU in float32 and float64.

    Arguments, parameters, shapes, state_dict and autograd are those of ``torch.nn.RNN``. The
    notes of `LSTM` apply here, too.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> y, h = bptt.torch.RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 3))  # (T, I), no batch
    >>> y.shape, h.shape
    (torch.Size([7, 5]), torch.Size([1, 5]))
    """

    forward = _forward


_OURS: dict[Any, Any] = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}


def accelerate(module: torch.nn.Module) -> torch.nn.Module:
    """Convert every ``torch.nn.LSTM``, ``GRU`` and ``RNN`` in a module to bptt's classes, in place.

    The layers stay the same objects with the same parameters, so optimisers, hooks and other
    references keep working. Tools that look at the exact type of a module do not (see `LSTM`).
    Subclasses, and layers with options that the core does not support, stay as they are.

    Parameters
    ----------
    module : torch.nn.Module
        A model or a layer.

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
        if type(layer) in _OURS and unsupported_option(layer) is None:
            layer.__class__ = _OURS[type(layer)]
    return module


# The forward methods that `install` has replaced, by class.
_before: dict[Any, Any] = {}


class _Installation:
    """The context manager that `install` returns; it restores what was there before."""

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
    """Let ``torch.nn.LSTM``, ``GRU`` and ``RNN`` compute on the core in this process.

    This affects existing and new layers, and subclasses that call ``super().forward``. A second
    call has no effect. ``torch.jit.script`` cannot compile installed layers: `uninstall` first.

    Returns
    -------
    context manager
        Uninstalls at the end of its block. You may ignore it.

    Examples
    --------
    >>> import torch, bptt.torch
    >>> with bptt.torch.install():
    ...     y, h = torch.nn.RNN(3, 5)(torch.zeros(7, 2, 3))
    """
    before = _is_installed()
    if not before:
        _before.update({kind: kind.forward for kind in KINDS})
        for kind in KINDS:
            kind.forward = _forward
    return _Installation(before)


def uninstall() -> None:
    """Undo `install`; without an installation, do nothing.

    Examples
    --------
    >>> import bptt.torch
    >>> bptt.torch.uninstall()
    """
    for kind, forward in _before.items():
        if kind.forward is _forward:
            kind.forward = forward
    _before.clear()


def _is_installed() -> bool:
    return bool(torch.nn.LSTM.forward is _forward)
