"""What all layers share, and the layers without a memory: Linear and OneHot."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check
from bptt._core import Layer as CoreLayer

Array = NDArray[Any]


class Layer:
    """What layers share: parameters in one flat array, seen as named arrays.

    Attributes
    ----------
    dtype : numpy.dtype
        float32 or float64.
    parameters : mapping of str to ndarray
        The parameters by torch's names. The arrays are written in place (``layer.parameters["bias"][:] = 0``);
        to replace them all, use `load_state_dict`.
    """  # noqa: E501

    dtype: np.dtype[Any]
    parameters: Mapping[str, Array]
    _core: CoreLayer
    _flat: Array

    def _init(self, core: CoreLayer, dtype: object, bound: float, rng: object) -> None:
        """Draw all parameters uniformly from [-bound, bound], as torch does."""
        self.dtype = _check.dtype_of(dtype)
        length = sum(int(np.prod(shape)) for _, shape in core.parameters())
        draws = _check.generator(rng).uniform(-bound, bound, length)
        self._set(core, draws.astype(self.dtype))

    def _set(self, core: CoreLayer, flat: Array) -> None:
        self._core, self._flat = core, flat
        self.parameters = MappingProxyType(self._views(flat))

    def _views(self, flat: Array) -> dict[str, Array]:
        views, start = {}, 0
        for name, shape in self._core.parameters():
            end = start + int(np.prod(shape))
            views[name] = flat[start:end].reshape(shape)
            start = end
        return views

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Copy parameters into this layer, in place.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            An array for every name in `parameters`, of its shape; torch tensors on the CPU will do.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape differs. Nothing is changed then.
        """
        load_arrays(self.parameters, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        # The named arrays are views of the flat one, which a copy has to make anew.
        state = self.__dict__.copy()
        for name in ("_core", "parameters"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set(self._make_core(), self._flat)

    def _make_core(self) -> CoreLayer:
        raise NotImplementedError

    def _seed(self) -> int:
        """Return what dropout draws from in a pass or a training run; 0 where there is none."""
        return 0


def load_arrays(parameters: Mapping[str, Array], given: Mapping[str, ArrayLike]) -> None:
    """Copy arrays to those of the same names, all or none."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a state dict maps names to arrays, got {type(given).__name__}")
    missing = [name for name in parameters if name not in given]
    unknown = [name for name in given if name not in parameters]
    if missing or unknown:
        raise ValueError(
            f"the state dict does not fit: missing {missing or 'none'}, "
            f"unknown {unknown or 'none'}; it takes {list(parameters)}"
        )
    arrays = {}
    for name, array in parameters.items():
        new = _check.floats(name, given[name], array.dtype)
        if new.shape != array.shape:
            raise ValueError(f"{name} must have shape {array.shape}, got {new.shape}")
        arrays[name] = new
    for name, new in arrays.items():
        parameters[name][...] = new


class Linear(Layer):
    """A linear layer, as torch.nn.Linear: ``y = x W' + b`` on the last dimension.

    Parameters
    ----------
    in_features, out_features : int
        Features of the input and the output.
    bias : bool, default True
        Whether there is a bias.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.
    rng : None, int or numpy.random.Generator
        Where the initial parameters are drawn from, uniformly in ``[-1, 1] / sqrt(in_features)``.

    Notes
    -----
    Parameters: ``weight`` (out_features, in_features) and ``bias`` (out_features,).

    Examples
    --------
    >>> import numpy as np, bptt
    >>> bptt.Linear(3, 2, rng=0)(np.ones((7, 4, 3))).shape
    (7, 4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        self.in_features = _check.size("in_features", in_features)
        self.out_features = _check.size("out_features", out_features)
        self.bias = _check.flag("bias", bias)
        self._init(self._make_core(), dtype, self.in_features**-0.5, rng)

    def _make_core(self) -> CoreLayer:
        return CoreLayer.linear(self.in_features, self.out_features, self.bias)

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer to x (..., in_features); gives (..., out_features)."""
        array = _check.floats("x", x, self.dtype)
        if array.ndim == 0 or array.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have {self.in_features} features in its last dimension (in_features), "
                f"got shape {array.shape}"
            )
        y = self._core.apply(self._flat, array.reshape(-1, self.in_features))
        return y.reshape(*array.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"Linear({self.in_features}, {self.out_features}{bias}{dtype})"


class OneHot:
    """Tokens to one-hot vectors; the first layer of models that read tokens.

    Parameters
    ----------
    classes : int
        How many different tokens there are; tokens are 0 to ``classes - 1``.

    Examples
    --------
    >>> import bptt
    >>> bptt.OneHot(3)([2, 0])
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """

    def __init__(self, classes: int) -> None:
        self.classes = _check.size("classes", classes)
        self._core = CoreLayer.one_hot(self.classes)

    def __call__(self, tokens: ArrayLike) -> Array:
        """Return one-hot vectors (..., classes) of float32 for tokens (...)."""
        indices = _check.classes("tokens", tokens, self.classes)
        one_hot = np.zeros((*indices.shape, self.classes), np.float32)
        np.put_along_axis(one_hot, indices[..., None].astype(np.intp), 1, axis=-1)
        return one_hot

    def __getstate__(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"OneHot({self.classes})"
