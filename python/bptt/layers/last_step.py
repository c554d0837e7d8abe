"""`LastStep`: the last step of every sequence, for one target per sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import Layer as CoreLayer
from bptt._core import Lengths
from bptt._support import check
from bptt._support.entry import entry
from bptt.layers._arrays import Array
from bptt.layers._batch import Batch
from bptt.layers.stateless import Record, Shape, Stateless


class _Steps(Record):
    """What `LastStep.forward` keeps for `backward`: the input, and the layout of its sequences."""

    def __init__(
        self,
        layer: LastStep,
        packed: Array,
        shapes: tuple[Shape, Shape],
        batch: Batch,
        lengths: Lengths,
        directions: int,
    ) -> None:
        super().__init__(layer, packed, 0, shapes)
        self._batch, self._lengths, self._directions = batch, lengths, directions


@entry
class LastStep(Stateless):
    """The last step of every sequence: from (T, B, F) to (B, F).

    In a model, the layers after it see one step of each sequence, so each sequence has one target:
    its class, or numbers to predict. The layer has no parameters.

    After a layer with two directions, the output of the second direction is taken at the first
    step, where that direction ends, as in Keras (``Bidirectional`` with
    ``return_sequences=False``). It is the h_n of the last layer in torch. A model detects this case
    by itself. Only Dropout may stand between the two layers, because other layers mix both
    directions of one step.

    Parameters
    ----------
    batch_first : bool, default False
        Whether the input is (B, T, F) when the layer is called. In a model it has no effect.

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
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        self.batch_first = check.flag("batch_first", batch_first)
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
            (B,): the number of steps of each sequence, from 1 to T. T by default.
        bidirectional : bool, default False
            Whether x is the output of a layer with two directions. Then the second half of the
            features is taken from the first step.

        Returns
        -------
        ndarray
            (B, F), or (F,) without a batch.
        """
        return self.forward(x, lengths, bidirectional=bidirectional)[0]

    def forward(
        self, x: ArrayLike, lengths: ArrayLike | None = None, *, bidirectional: bool = False
    ) -> tuple[Array, Record]:
        """Return the last steps of x, as calling the layer does, and a record for `backward`."""
        directions = 2 if check.flag("bidirectional", bidirectional) else 1
        array = check.single_or_double("x", x)
        batch = Batch(array, lengths, self.batch_first, "F")
        sizes = batch.lengths or Lengths([batch.steps] * batch.rows)
        packed = sizes.pack(batch.to_three(array), self.batch_first)
        last = self._core.apply(np.empty(0, array.dtype), packed, sizes, None, directions)
        y = np.empty_like(last)
        y[sizes.order] = last
        y = y if batch.batched else y[0]
        return y, _Steps(self, packed, (array.shape, y.shape), batch, sizes, directions)

    def backward(self, record: Record, dy: ArrayLike) -> tuple[Array, dict[str, Array]]:
        """Return the gradient with respect to x, in the shape of x, and an empty dict."""
        record = self._own(record)
        assert isinstance(record, _Steps)
        batch, sizes = record._batch, record._lengths
        array = record._check(dy, record._x.dtype)
        last = np.atleast_2d(array)[sizes.order]
        none = np.empty(0, last.dtype)
        dx, _ = self._core.apply_back(none, record._x, last, sizes, 0, record._directions)
        assert dx is not None
        return batch.from_three(sizes.unpack(dx, batch.steps, self.batch_first)), {}

    def __repr__(self) -> str:
        return f"LastStep({'batch_first=True' if self.batch_first else ''})"
