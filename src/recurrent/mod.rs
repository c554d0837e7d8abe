//! Recurrent layers over time: their options and parameters, and the passes through their layers and
//! directions. [`direction`] describes one direction of one layer. [`forward`] and [`backward`] are its
//! kernels, and [`state`] and [`tape`] its state and tape.

pub(crate) mod backward;
mod checkpoint;
mod compiled;
pub(crate) mod direction;
mod explain;
pub(crate) mod forward;
mod options;
mod params;
mod passes;
mod plan;
pub(crate) mod state;
mod stepper;
mod tape;

pub use compiled::Compiled;
pub use direction::Compute;
pub use params::Params;
pub use state::State;
pub use stepper::Stepper;
pub use tape::Tape;

use crate::cell::{Cell, Gru, Lstm, Nonlinearity, Rnn};
use crate::error::{Result, ensure};
use crate::view::SeqMut;
use direction::{Direction, Regularisation};

/// A recurrent layer: a cell, its sizes and its options. It consists of L layers (1 by default) of D
/// directions; each layer reads the outputs of the layer before.
///
/// The caller owns the parameters ([`Params`]), in torch's layout and gate order. Every layer and direction
/// has `weight_ih` (GATES H, I), in later layers (GATES H, D H), and `weight_hh` (GATES H, H). With a bias it
/// has `bias_ih` and `bias_hh` (GATES H,). With a projection it has `weight_hr` (P, H), and h has P features
/// instead of H. [`Recurrent::parameters`] lists names and shapes, with those of other options.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recurrent<C> {
    // One field for each size and option.
    cell: C,
    input_size: usize,
    hidden_size: usize,
    bias: bool,
    proj_size: usize,
    num_layers: usize,
    bidirectional: bool,
    dropout: f64,
    regular: Regularisation,
    compute: Compute,
}

/// Long short-term memory: `c_t = f c_{t-1} + i g`, `h_t = o tanh c_t`; see [`Lstm`].
///
/// # Examples
/// ```
/// use bptt::{LSTM, Seq, SeqMut, Shape, State, Tape};
///
/// let lstm = LSTM::new(3, 8, true)?; // I, H
/// let params = vec![0.1f32; lstm.parameter_len()];
/// let x = [0.5f32; 5 * 2 * 3]; // (T, B, I)
/// let mut y = [0.0f32; 5 * 2 * 8]; // (T, B, H)
/// let mut state = State::zeros(&lstm, 2)?;
/// lstm.forward(
///     &params,
///     Seq::new(&x, Shape::time_major(5, 2, 3))?,
///     &mut state,
///     SeqMut::new(&mut y, Shape::time_major(5, 2, 8))?,
///     &mut Tape::for_inference(),
/// )?;
/// assert_eq!(state.h[..], y[4 * 2 * 8..]);
/// # Ok::<(), bptt::Error>(())
/// ```
pub type LSTM = Recurrent<Lstm>;

/// The vanilla recurrent network: `h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, or with relu in place
/// of tanh; see [`Rnn`].
pub type RNN = Recurrent<Rnn>;

/// The gated recurrent unit: `h_t = (1 - z) n + z h_{t-1}`; see [`Gru`].
pub type GRU = Recurrent<Gru>;

impl Recurrent<Gru> {
    /// A GRU layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn new(input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        Self::with_cell(Gru, input_size, hidden_size, bias)
    }
}

impl Recurrent<Lstm> {
    /// An LSTM layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn new(input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        Self::with_cell(Lstm::default(), input_size, hidden_size, bias)
    }
}

impl Recurrent<Lstm> {
    /// Adds peepholes (Gers, Schraudolph and Schmidhuber 2002). Each unit adds its own c_{t-1} to the
    /// arguments of i and f and its own c_t to that of o, each times a weight. The weights are the parameter
    /// `peephole` (3 H,), in the order i, f, o. (ONNX's P has the order i, o, f.)
    pub fn with_peepholes(mut self) -> Self {
        self.cell.peepholes = true;
        self
    }
}

impl Recurrent<Rnn> {
    /// An RNN layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn new(
        input_size: usize,
        hidden_size: usize,
        nonlinearity: Nonlinearity,
        bias: bool,
    ) -> Result<Self> {
        Self::with_cell(Rnn { nonlinearity }, input_size, hidden_size, bias)
    }
}

impl<C: Cell> Recurrent<C> {
    /// A layer of this cell, from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn with_cell(cell: C, input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        ensure!(input_size > 0, "input_size must be at least 1, got 0");
        ensure!(hidden_size > 0, "hidden_size must be at least 1, got 0");
        let layer = Self {
            cell,
            input_size,
            hidden_size,
            bias,
            proj_size: 0,
            num_layers: 1,
            bidirectional: false,
            dropout: 0.0,
            regular: Regularisation::default(),
            compute: Compute::Own,
        };
        layer.check_size()
    }

    fn check_size(self) -> Result<Self> {
        let (i, h) = (self.input_size, self.hidden_size);
        let fits = i
            .checked_add(h)
            .and_then(|k| k.checked_mul(h))
            .and_then(|n| n.checked_mul(4 * self.num_layers))
            .is_some_and(|n| n < isize::MAX as usize / 64);
        ensure!(
            fits,
            "{} layers of input_size {i} and hidden_size {h} do not fit in memory; use smaller sizes",
            self.num_layers
        );
        Ok(self)
    }

    /// Sets L, the number of layers; each layer reads the outputs of the layer before.
    ///
    /// # Errors
    /// If it is zero, or the layers are too large for memory.
    pub fn with_layers(self, num_layers: usize) -> Result<Self> {
        ensure!(num_layers > 0, "num_layers must be at least 1, got 0");
        ensure!(num_layers < 1 << 20, "num_layers must be below a million, got {num_layers}");
        Self { num_layers, ..self }.check_size()
    }

    /// Adds a second direction to every layer, which goes from the last step to the first. The outputs of
    /// both directions lie side by side, (T, B, 2 H).
    pub fn bidirectional(self) -> Self {
        Self { bidirectional: true, ..self }
    }

    /// Projects h to P = `proj_size` features: `h_t = W_hr (o tanh c_t)` (Sak, Senior and Beaufays 2014). 0
    /// means no projection.
    ///
    /// # Errors
    /// If `proj_size` is not below the hidden size, or the cell has no c.
    pub fn with_projection(self, proj_size: usize) -> Result<Self> {
        let hidden = self.hidden_size;
        ensure!(
            proj_size < hidden,
            "proj_size must be below hidden_size, which is {hidden}, got {proj_size}"
        );
        ensure!(
            proj_size == 0 || C::HAS_C,
            "proj_size must be 0, because only an LSTM can have a projection, got {proj_size}"
        );
        Ok(Self { proj_size, ..self })
    }

    /// Sets dropout between layers, in training passes ([`Tape::new`]): each number is zeroed with this
    /// probability p, or else divided by 1 - p (Zaremba, Sutskever and Vinyals 2014).
    ///
    /// # Errors
    /// If `dropout` is not in [0, 1).
    pub fn with_dropout(self, dropout: f64) -> Result<Self> {
        ensure!((0.0..1.0).contains(&dropout), "dropout must be in [0, 1), got {dropout}");
        Ok(Self { dropout, ..self })
    }

    /// Sets recurrent dropout: in training passes ([`Tape::new`]), the products use h with each unit zeroed
    /// with probability p, or else divided by 1 - p. A row drops the same units at all steps (Gal and
    /// Ghahramani 2016; Keras's `recurrent_dropout`).
    ///
    /// # Errors
    /// If `p` is not in [0, 1).
    pub fn with_recurrent_dropout(mut self, p: f64) -> Result<Self> {
        ensure!((0.0..1.0).contains(&p), "recurrent_dropout must be in [0, 1), got {p}");
        self.regular.recurrent_dropout = p;
        Ok(self)
    }

    /// Sets zoneout: in training passes ([`Tape::new`]), a unit keeps the h of the step before with
    /// probability p; in other passes, h is the average over this choice (Krueger et al. 2017; of h alone,
    /// as in haste).
    ///
    /// # Errors
    /// If `p` is not in [0, 1).
    pub fn with_zoneout(mut self, p: f64) -> Result<Self> {
        ensure!((0.0..1.0).contains(&p), "zoneout must be in [0, 1), got {p}");
        self.regular.zoneout = p;
        Ok(self)
    }

    /// Sets the number type of the products. With [`Compute::Bf16`], passes in `f64` are an error.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Compute, LSTM, Seq, SeqMut, Shape, State, Tape};
    ///
    /// let lstm = LSTM::new(3, 8, true)?.with_compute(Compute::Bf16);
    /// let params = vec![0.1f32; lstm.parameter_len()];
    /// let x = [0.5f32; 5 * 2 * 3]; // (T, B, I)
    /// let mut y = [0.0f32; 5 * 2 * 8]; // (T, B, H)
    /// let x = Seq::new(&x, Shape::time_major(5, 2, 3))?;
    /// let out = SeqMut::new(&mut y, Shape::time_major(5, 2, 8))?;
    /// let mut state = State::zeros(&lstm, 2)?;
    /// lstm.forward(&params, x, &mut state, out, &mut Tape::for_inference())?;
    /// assert!(y[0] > 0.0);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// Adds layer normalisation (Ba, Kiros and Hinton 2016, as in haste). It normalises what x and what h
    /// contributes to the gates, before the biases are added, and, in an LSTM, the c that h is computed
    /// from. The parameters are `gain_ih` and `gain_hh` (GATES H,), and for an LSTM also `gain_c` and
    /// `bias_c` (H,).
    ///
    /// # Errors
    /// If the cell resets h before the product, as the original GRU does.
    pub fn with_layer_norm(mut self) -> Result<Self> {
        ensure!(
            !C::RESETS,
            "layer normalisation needs a GRU that resets after the product; set reset_after"
        );
        self.regular.layer_norm = true;
        self.check_size()
    }

    /// The number type of the products.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// I, the number of input features.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H, the number of hidden units.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// L, the number of layers.
    pub fn num_layers(&self) -> usize {
        self.num_layers
    }

    /// D, the number of directions: 1 or 2.
    pub fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// The number of output features: D H, or D P with a projection.
    pub fn output_size(&self) -> usize {
        self.directions() * self.state_sizes().0
    }

    /// How many numbers a row has in h and in c, in one direction of one layer; 0 for c if the cell has none.
    pub fn state_sizes(&self) -> (usize, usize) {
        let h = if self.proj_size > 0 { self.proj_size } else { self.hidden_size };
        (h, if C::HAS_C { self.hidden_size } else { 0 })
    }

    /// Iterates over every direction of every layer, in the order of their parameters and states.
    fn all_directions(&self) -> impl Iterator<Item = Direction<C>> {
        (0..self.num_layers * self.directions()).map(|n| self.direction(n))
    }

    fn direction(&self, n: usize) -> Direction<C> {
        let first = n < self.directions();
        Direction {
            cell: self.cell,
            input_size: if first { self.input_size } else { self.output_size() },
            hidden_size: self.hidden_size,
            bias: self.bias,
            proj_size: self.proj_size,
            reverse: self.bidirectional && n % 2 == 1,
            regular: self.regular,
            compute: self.compute,
        }
    }
}

/// The gradients that a backward pass computes.
pub struct Gradients<'a, E> {
    /// The pass adds the gradients of all parameters, in one slice, to these numbers. They are computed only
    /// if this is given.
    pub params: Option<&'a mut [E]>,
    /// The pass writes dx, the gradient of the input (T, B, I), here. It is computed only if this is given.
    pub x: Option<SeqMut<'a, E>>,
}
