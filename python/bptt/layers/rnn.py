"""The vanilla RNN layer."""

from __future__ import annotations

from bptt.layers.recurrent import Recurrent


class RNN(Recurrent):
    """The vanilla recurrent network, as torch.nn.RNN.

    ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, or relu (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input (I) and hidden units (H).
    num_layers : int, default 1
        Layers on top of each other (L), each reading the outputs of the one below.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        What is applied to the sum.
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
    Parameters of the first layer: ``weight_ih_l0`` (H, I), ``weight_hh_l0`` (H, H),
    ``bias_ih_l0`` and ``bias_hh_l0`` (H,). Those of its second direction end in ``_l0_reverse``,
    those of the layers above in ``_l1``, ... With layer_norm also ``gain_ih_l0`` and ``gain_hh_l0``
    (H,), ones at first. The state is the tuple ``(h,)``.

    With ``compute="bf16"``, what comes out is off by (norm of the difference over norm, against
    float64, at H = 256, I = 128, T = 100) 2.6e-3 in y and the states, 2.7e-3 in dx,
    2.8e-3 to 3.8e-3 in the gradients of the weights. More under `LSTM`.

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
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
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
