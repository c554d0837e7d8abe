"""The vanilla RNN layer."""

from __future__ import annotations

from bptt._support import check
from bptt._support.entry import entry
from bptt.layers.recurrent import Recurrent


@entry
class RNN(Recurrent):
    """The vanilla recurrent network, as torch.nn.RNN.

    ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, or relu (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    num_layers : int, default 1
        Stacked layers (L); each reads the outputs of the layer below.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        The function that is applied to the sum.
    bias : bool, default True
        Whether the layers have biases.
    batch_first : bool, default False
        Whether batches are (B, T, I) rather than (T, B, I). The shapes of states do not change.
    dropout : float, default 0.0
        Probability, in [0, 1), that an output of a layer is zeroed before the layer above reads it;
        the other outputs are divided by 1 - p. Only in `forward` and `fit`.
    bidirectional : bool, default False
        Whether a second direction (D = 2) reads the steps from the last to the first. Its outputs
        follow those of the first direction in the last dimension.
    layer_norm : bool, default False
        Whether the products with x and with h are each normalised over all gates and units and
        multiplied by a gain, before the biases are added (Ba, Kiros and Hinton 2016, as in haste).
    recurrent_dropout : float, default 0.0
        Probability, in [0, 1), that a unit of h is zeroed in the recurrent products, the same units
        at all steps of a sequence (Gal and Ghahramani 2016). Only in `forward` and `fit`.
    zoneout : float, default 0.0
        Probability, in [0, 1), that a unit keeps its h of the previous step (Krueger et al. 2017,
        for h alone, as in haste). In `forward` and `fit`; in inference h is the expected value.
    compute : "bf16", optional
        The precision of matrix products, forward and backward: "bf16" rounds both factors to 8
        significant bits. Sums, states and parameters stay float32. By default products are float32.
        See Notes.
    dtype : {"float32", "float64"}, default "float32"
        The dtype of the parameters and all results.
    rng : None, int or numpy.random.Generator
        The source of the initial parameters, uniform in [-1/sqrt(H), 1/sqrt(H)], and of dropout.

    Notes
    -----
    Parameters of the first layer: ``weight_ih_l0`` (H, I), ``weight_hh_l0`` (H, H),
    ``bias_ih_l0`` and ``bias_hh_l0`` (H,). Names of the second direction end in ``_l0_reverse``,
    names of the layers above in ``_l1``, ... With layer_norm there are ``gain_ih_l0`` and
    ``gain_hh_l0`` (H,), initially ones. The state is the tuple ``(h,)``.

    With ``compute="bf16"`` the relative error (norm of the difference over norm, against float64,
    at H = 256, I = 128, T = 100) is 2.6e-3 for y and the states, 2.7e-3 for dx and 2.8e-3 to 3.8e-3
    for the gradients of the weights. See `LSTM` for more.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> rnn = bptt.RNN(3, 5, rng=0)
    >>> y, (h,) = rnn(np.ones((7, 3)))  # (T, I), no batch
    >>> bool((y[-1] == h[0]).all())
    True
    """

    _states = 1
    _values = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        compute: str | None = None,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        nonlinearity = check.choice("nonlinearity", nonlinearity, "tanh", "relu")
        self.nonlinearity = self._cell = nonlinearity
        self._options = "" if nonlinearity == "tanh" else f", nonlinearity={nonlinearity!r}"
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            layer_norm,
            recurrent_dropout,
            zoneout,
            compute,
            dtype,
            rng,
        )
