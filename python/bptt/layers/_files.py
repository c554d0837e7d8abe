"""Stacks of layers in files: what `Sequential.save`, `load` and checkpoints write and read.

A file is in the safetensors format. Its tensors are the parameters, by the names of the model's `state_dict`.
The entry "bptt" of its metadata describes the layers::

    {"version": 1, "layers": [{"type": "LSTM", "input_size": 3, "hidden_size": 5, ...}, ...],
     "checksum": "bptt.sha256"}

The settings of a layer are the parameters of its constructor. A checkpoint adds the state of the training.
Files of bptt 0.1.0 name no checksum, and have none.
"""  # noqa: E501

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bptt._support import check, safetensors, strict_json
from bptt.layers._arrays import Array, read_from_file
from bptt.layers._base import Layer
from bptt.layers._stack import Stack
from bptt.layers.gru import GRU
from bptt.layers.last_step import LastStep
from bptt.layers.lstm import LSTM
from bptt.layers.rnn import RNN
from bptt.layers.stateless import Dropout, Embedding, LayerNorm, Linear, OneHot

#: The version of the description of layers; only files of this version are read.
VERSION = 1

#: The most layers in a file: a million of them take minutes to make, and need no numbers.
MOST_LAYERS = 2**10

_LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (Dropout, Embedding, GRU, LSTM, LastStep, LayerNorm, Linear, OneHot, RNN)
}


def path_of(path: object) -> Path:
    """Return a str or path as a Path; refuse what cannot be a path on this system."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or a path, got {check.shown(path)}")
    try:
        known = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # such as a lone surrogate
        known = False
    if not known:
        raise ValueError(f"path has a character that no path may have, got {check.shown(text)}")
    return Path(text)


def _settings(layer: type[Layer]) -> list[str]:
    names = inspect.signature(layer).parameters
    return [name for name in names if name != "rng"]


def architecture(stack: Stack) -> dict[str, Any]:
    """Return the types and settings of the layers, for JSON; refuse what cannot be saved."""
    if len(stack.layers) > MOST_LAYERS:
        raise ValueError(
            f"a file has at most {MOST_LAYERS} layers, this model has {len(stack.layers)}"
        )
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
    description = {**architecture(stack), "checksum": safetensors.CHECKSUM}
    texts = {"format": "np", "bptt": json.dumps(description), **metadata}
    safetensors.write(path_of(path), {**stack.named_parameters(), **tensors}, texts)


def read(path: object, *, training: bool) -> tuple[Stack, dict[str, str], dict[str, Array]]:
    """Read layers from a file; also return the other metadata and, for training, other tensors."""
    path = path_of(path)
    with safetensors.reading(path) as reader:
        try:
            stack = _stack(reader)
            arrays = stack.named_parameters()
            others = _others(reader, arrays)
            tensors = {}
            if training:
                tensors = {name: safetensors.empty(reader.entries[name]) for name in others}
        except MemoryError as error:
            raise MemoryError(f"{os.fspath(path)!r} needs more memory: {error}") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{os.fspath(path)!r}: {error}") from None
        reader.read({**arrays, **tensors})
    return stack, reader.metadata, tensors


def _stack(reader: safetensors.Reader) -> Stack:
    """Return the layers that a file describes; their parameters are still to be read."""
    if "bptt" not in reader.metadata:
        raise ValueError(
            "it has no bptt model in it, only tensors: make the model, read the tensors with "
            "safetensors.numpy.load_file and give them to its load_state_dict"
        )
    try:
        text = strict_json.loads(reader.metadata.pop("bptt"))
        version, layers = text["version"], text["layers"]
        known = type(version) is int and isinstance(layers, list)
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise ValueError("its description of the layers is damaged")
    if version != VERSION:
        raise ValueError(
            f"it has version {check.shown(version)} of the format, this bptt reads version "
            f"{VERSION}: use the bptt that wrote it, or a newer one"
        )
    if text.keys() - {"version", "layers", "checksum"}:
        raise ValueError("its description of the layers is damaged")
    if "checksum" in text and (text["checksum"] != safetensors.CHECKSUM or reader.checksum is None):
        raise ValueError("it has lost its checksum, so it is damaged")
    if len(layers) > MOST_LAYERS:
        raise ValueError(f"it has {len(layers)} layers, it may have {MOST_LAYERS}")
    # A little more than there is: where few are missing, `_others` says which.
    numbers = sum(math.prod(entry.shape) for entry in reader.entries.values()) + 2**20
    with read_from_file(numbers):
        return Stack(*(_layer(n, layer, len(reader.entries)) for n, layer in enumerate(layers)))


def _others(reader: safetensors.Reader, parameters: Mapping[str, Array]) -> list[str]:
    """Return the tensors that are no parameters; refuse parameters that do not fit."""
    for name, array in parameters.items():
        if name not in reader.entries:
            raise ValueError(f"the parameter {name} is missing")
        entry = reader.entries[name]
        kind = entry.dtype.newbyteorder("=")
        if (entry.shape, kind) != (array.shape, array.dtype):
            raise ValueError(
                f"{name} must be {array.shape} of {array.dtype}, got {entry.shape} of {kind}"
            )
    others = [name for name in reader.entries if name not in parameters]
    if unknown := [name for name in others if not name.startswith("training.")]:
        raise ValueError(f"no layer has the tensors {check.shown(unknown)}")
    return others


def _layer(n: int, settings: Any, tensors: int) -> Layer:
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise ValueError(f"layer {n} has no type")
    settings = dict(settings)
    kind = _LAYERS.get(name := settings.pop("type"))
    if kind is None:
        raise ValueError(
            f"layer {n} has unknown type {check.shown(name)}, must be one of {', '.join(_LAYERS)}"
        )
    wanted = _settings(kind)
    if set(settings) != set(wanted):
        raise ValueError(
            f"layer {n}, {name}, has the settings {check.shown(sorted(settings))}, must have "
            f"{sorted(wanted)}"
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
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"layer {n}, {name}: {error}") from None
