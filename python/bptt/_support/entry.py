"""Where users enter the package: arguments with other names are answered, and tracebacks are short.

IPython leaves out the frames whose variable ``__tracebackhide__`` is true, so that a traceback in a
notebook goes from the user's line to the check that failed. Python itself shows all frames.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from bptt._support import names
from bptt._support.warn import is_ours

Entry = TypeVar("Entry", bound=Callable[..., Any])

#: Errors that tell of a mistake of the user. In all others a maintainer wants to see every frame.
MISTAKES = (TypeError, ValueError, ArithmeticError, ImportError, OSError)


def entry(target: Entry) -> Entry:
    """Mark a function, or a class for its constructor, that users call."""
    if isinstance(target, type):
        setattr(target, "__init__", entry(vars(target)["__init__"]))  # noqa: B010  for mypy
        return target

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return target(*args, **kwargs)
        except MISTAKES as error:
            __tracebackhide__, trace = _hidden, error.__traceback__
            if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
                # The arguments do not fit: the function was not even entered.
                raise TypeError(_answer(target, str(error), kwargs)) from None
            _hide(trace)
            raise

    return call  # type: ignore[return-value]


def _answer(function: Callable[..., Any], error: str, given: dict[str, Any]) -> str:
    """Return Python's sentence about arguments that do not fit, and what to type."""
    parameters = [
        p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")
    ]
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    owner, _, own = function.__qualname__.rpartition(".")
    name = owner.rpartition(".")[2] if own == "__init__" else own
    for argument in given:
        if argument not in known:
            told = names.argument(name, argument, known)
            return f"{name}() got an unexpected keyword argument {argument!r}: {told}"
    told = error.replace(function.__qualname__, name)
    whole = f"model.{name}" if owner and own != "__init__" else f"bptt.{name}"
    if "multiple values" in error:
        return f"{told}: {known[0]} is the first argument, type {whole}({known[0]}=...)"
    return f"{told}: type {_call(whole, parameters)}"


def _call(name: str, parameters: list[inspect.Parameter]) -> str:
    """Return a call with all arguments that must be given."""
    loss = 'loss="mse"'
    if name == "model.fit":
        return f"model.fit(x, y, {loss}, optimizer=bptt.Adam()), with a name for each setting"
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    texts = [
        loss if p.name == "loss" else f"{p.name}=..." if p.kind is p.KEYWORD_ONLY else p.name
        for p in needed
    ]
    optional = len(parameters) > len(needed)
    return f"{name}({', '.join(texts)})" + (
        ", with a name for each setting" if optional and not texts else ""
    )


def _hide(trace: TracebackType | None) -> None:
    """Hide the frames of this package."""
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if is_ours(frame):
            frame.f_locals["__tracebackhide__"] = _hidden


def _hidden(excinfo: object) -> bool:
    """Tell pytest, which asks, to show the frame; IPython takes it as true."""
    return False
