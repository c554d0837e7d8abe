"""The layers without a state: Linear, OneHot, Embedding, LayerNorm and Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._support import check
from bptt._support.entry import entry
from bptt.layers._arrays import Array
from bptt.layers._base import Layer, TrainableLayer, uniform

Shape = tuple[int, ...]


class Record:
    """What `forward` of a layer without a state keeps for `backward`: its input.

    Do not change the input or the parameters before `backward`.
    """

    def __init__(self, layer: Layer, x: Array, seed: int, shapes: tuple[Shape, Shape]) -> None:
        self._layer, self._x, self._seed = layer, x, seed  # x as the core takes it
        self._x_shape, self._y_shape = shapes

    def __reduce__(self) -> str:
        raise TypeError(
            "a record cannot be copied or pickled, because it belongs to its layer: run forward of "
            "the other layer"
        )

    def _check(self, dy: ArrayLike, dtype: np.dtype[Any]) -> Array:
        """Return dy as an array in the shape of y, or raise an error."""
        array = check.floats("dy", dy, dtype)
        if array.shape != self._y_shape:
            raise ValueError(f"dy must have the shape of y, {self._y_shape}, got {array.shape}")
        return array


class Stateless(Layer):
    """A layer without a state: each step of the output depends on the same step of the input."""

    def _given(self, x: ArrayLike) -> Array:
        """Return the input as an array that the layer takes, or raise an error."""
        raise NotImplementedError

    def _rows(self, x: Array) -> tuple[Array, Shape]:
        """Return x as (N, F), or tokens as (N,), and the shape of y without its features."""
        return x.reshape(-1, x.shape[-1]), x.shape[:-1]

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer for inference: without dropout, and without a record for `backward`.

        Parameters
        ----------
        x : array_like
            (..., F), with the features last; for an Embedding tokens (...).

        Returns
        -------
        ndarray
            The output, (..., O).
        """
        return self._apply(self._given(x), None)[0]

    def forward(self, x: ArrayLike) -> tuple[Array, Record]:
        """Apply the layer for training: with dropout, and with a record for `backward`.

        The parameter and the first result are those of calling the layer. The second result is the
        record.
        """
        array, seed = self._given(x), self._seed()
        y, rows = self._apply(array, seed)
        return y, Record(self, rows, seed, (array.shape, y.shape))

    def _apply(self, x: Array, seed: int | None) -> tuple[Array, Array]:
        rows, shape = self._rows(x)
        y = self._core.apply(self._flat_for(rows), rows, None, seed)
        return y.reshape(*shape, y.shape[-1]), rows

    def backward(self, record: Record, dy: ArrayLike) -> tuple[Array | None, dict[str, Array]]:
        """Go back through a forward pass.

        Parameters
        ----------
        record : Record
            From `forward` of this layer. The parameters must not have changed since.
        dy : array_like
            Gradient of the loss with respect to y, in the shape of y.

        Returns
        -------
        dx : ndarray or None
            Gradient with respect to x, in the shape of x; None for a layer that takes tokens.
        grads : dict of str to ndarray
            Gradients with respect to the parameters, by name.
        """
        x = self._own(record)._x
        flat = self._flat_for(x)
        array = record._check(dy, flat.dtype)
        rows = array.reshape(len(x), array.shape[-1])
        dx, grads = self._core.apply_back(flat, x, rows, None, record._seed)
        return None if dx is None else dx.reshape(record._x_shape), self._views(grads)

    def _own(self, record: Record) -> Record:
        if not isinstance(record, Record):
            raise TypeError(f"record must come from forward, got {type(record).__name__}")
        if record._layer is not self:
            raise ValueError("record must come from forward of this layer, it is another layer's")
        return record


@entry
class Linear(Stateless, TrainableLayer):
    """A linear layer, as torch.nn.Linear: ``y = x W' + b`` over the last dimension.

    Parameters
    ----------
    in_features, out_features : int
        Features of the input and the output.
    bias : bool, default True
        Whether the layer has a bias.
    dtype : {"float32", "float64"}, default "float32"
        The dtype of the parameters and all results.
    rng : None, int or numpy.random.Generator
        The source of the initial parameters, uniform in ``[-1, 1] / sqrt(in_features)``.

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
        self.in_features = check.size("in_features", in_features)
        self.out_features = check.size("out_features", out_features)
        self.bias = check.flag("bias", bias)
        self._init(self._make_core(), dtype, uniform(self.in_features**-0.5, rng))

    def _make_core(self) -> CoreLayer:
        return CoreLayer.linear(self.in_features, self.out_features, self.bias)

    def _given(self, x: ArrayLike) -> Array:
        return _features(x, self.dtype, self.in_features, "in_features")

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"Linear({self.in_features}, {self.out_features}{bias}{_dtype(self.dtype)})"


def _dtype(dtype: np.dtype[Any]) -> str:
    return "" if dtype == np.float32 else f", dtype={dtype}"


def _features(x: ArrayLike, dtype: np.dtype[Any], features: int, name: str) -> Array:
    array = check.floats("x", x, dtype)
    if array.ndim == 0 or array.shape[-1] != features:
        raise ValueError(
            f"x must have {features} features in its last dimension ({name}), "
            f"got shape {array.shape}"
        )
    return array


@entry
class OneHot(Layer):
    """From tokens to one-hot vectors; the first layer of a model that reads tokens.

    Parameters
    ----------
    classes : int
        The number of different tokens; tokens are 0 to ``classes - 1``.

    Examples
    --------
    >>> import bptt
    >>> bptt.OneHot(3)([2, 0])
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """

    def __init__(self, classes: int) -> None:
        self.classes = check.size("classes", classes)
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.one_hot(self.classes)

    def __call__(self, tokens: ArrayLike) -> Array:
        """Return one-hot vectors (..., classes) of float32 for tokens (...)."""
        indices = check.classes("tokens", tokens, self.classes)
        one_hot = np.zeros((*indices.shape, self.classes), np.float32)
        np.put_along_axis(one_hot, indices[..., None].astype(np.intp), 1, axis=-1)
        return one_hot

    def __repr__(self) -> str:
        return f"OneHot({self.classes})"


@entry
class Embedding(Stateless, TrainableLayer):
    """A trained vector for every token, as torch.nn.Embedding.

    It is the first layer of a model that reads tokens.

    Parameters
    ----------
    num_embeddings : int
        The number of different tokens; tokens are 0 to ``num_embeddings - 1``.
    embedding_dim : int
        The size of each vector.
    dtype : {"float32", "float64"}, default "float32"
        The dtype of the parameters and all results.
    rng : None, int or numpy.random.Generator
        The source of the initial vectors, normal with mean 0 and standard deviation 1.

    Notes
    -----
    Parameters: ``weight`` (num_embeddings, embedding_dim).

    Examples
    --------
    >>> import bptt
    >>> embedding = bptt.Embedding(10, 3, rng=0)
    >>> embedding([[1, 9], [4, 1]]).shape  # tokens of any shape
    (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        self.num_embeddings = check.size("num_embeddings", num_embeddings)
        self.embedding_dim = check.size("embedding_dim", embedding_dim)
        self._init(self._make_core(), dtype, check.generator(rng).standard_normal)

    def _make_core(self) -> CoreLayer:
        return CoreLayer.embedding(self.num_embeddings, self.embedding_dim)

    def _given(self, x: ArrayLike) -> Array:
        return check.classes("tokens", x, self.num_embeddings)

    def _rows(self, x: Array) -> tuple[Array, Shape]:
        return x.reshape(-1), x.shape

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}{_dtype(self.dtype)})"


@entry
class LayerNorm(Stateless, TrainableLayer):
    """Layer normalisation of the last dimension, as torch.nn.LayerNorm.

    ``y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias``, where the variance is the mean of the
    squared deviations (Ba, Kiros and Hinton 2016).

    Parameters
    ----------
    normalized_shape : int
        The size of the last dimension (F); torch's form ``(F,)`` is accepted.
    eps : float, default 1e-5
        Added to the variance; above 0.
    elementwise_affine : bool, default True
        Whether the layer has a weight, initially ones, and a bias.
    bias : bool, default True
        Whether a layer with a weight also has a bias, initially zeros.
    dtype : {"float32", "float64"}, default "float32"
        The dtype of the parameters and all results.

    Notes
    -----
    Parameters: ``weight`` (normalized_shape,) and ``bias`` (normalized_shape,).

    Examples
    --------
    >>> import numpy as np, bptt
    >>> y = bptt.LayerNorm(4)(np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 4.0]]))
    >>> np.round(y, 2)
    array([[-1.34, -0.45,  0.45,  1.34],
           [-0.58, -0.58, -0.58,  1.73]], dtype=float32)
    """  # noqa: E501

    def __init__(
        self,
        normalized_shape: int | tuple[int] | list[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        *,
        bias: bool = True,
        dtype: object = "float32",
    ) -> None:
        if isinstance(normalized_shape, (tuple, list)):
            if len(normalized_shape) != 1:
                raise ValueError(
                    "normalized_shape must be one number, the size of the last dimension, got "
                    f"{normalized_shape}: other dimensions cannot be normalised"
                )
            normalized_shape = normalized_shape[0]
        self.normalized_shape = check.size("normalized_shape", normalized_shape)
        self.eps = check.real("eps", eps)
        self.elementwise_affine = check.flag("elementwise_affine", elementwise_affine)
        self.bias = check.flag("bias", bias)
        self._init(self._make_core(), dtype, lambda _: 1.0)
        if "bias" in self.parameters:
            self.parameters["bias"][:] = 0

    def _make_core(self) -> CoreLayer:
        affine = self.elementwise_affine
        return CoreLayer.layer_norm(self.normalized_shape, self.eps, affine, affine and self.bias)

    def _given(self, x: ArrayLike) -> Array:
        return _features(x, self.dtype, self.normalized_shape, "normalized_shape")

    def __repr__(self) -> str:
        options = "" if self.eps == 1e-5 else f", eps={self.eps}"
        options += "" if self.elementwise_affine else ", elementwise_affine=False"
        options += "" if self.bias else ", bias=False"
        return f"LayerNorm({self.normalized_shape}{options}{_dtype(self.dtype)})"


@entry
class Dropout(Stateless):
    """Dropout, as torch.nn.Dropout: training sets random numbers of the input to zero.

    The other numbers are divided by ``1 - p`` (Srivastava et al. 2014). Inference (calling the
    layer, `predict`, `evaluate`, steppers) leaves the input as it is.

    Parameters
    ----------
    p : float, default 0.5
        The probability that a number is set to zero, in [0, 1).
    rng : None, int or numpy.random.Generator
        The source of the seed of each forward pass, or of a training run.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> dropout = bptt.Dropout(0.5, rng=0)
    >>> y, record = dropout.forward(np.ones((2, 3)))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    >>> bool((dropout(np.ones((2, 3))) == 1).all())
    True
    """

    def __init__(self, p: float = 0.5, *, rng: object = None) -> None:
        self.p = check.probability("p", p)
        self._rng = check.generator(rng)
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.dropout(self.p)

    def _seed(self) -> int:
        return int(self._rng.integers(2**63)) if self.p else 0

    def _given(self, x: ArrayLike) -> Array:
        """Return the input: float64 stays float64, other numbers become float32."""
        array = check.single_or_double("x", x)
        if array.ndim == 0 or array.shape[-1] == 0:
            raise ValueError(f"x must be (..., F) with at least 1 feature, got shape {array.shape}")
        return array

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
