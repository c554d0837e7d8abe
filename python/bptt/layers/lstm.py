"""The LSTM layer."""

from __future__ import annotations

from bptt._support import check
from bptt._support.entry import entry
from bptt.layers.recurrent import Recurrent


@entry
class LSTM(Recurrent):
    """Long short-term memory, as torch.nn.LSTM.

    ``i, f, o = sigmoid(...)``, ``g = tanh(...)`` of ``W_ih x_t + b_ih + W_hh h_{t-1} + b_hh``;
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)`` (Hochreiter and Schmidhuber 1997; Gers,
    Schmidhuber and Cummins 2000).

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
    proj_size : int, default 0
        The size of a projection of h (P), ``h_t = W_hr (o * tanh(c_t))`` (Sak, Senior and Beaufays
        2014); below H. 0 for no projection.
    peepholes : bool, default False
        Whether the gates read the cell state: ``p_i * c_{t-1}``, ``p_f * c_{t-1}`` and
        ``p_o * c_t`` are added to the arguments of i, f and o (Gers, Schraudolph and Schmidhuber
        2002).
    layer_norm : bool, default False
        Whether the products with x and with h are each normalised over all gates and units and
        multiplied by a gain, before the biases are added. c is normalised, too, before h is
        computed from it (Ba, Kiros and Hinton 2016, as in haste).
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
    Parameters of the first layer: ``weight_ih_l0`` (4 H, I), ``weight_hh_l0`` (4 H, H),
    ``bias_ih_l0`` and ``bias_hh_l0`` (4 H,), with a projection ``weight_hr_l0`` (P, H). The gates
    are in the order i, f, g, o. Names of the second direction end in ``_l0_reverse``, names of the
    layers above in ``_l1``, ... With peepholes there is ``peephole_l0`` (3 H,), for i, f, o. With
    layer_norm there are ``gain_ih_l0`` and ``gain_hh_l0`` (4 H,), initially ones, and ``gain_c_l0``
    and ``bias_c_l0`` (H,), initially ones and zeros.

    Weights can be exchanged with ONNX and haste. ONNX orders the gates i, o, f, g (peepholes: i, o,
    f). haste orders them i, g, f, o, transposes the matrices and has one bias, the sum of ours.

    With ``compute="bf16"`` the relative error (norm of the difference over norm, against float64,
    at H = 256, I = 128, T = 100) is 2.3e-3 for y and the states, 2.5e-3 for dx and 2.6e-3 to 3.1e-3
    for the gradients of the weights. For torch under bf16 autocast it is 3.1e-3, 4.4e-3 and 4.4e-3
    to 4.8e-3; in float32 it is 2e-7 to 4e-7. With AVX512_BF16, which `bptt.explain` reports, large
    passes take about half the time of float32. Without it bf16 is emulated and much slower than
    float32.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> lstm = bptt.LSTM(3, 5, rng=0)
    >>> x = np.ones((7, 2, 3))  # (T, B, I)
    >>> y, (h, c) = lstm(x)
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> y, state, tape = lstm.forward(x, lengths=[7, 4])
    >>> dx, dstate, grads = lstm.backward(tape, np.ones_like(y))
    >>> dx.shape, grads["weight_ih_l0"].shape
    ((7, 2, 3), (20, 3))
    >>> bptt.LSTM(3, 5, num_layers=2, bidirectional=True)(x)[0].shape
    (7, 2, 10)
    >>> normed = bptt.LSTM(3, 5, layer_norm=True, zoneout=0.1, rng=0)
    >>> normed.parameters["gain_ih_l0"].shape
    (20,)
    >>> y, state, tape = normed.forward(np.ones((1000, 2, 3)), checkpoint="sqrt")
    >>> normed.backward(tape, np.ones_like(y))[0].shape
    (1000, 2, 3)
    """

    _states = 2
    _values = ("i", "f", "g", "o", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peepholes: bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        compute: str | None = None,
        dtype: object = "float32",
        rng: object = None,
    ) -> None:
        self.peepholes = check.flag("peepholes", peepholes)
        self._cell = "lstm_peepholes" if self.peepholes else "lstm"
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            layer_norm,
            recurrent_dropout,
            zoneout,
            compute,
            dtype,
            rng,
        )
