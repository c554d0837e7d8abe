"""Models in files: `Sequential.save` and `load`.

A file is in the safetensors format. Its tensors are the parameters by the names of the model's `state_dict`;
its metadata say under "bptt" of what layers the model is::

    {"version": 1, "layers": [{"type": "LSTM", "input_size": 3, "hidden_size": 5, ...}, ...]}

The layers' settings are their constructors' parameters. What training adds is in `_checkpoint`.
"""  # noqa: E501

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from bptt import _safetensors
from bptt._layer import Layer, parameters_at_most
from bptt.layers import Dropout, Embedding, LastStep, LayerNorm, Linear, OneHot
from bptt.recurrent import GRU, LSTM, RNN

if TYPE_CHECKING:
    from bptt._model import Model
    from bptt.model import Sequential

Array = NDArray[Any]
Arrays = Mapping[str, Array]

#: Of the architecture's text; a file of another one is not read.
VERSION = 1

_LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (Dropout, Embedding, GRU, LSTM, LastStep, LayerNorm, Linear, OneHot, RNN)
}


def path_of(path: object) -> Path:
    """Return a path that was given as a str or a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, got {path!r}")
    return Path(path)


def _settings(layer: type[Layer]) -> list[str]:
    names = inspect.signature(layer).parameters
    return [name for name in names if name != "rng"]


def architecture(model: Model) -> dict[str, Any]:
    """Return of what layers a model is, as JSON can hold it."""
    layers = []
    for layer in model.layers:
        kind = type(layer)
        if _LAYERS.get(kind.__name__) is not kind:
            raise TypeError(f"only bptt's own layers can be saved, got {kind.__qualname__}")
        settings = {name: getattr(layer, name) for name in _settings(kind)}
        if "dtype" in settings:
            settings["dtype"] = str(settings["dtype"])
        layers.append({"type": kind.__name__, **settings})
    return {"version": VERSION, "layers": layers}


def write(path: object, model: Model, metadata: Mapping[str, str], tensors: Arrays) -> None:
    """Write a model, and what else belongs to it, to a file."""
    texts = {"format": "np", "bptt": json.dumps(architecture(model)), **metadata}
    _safetensors.write(path_of(path), {**model._named(), **tensors}, texts)


def read(path: object) -> tuple[Sequential, dict[str, str], dict[str, Array]]:
    """Read a model from a file, with the other metadata and tensors there."""
    from bptt.model import Sequential  # which imports this module

    path = path_of(path)
    tensors, metadata = _safetensors.read(path)
    if "bptt" not in metadata:
        raise ValueError(
            f"{os.fspath(path)!r} has no bptt model in it, only tensors: make the model and give "
            "its load_state_dict what safetensors.numpy.load_file reads"
        )
    try:
        text = json.loads(metadata.pop("bptt"))
        version, layers = text["version"], text["layers"]
        known = type(version) is int and isinstance(layers, list)
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise ValueError(f"{os.fspath(path)!r}: its text of layers is damaged")
    if version != VERSION:
        raise ValueError(
            f"{os.fspath(path)!r} is of version {version} of the format, and this bptt reads "
            f"version {VERSION}: use the bptt that wrote it, or a newer one"
        )
    try:
        with parameters_at_most(sum(array.size for array in tensors.values())):
            made = (_layer(n, settings, len(tensors)) for n, settings in enumerate(layers))
            model = Sequential(*made)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from None
    named = model._named()
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
    return model, metadata, tensors


def _layer(n: int, settings: Any, tensors: int) -> Layer:
    if not isinstance(settings, dict) or not isinstance(settings.get("type"), str):
        raise ValueError(f"layer {n} has no type")
    settings = dict(settings)
    kind = _LAYERS.get(name := settings.pop("type"))
    if kind is None:
        raise ValueError(f"layer {n} is of unknown type {name!r}; there are {', '.join(_LAYERS)}")
    wanted = _settings(kind)
    if set(settings) != set(wanted):
        raise ValueError(
            f"layer {n}, {name}, has {sorted(settings)}, it must have {sorted(wanted)}"
        )
    depth = settings.get("num_layers")
    if isinstance(depth, int) and depth > tensors:  # millions of them would take gigabytes to name
        raise ValueError(f"layer {n}, {name}, has num_layers {depth}, more than there are tensors")
    try:
        return kind(**settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"layer {n}, {name}: {error}") from None


def load(path: str | os.PathLike[str]) -> Sequential:
    """Load a model that `Sequential.save`, or `Sequential.fit` with a checkpoint, has written.

    Nothing in the file is executed. Random numbers of its layers' dropout are seeded anew.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Sequential
        The model: the same layers, and the same bits of all parameters.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, of another version, has no model in it, or one of unknown layers, or if a
        parameter is missing or of a wrong shape or dtype.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bptt
    >>> model = bptt.Sequential(bptt.GRU(1, 4, rng=0), bptt.Linear(4, 1, rng=1))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> twin = bptt.load(path)
    >>> twin
    Sequential(GRU(1, 4), Linear(4, 1))
    >>> x = np.ones((2, 3, 1))
    >>> bool((twin.predict(x) == model.predict(x)).all())
    True
    """
    model, _, others = read(path)
    unknown = [name for name in others if not name.startswith("training.")]
    if unknown:
        raise ValueError(f"{os.fspath(path)!r}: there are tensors of no layer: {unknown}")
    return model
