"""The GRU layer."""

from __future__ import annotations

from bptt._support import check
from bptt.layers.recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent units, as torch.nn.GRU (Cho et al. 2014).

    ``r, z = sigmoid(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``,
    ``n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))``, ``h_t = (1 - z) * n + z * h_{t-1}``.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    num_layers : int, default 1
        Layers on top of each other (L), each reading the outputs of the one below.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether batches are (B, T, I) rather than (T, B, I). States do not depend on it.
    dropout : float, default 0.0
        Probability, in [0, 1), that an output of a layer is zeroed for the layer above; the others
        are divided by 1 - p. In `forward` and `fit` only.
    bidirectional : bool, default False
        Whether there is a second direction (D = 2), from the last step to the first; its outputs
        come behind those of the first.
    reset_after : bool, default True
        Whether the reset gate comes after the product, as in torch and above, or before it as in
        the original, ``n = tanh(W_in x_t + b_in + W_hn (r * h_{t-1}) + b_hn)``.
    layer_norm : bool, default False
        Whether what x and h contribute to the gates is normalised over all gates and units, times
        a gain, before the biases (Ba, Kiros and Hinton 2016, as haste does it).
    recurrent_dropout : float, default 0.0
        Probability, in [0, 1), that the products do not see a unit of h, for a sequence the same
        at all steps (Gal and Ghahramani 2016). In `forward` and `fit` only.
    zoneout : float, default 0.0
        Probability, in [0, 1), that a unit keeps the h of the step before (Krueger et al. 2017, of
        h alone, as haste does it). In `forward` and `fit`; otherwise h is what it is on average.
    compute : "bf16", optional
        What products are made of: of float32 by default, with "bf16" of numbers rounded to 8 bits,
        weights and what they are multiplied with, also for gradients. Sums, states and parameters
        stay float32. See Notes.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters and all results.
    rng : None, int or numpy.random.Generator
        Where the initial parameters are drawn from, uniformly in [-1/sqrt(H), 1/sqrt(H)], and
        dropout.

    Notes
    -----
    Parameters of the first layer: ``weight_ih_l0`` (3 H, I), ``weight_hh_l0`` (3 H,
    H), ``bias_ih_l0`` and ``bias_hh_l0`` (3 H,); gates in the order r, z, n. Those of its second
    direction end in ``_l0_reverse``, those of the layers above in ``_l1``, ... With layer_norm
    also ``gain_ih_l0`` and ``gain_hh_l0`` (3 H,), ones at first. The state is the tuple ``(h,)``.

    Weights can be exchanged with ONNX and with haste, whose gates come in the order z, r, n, and
    in haste transposed. (ONNX's linear_before_reset is reset_after.)

    With ``compute="bf16"``, what comes out is off by (norm of the difference over norm, against
    float64, at H = 256, I = 128, T = 100) 2.3e-3 in y and the states, 2.4e-3 in dx,
    2.5e-3 to 3.2e-3 in the gradients of the weights. More under `LSTM`.

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
