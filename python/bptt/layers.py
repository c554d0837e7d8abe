"""The layers without a state: Linear, OneHot, LastStep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt import _check
from bptt._batch import Batch
from bptt._core import Layer as CoreLayer
from bptt._core import Lengths
from bptt._layer import Layer, Record, Stateless, TrainableLayer

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
        self._init(self._make_core(), dtype, self.in_features**-0.5, rng)

    def _make_core(self) -> CoreLayer:
        return CoreLayer.linear(self.in_features, self.out_features, self.bias)

    def _given(self, x: ArrayLike) -> Array:
        return _features(x, self.dtype, self.in_features, "in_features")

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"Linear({self.in_features}, {self.out_features}{bias}{dtype})"


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


class LastStep(Stateless):
    """The last step of every sequence: from (T, B, F) to (B, F).

    In a model, what comes after it sees one step of each sequence, so there is one target for each:
    sequences are classified, or a number is predicted from each. It has no parameters.

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
    >>> model = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.LastStep(), bptt.Linear(8, 2, rng=1))
    >>> model.predict(np.zeros((5, 7, 1))).shape  # (N, T, F) to (N, O)
    (5, 2)
    """  # noqa: E501

    def __init__(self, *, batch_first: bool = False) -> None:
        self.batch_first = _check.flag("batch_first", batch_first)
        self._core = self._make_core()

    def _make_core(self) -> CoreLayer:
        return CoreLayer.last_step()

    def __call__(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        """Return the last steps of x.

        Parameters
        ----------
        x : array_like
            (T, B, F), or (B, T, F) with ``batch_first``, or (T, F) without a batch. float64 stays
            float64, other numbers become float32.
        lengths : array_like of int, optional
            (B,): how many steps of each sequence count, from 1 to T. All by default.

        Returns
        -------
        ndarray
            (B, F), or (F,) without a batch.
        """
        return self.forward(x, lengths)[0]

    def forward(self, x: ArrayLike, lengths: ArrayLike | None = None) -> tuple[Array, Record]:
        """Return the last steps of x, as calling the layer does, and what `backward` needs."""
        array = _check.single_or_double("x", x)
        batch = Batch(array, lengths, self.batch_first, "F")
        sizes = batch.lengths or Lengths([batch.steps] * batch.rows)
        packed = sizes.pack(batch.to_three(array), self.batch_first)
        last = self._core.apply(np.empty(0, array.dtype), packed, sizes, None)
        y = np.empty_like(last)
        y[sizes.order] = last
        y = y if batch.batched else y[0]
        record = Record(self, packed, y.shape, 0)
        record._lengths, record._batch = sizes, batch
        return y, record

    def backward(self, record: Record, dy: ArrayLike) -> tuple[Array, dict[str, Array]]:
        """Return the gradient with respect to x, in its shape, and no others (an empty dict)."""
        record = self._own(record)
        batch, sizes = record._batch, record._lengths
        assert batch is not None and sizes is not None
        array = record._check(dy, record._x.dtype)
        last = np.atleast_2d(array)[sizes.order]
        dx, _ = self._core.apply_back(np.empty(0, last.dtype), record._x, last, sizes, 0)
        assert dx is not None
        return batch.from_three(sizes.unpack(dx, batch.steps, self.batch_first)), {}

    def __repr__(self) -> str:
        return f"LastStep({'batch_first=True' if self.batch_first else ''})"
