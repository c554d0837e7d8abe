"""The layers without a state: Linear, OneHot, Embedding, LayerNorm, Dropout, LastStep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check
from bptt._batch import Batch
from bptt._core import Layer as CoreLayer
from bptt._core import Lengths
from bptt._layer import Layer, Record, Stateless, TrainableLayer, uniform

Array = NDArray[Any]


class Linear(Stateless, TrainableLayer):
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
    array = _check.floats("x", x, dtype)
    if array.ndim == 0 or array.shape[-1] != features:
        raise ValueError(
            f"x must have {features} features in its last dimension ({name}), "
            f"got shape {array.shape}"
        )
    return array


class OneHot(Layer):
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
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.one_hot(self.classes)

    def __call__(self, tokens: ArrayLike) -> Array:
        """Return one-hot vectors (..., classes) of float32 for tokens (...)."""
        indices = _check.classes("tokens", tokens, self.classes)
        one_hot = np.zeros((*indices.shape, self.classes), np.float32)
        np.put_along_axis(one_hot, indices[..., None].astype(np.intp), 1, axis=-1)
        return one_hot

    def __repr__(self) -> str:
        return f"OneHot({self.classes})"


class Embedding(Stateless, TrainableLayer):
    """A vector for every token, as torch.nn.Embedding; the first layer of models that read tokens.

    Parameters
    ----------
    num_embeddings : int
        How many different tokens there are; tokens are 0 to ``num_embeddings - 1``.
    embedding_dim : int
        Numbers of a vector.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.
    rng : None, int or numpy.random.Generator
        Where the initial vectors are drawn from, normally distributed with mean 0 and deviation 1.

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
        self.num_embeddings = _check.size("num_embeddings", num_embeddings)
        self.embedding_dim = _check.size("embedding_dim", embedding_dim)
        self._init(self._make_core(), dtype, _check.generator(rng).standard_normal)

    def _make_core(self) -> CoreLayer:
        return CoreLayer.embedding(self.num_embeddings, self.embedding_dim)

    def _given(self, x: ArrayLike) -> Array:
        return _check.classes("tokens", x, self.num_embeddings)

    def _rows(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        return x.reshape(-1), x.shape

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}{_dtype(self.dtype)})"


class LayerNorm(Stateless, TrainableLayer):
    """Layer normalisation of the last dimension, as torch.nn.LayerNorm.

    ``y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias``, the variance divided by the number of
    features (Ba, Kiros and Hinton 2016).

    Parameters
    ----------
    normalized_shape : int
        The features of input and output, the last dimension; torch's ``(F,)`` will do.
    eps : float, default 1e-5
        Added to the variance, above 0.
    elementwise_affine : bool, default True
        Whether there are a weight, ones at first, and a bias.
    bias : bool, default True
        Whether there is a bias, zeros at first, if there is a weight.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.

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
                    "normalized_shape must be the features, one number: only the last dimension "
                    f"is normalised, got {normalized_shape}"
                )
            normalized_shape = normalized_shape[0]
        self.normalized_shape = _check.size("normalized_shape", normalized_shape)
        self.eps = _check.real("eps", eps)
        self.elementwise_affine = _check.flag("elementwise_affine", elementwise_affine)
        self.bias = _check.flag("bias", bias)
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


class Dropout(Stateless):
    """Dropout, as torch.nn.Dropout: in training, numbers are zeroed at random.

    The others are divided by ``1 - p`` (Srivastava et al. 2014). In inference (calling the layer,
    `predict`, `evaluate`, steppers) nothing is done.

    Parameters
    ----------
    p : float, default 0.5
        The probability with which each number is zeroed, in [0, 1).
    rng : None, int or numpy.random.Generator
        Where the seed of each forward pass, or of a training run, is drawn from.

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
        self.p = _check.probability("p", p)
        self._rng = _check.generator(rng)
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.dropout(self.p)

    def _seed(self) -> int:
        return int(self._rng.integers(2**63)) if self.p else 0

    def _given(self, x: ArrayLike) -> Array:
        """Return the input: float64 stays, other numbers become float32."""
        array = _check.single_or_double("x", x)
        if array.ndim == 0 or array.shape[-1] == 0:
            raise ValueError(f"x must be (..., F), of at least 1 feature, got shape {array.shape}")
        return array

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


class _Steps(Record):
    """What LastStep keeps for its backward pass."""

    _directions = 1


class LastStep(Stateless):
    """The last step of every sequence: from (T, B, F) to (B, F).

    In a model, what comes after it sees one step of each sequence, so there is one target for each:
    sequences are classified, or a number is predicted from each. It has no parameters.

    Of a layer with two directions, the second one ends at the first step. So its output is taken there, as
    Keras does it (``Bidirectional`` with ``return_sequences=False``); it is also what h_n of torch's layers has
    of the last layer. A model sees it for itself. Only Dropout may stand between the two layers, because others
    mix what both directions give at one step.

    Parameters
    ----------
    batch_first : bool, default False
        Whether the input, where the layer is used alone, is (B, T, F). In a model it does not matter.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = np.arange(12.0).reshape(3, 2, 2)  # (T, B, F)
    >>> bptt.LastStep()(x, lengths=[3, 1])
    array([[8., 9.],
           [2., 3.]])
    >>> bptt.LastStep()(x, lengths=[3, 1], bidirectional=True)
    array([[8., 1.],
           [2., 3.]])
    >>> model = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.LastStep(), bptt.Linear(8, 2, rng=1))
    >>> model.predict(np.zeros((5, 7, 1))).shape  # (N, T, F) to (N, O)
    (5, 2)
    """  # noqa: E501

    def __init__(self, *, batch_first: bool = False) -> None:
        self.batch_first = _check.flag("batch_first", batch_first)
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.last_step()

    def __call__(
        self, x: ArrayLike, lengths: ArrayLike | None = None, *, bidirectional: bool = False
    ) -> Array:
        """Return the last steps of x.

        Parameters
        ----------
        x : array_like
            (T, B, F), or (B, T, F) with ``batch_first``, or (T, F) without a batch. float64 stays
            float64, other numbers become float32.
        lengths : array_like of int, optional
            (B,): how many steps of each sequence count, from 1 to T. All by default.
        bidirectional : bool, default False
            Whether x is the output of a layer with two directions: the second half of its features is then
            taken from the first step.

        Returns
        -------
        ndarray
            (B, F), or (F,) without a batch.
        """  # noqa: E501
        return self.forward(x, lengths, bidirectional=bidirectional)[0]

    def forward(
        self, x: ArrayLike, lengths: ArrayLike | None = None, *, bidirectional: bool = False
    ) -> tuple[Array, Record]:
        """Return the last steps of x, as calling the layer does, and what `backward` needs."""
        directions = 2 if _check.flag("bidirectional", bidirectional) else 1
        array = _check.single_or_double("x", x)
        batch = Batch(array, lengths, self.batch_first, "F")
        sizes = batch.lengths or Lengths([batch.steps] * batch.rows)
        packed = sizes.pack(batch.to_three(array), self.batch_first)
        last = self._core.apply(np.empty(0, array.dtype), packed, sizes, None, directions)
        y = np.empty_like(last)
        y[sizes.order] = last
        y = y if batch.batched else y[0]
        record = _Steps(self, packed, 0, (array.shape, y.shape))
        record._lengths, record._batch, record._directions = sizes, batch, directions
        return y, record

    def backward(self, record: Record, dy: ArrayLike) -> tuple[Array, dict[str, Array]]:
        """Return the gradient with respect to x, in its shape, and no others (an empty dict)."""
        record = self._own(record)
        assert isinstance(record, _Steps)
        batch, sizes = record._batch, record._lengths
        assert batch is not None and sizes is not None
        array = record._check(dy, record._x.dtype)
        last = np.atleast_2d(array)[sizes.order]
        none = np.empty(0, last.dtype)
        dx, _ = self._core.apply_back(none, record._x, last, sizes, 0, record._directions)
        assert dx is not None
        return batch.from_three(sizes.unpack(dx, batch.steps, self.batch_first)), {}

    def __repr__(self) -> str:
        return f"LastStep({'batch_first=True' if self.batch_first else ''})"
