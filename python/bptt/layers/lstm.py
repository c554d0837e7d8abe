"""The LSTM layer."""

from __future__ import annotations

from bptt._support import check
from bptt.layers.recurrent import Recurrent


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
    proj_size : int, default 0
        Features that h is projected to (P), ``h_t = W_hr (o * tanh(c_t))``, below H (Sak, Senior
        and Beaufays 2014); 0 for none.
    peepholes : bool, default False
        Whether the gates see the cell state: ``p_i * c_{t-1}``, ``p_f * c_{t-1}`` and ``p_o * c_t``
        are added to the arguments of i, f and o (Gers, Schraudolph and Schmidhuber 2002).
    layer_norm : bool, default False
        Whether what x and h contribute to the gates is normalised over all gates and units, times
        a gain, before the biases, and c where h is made of it (Ba, Kiros and Hinton 2016, as haste
        does it).
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
    Parameters of the first layer: ``weight_ih_l0`` (4 H, I), ``weight_hh_l0`` (4 H,
    H), ``bias_ih_l0`` and ``bias_hh_l0`` (4 H,), with a projection ``weight_hr_l0`` (P, H); gates
    in the order i, f, g, o. Those of its second direction end in ``_l0_reverse``, those of the
    layers above in ``_l1``, ... With peepholes also ``peephole_l0`` (3 H,), for i, f, o; with
    layer_norm ``gain_ih_l0`` and ``gain_hh_l0`` (4 H,), ones at first, and ``gain_c_l0`` and
    ``bias_c_l0`` (H,), ones and zeros.

    Weights can be exchanged with ONNX, whose gates come in the order i, o, f, g (P: i, o, f), and
    with haste, which has them in the order i, g, f, o, transposed, and one bias: the sum of ours.

    With ``compute="bf16"``, what comes out is off by (norm of the difference over norm, against
    float64, at H = 256, I = 128, T = 100) 2.3e-3 in y and the states, 2.5e-3 in dx,
    2.6e-3 to 3.1e-3 in the gradients of the weights. Under torch's bf16
    autocast that is 3.1e-3, 4.4e-3 and 4.4e-3 to 4.8e-3, in float32 2e-7 to 4e-7. With
    AVX512_BF16, which `bptt.explain` tells of, large passes take about half of float32's time;
    elsewhere it is emulated, and much slower than float32.

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
