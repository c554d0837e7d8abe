"""The GRU layer."""

from __future__ import annotations

from bptt._support import check
from bptt._support.entry import entry
from bptt.layers.recurrent import Recurrent


@entry
class GRU(Recurrent):
    """Gated recurrent units, as torch.nn.GRU (Cho et al. 2014).

    ``r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``,
    ``n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))``, ``h_t = (1 - z) * n + z * h_{t-1}``.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    num_layers : int, default 1
        Stacked layers (L); each reads the outputs of the layer below.
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
    reset_after : bool, default True
        Whether the reset gate is applied after the product, as in torch and above, or before it, as
        in the original paper: ``n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1}) + b_hn)``.
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
    Parameters of the first layer: ``weight_ih_l0`` (3 H, I), ``weight_hh_l0`` (3 H, H),
    ``bias_ih_l0`` and ``bias_hh_l0`` (3 H,). The gates are in the order r, z, n. Names of the
    second direction end in ``_l0_reverse``, names of the layers above in ``_l1``, ... With
    layer_norm there are ``gain_ih_l0`` and ``gain_hh_l0`` (3 H,), initially ones. The state is the
    tuple ``(h,)``.

    Weights can be exchanged with ONNX and haste. Both order the gates z, r, n; haste transposes the
    matrices. ONNX's linear_before_reset is reset_after.

    With ``compute="bf16"`` the relative error (norm of the difference over norm, against float64,
    at H = 256, I = 128, T = 100) is 2.3e-3 for y and the states, 2.4e-3 for dx and 2.5e-3 to 3.2e-3
    for the gradients of the weights. See `LSTM` for more.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> gru = bptt.GRU(3, 5, bidirectional=True, rng=0)
    >>> y, (h,) = gru(np.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 10), (2, 2, 5))
    """

    _states = 1
    _values = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        compute: str | None = None,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        self.reset_after = check.flag("reset_after", reset_after)
        self._cell = "gru" if self.reset_after else "gru_reset_first"
        if check.flag("layer_norm", layer_norm) and not self.reset_after:
            raise ValueError("layer_norm needs reset_after=True: it normalises whole products")
        self._options = "" if self.reset_after else ", reset_after=False"
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
