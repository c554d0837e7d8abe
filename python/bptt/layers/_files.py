"""Stacks of layers in files: what `Sequential.save`, `load` and checkpoints write and read.

A file is in the safetensors format. Its tensors are the parameters, by the names of the model's `state_dict`.
The entry "bptt" of its metadata describes the layers::

    {"version": 1, "layers": [{"type": "LSTM", "input_size": 3, "hidden_size": 5, ...}, ...]}

The settings of a layer are the parameters of its constructor. A checkpoint adds the state of the training.
"""  # noqa: E501

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bptt._support import safetensors
from bptt.layers._arrays import Array, parameters_at_most
from bptt.layers._base import Layer
from bptt.layers._stack import Stack
from bptt.layers.gru import GRU
from bptt.layers.last_step import LastStep
from bptt.layers.lstm import LSTM
from bptt.layers.rnn import RNN
from bptt.layers.stateless import Dropout, Embedding, LayerNorm, Linear, OneHot

#: The version of the description of layers; only files of this version are read.
VERSION = 1

_LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (Dropout, Embedding, GRU, LSTM, LastStep, LayerNorm, Linear, OneHot, RNN)
}


def path_of(path: object) -> Path:
    """Return a str or path as a Path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {path!r}")
    return Path(path)


def _settings(layer: type[Layer]) -> list[str]:
    names = inspect.signature(layer).parameters
    return [name for name in names if name != "rng"]


def architecture(stack: Stack) -> dict[str, Any]:
    """Return the types and settings of the layers, for JSON."""
    layers = []
    for layer in stack.layers:
        kind = type(layer)
        if _LAYERS.get(kind.__name__) is not kind:
            raise TypeError(f"only layers of bptt can be saved, got {kind.__qualname__}")
        settings = {name: getattr(layer, name) for name in _settings(kind)}
        if "dtype" in settings:
            settings["dtype"] = str(settings["dtype"])
        layers.append({"type": kind.__name__, **settings})
    return {"version": VERSION, "layers": layers}


def write(
    path: object, stack: Stack, metadata: Mapping[str, str], tensors: Mapping[str, Array]
) -> None:
    """Write layers, with further metadata and tensors, to a file."""
    texts = {"format": "np", "bptt": json.dumps(architecture(stack)), **metadata}
    safetensors.write(path_of(path), {**stack.named_parameters(), **tensors}, texts)


def read(path: object) -> tuple[Stack, dict[str, str], dict[str, Array]]:
    """Read layers from a file; also return the other metadata and tensors in it."""
    path = path_of(path)
    tensors, metadata = safetensors.read(path)
    if "bptt" not in metadata:
        raise ValueError(
            f"{os.fspath(path)!r} has no bptt model in it, only tensors: make the model, read the "
            "tensors with safetensors.numpy.load_file and give them to its load_state_dict"
        )
    try:
        text = json.loads(metadata.pop("bptt"))
        version, layers = text["version"], text["layers"]
        known = type(version) is int and isinstance(layers, list)
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise ValueError(f"{os.fspath(path)!r}: its description of the layers is damaged")
    if version != VERSION:
        raise ValueError(
            f"{os.fspath(path)!r} has version {version} of the format, this bptt reads version "
            f"{VERSION}: use the bptt that wrote it, or a newer one"
        )
    try:
        with parameters_at_most(sum(array.size for array in tensors.values())):
            made = (_layer(n, settings, len(tensors)) for n, settings in enumerate(layers))
            stack = Stack(*made)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from None
    named = stack.named_parameters()
    for name, array in named.items():
        if name not in tensors:
            raise ValueError(f"{os.fspath(path)!r}: the parameter {name} is missing")
        given = tensors.pop(name)
        if (given.shape, given.dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{os.fspath(path)!r}: {name} must be {array.shape} of {array.dtype}, got "
                f"{given.shape} of {given.dtype}"
            )
        array[...] = given
    return stack, metadata, tensors


def _layer(n: int, settings: Any, tensors: int) -> Layer:
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise ValueError(f"layer {n} has no type")
    settings = dict(settings)
    kind = _LAYERS.get(name := settings.pop("type"))
    if kind is None:
        raise ValueError(
            f"layer {n} has unknown type {name!r}, must be one of {', '.join(_LAYERS)}"
        )
    wanted = _settings(kind)
    if set(settings) != set(wanted):
        raise ValueError(
            f"layer {n}, {name}, has the settings {sorted(settings)}, must have {sorted(wanted)}"
        )
    depth = settings.get("num_layers")
    if (
        isinstance(depth, int) and depth > tensors
    ):  # millions of layers would need gigabytes for their names alone
        raise ValueError(
            f"layer {n}, {name}, has num_layers {depth}, more than the file has tensors"
        )
    try:
        return kind(**settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"layer {n}, {name}: {error}") from None
