//! One recurrent layer over time: its parameters, and the checks before the kernels in [`forward`]
//! and [`backward`] run. Its state and the tape are in [`tape`].

mod backward;
mod forward;
mod tape;
mod weights;

pub(crate) use backward::Backward;
pub(crate) use forward::cells;
pub use tape::{State, Tape};

use std::any::TypeId;

use crate::cell::{Cell, Gru, Lstm, Nonlinearity, Rnn};
use crate::error::{Result, ensure};
use crate::simd::{Element, Level};
use crate::view::{Seq, SeqMut};
use tape::Recording;

/// A recurrent layer: a cell and its sizes. Callers own the parameters ([`Params`]): `weight_ih_l0`
/// (GATES H, I), `weight_hh_l0` (GATES H, H), unless the layer has no bias `bias_ih_l0` and
/// `bias_hh_l0` (GATES H,), and with a projection `weight_hr_l0` (P, H), in torch's layout and gate order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrent<C> {
    cell: C,
    input_size: usize,
    hidden_size: usize,
    bias: bool,
    /// P; 0 without a projection.
    proj_size: usize,
    /// Whether it goes from the last step to the first.
    reverse: bool,
}

/// Long short-term memory: `c_t = f c_{t-1} + i g`, `h_t = o tanh c_t`; see [`Lstm`].
///
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

/// The vanilla recurrent network: `h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)`, or relu.
pub type RNN = Recurrent<Rnn>;

/// Gated recurrent unit: `h_t = (1 - z) n + z h_{t-1}`; see [`Gru`].
pub type GRU = Recurrent<Gru>;

impl Recurrent<Gru> {
    /// A GRU layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        Self::with_cell(Gru, input_size, hidden_size, bias)
    }
}

impl Recurrent<Lstm> {
    /// An LSTM layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        Self::with_cell(Lstm, input_size, hidden_size, bias)
    }
}

impl Recurrent<Rnn> {
    /// An RNN layer from `input_size` to `hidden_size` features.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(
        input_size: usize,
        hidden_size: usize,
        nonlinearity: Nonlinearity,
        bias: bool,
    ) -> Result<Self> {
        Self::with_cell(Rnn { nonlinearity }, input_size, hidden_size, bias)
    }
}

/// The parameters of a layer, in the order of [`Recurrent::parameters`].
#[derive(Debug, Clone, Copy)]
pub enum Params<'a, E> {
    /// All in one slice.
    Flat(&'a [E]),
    /// Each in a slice of its own.
    Arrays(&'a [&'a [E]]),
}

impl<'a, E> From<&'a [E]> for Params<'a, E> {
    fn from(flat: &'a [E]) -> Self {
        Params::Flat(flat)
    }
}

impl<'a, E> From<&'a Vec<E>> for Params<'a, E> {
    fn from(flat: &'a Vec<E>) -> Self {
        Params::Flat(flat)
    }
}

/// A layer's parameters by name.
#[derive(Clone, Copy)]
struct Weights<'a, E> {
    weight_ih: &'a [E],
    weight_hh: &'a [E],
    biases: Option<(&'a [E], &'a [E])>,
    weight_hr: Option<&'a [E]>,
}

impl<C: Cell> Recurrent<C> {
    /// A layer of this cell.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn with_cell(cell: C, input_size: usize, hidden_size: usize, bias: bool) -> Result<Self> {
        ensure!(input_size > 0, "input_size must be at least 1, got 0");
        ensure!(hidden_size > 0, "hidden_size must be at least 1, got 0");
        let fits = input_size
            .checked_add(hidden_size)
            .and_then(|k| k.checked_mul(hidden_size))
            .is_some_and(|n| n < isize::MAX as usize / 64);
        ensure!(fits, "a layer of {input_size} x {hidden_size} does not fit in memory");
        Ok(Self { cell, input_size, hidden_size, bias, proj_size: 0, reverse: false })
    }

    /// The layer with h projected to `proj_size` features, `h_t = W_hr (o tanh c_t)` (Sak, Senior and
    /// Beaufays 2014); 0 for none.
    ///
    /// # Errors
    /// If it is not below the hidden size, or the cell has no c.
    pub fn with_projection(self, proj_size: usize) -> Result<Self> {
        let hidden = self.hidden_size;
        ensure!(
            proj_size < hidden,
            "proj_size must be below hidden_size, which is {hidden}, got {proj_size}"
        );
        ensure!(proj_size == 0 || C::HAS_C, "only an LSTM can have a projection");
        Ok(Self { proj_size, ..self })
    }

    /// The layer that goes from the last step to the first.
    pub fn reversed(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// The step that comes as number `k` of `steps`.
    #[inline(always)]
    fn nth_step(&self, k: usize, steps: usize) -> usize {
        if self.reverse { steps - 1 - k } else { k }
    }

    /// The step computed before step `t`.
    #[inline(always)]
    fn step_before(&self, t: usize, steps: usize) -> Option<usize> {
        if self.reverse { Some(t + 1).filter(|&t| t < steps) } else { t.checked_sub(1) }
    }

    /// I
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// Features of an output: H, or P with a projection.
    pub fn output_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// Names and shapes of the parameters in their order, the names torch's without the layer.
    pub fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        let gates = C::GATES * self.hidden_size;
        let mut parameters = vec![
            ("weight_ih", vec![gates, self.input_size]),
            ("weight_hh", vec![gates, self.output_size()]),
        ];
        if self.bias {
            parameters.extend([("bias_ih", vec![gates]), ("bias_hh", vec![gates])]);
        }
        if self.proj_size > 0 {
            parameters.push(("weight_hr", vec![self.proj_size, self.hidden_size]));
        }
        parameters
    }

    /// How many numbers the parameters are.
    pub fn parameter_len(&self) -> usize {
        let biases = if self.bias { 2 } else { 0 };
        C::GATES * self.hidden_size * (self.input_size + self.output_size() + biases)
            + self.proj_size * self.hidden_size
    }

    fn weights<'a, E>(&self, params: Params<'a, E>) -> Result<Weights<'a, E>> {
        let gates = C::GATES * self.hidden_size;
        let biases = if self.bias { gates } else { 0 };
        let projection = self.proj_size * self.hidden_size;
        let sizes =
            [gates * self.input_size, gates * self.output_size(), biases, biases, projection];
        let mut parts = [&[][..]; 5];
        match params {
            Params::Flat(mut flat) => {
                self.check_len(flat.len())?;
                for (part, &size) in parts.iter_mut().zip(&sizes) {
                    (*part, flat) = flat.split_at(size);
                }
            }
            Params::Arrays(arrays) => {
                let (count, want) = (arrays.len(), sizes.iter().filter(|&&size| size > 0).count());
                ensure!(count == want, "got {count} parameters, not {want}");
                let mut given = arrays.iter().enumerate();
                for (part, &size) in parts.iter_mut().zip(&sizes).filter(|(_, size)| **size > 0) {
                    let (n, array) = given.next().expect("counted");
                    let len = array.len();
                    ensure!(len == size, "parameter {n} has {len} numbers, not {size}");
                    *part = array;
                }
            }
        }
        let [weight_ih, weight_hh, bias_ih, bias_hh, weight_hr] = parts;
        Ok(Weights {
            weight_ih,
            weight_hh,
            biases: self.bias.then_some((bias_ih, bias_hh)),
            weight_hr: (projection > 0).then_some(weight_hr),
        })
    }

    fn check_len(&self, given: usize) -> Result<()> {
        let len = self.parameter_len();
        ensure!(given == len, "the layer has {len} parameters, got {given}");
        Ok(())
    }

    /// H, filled up to whole vectors.
    pub(crate) fn padded(&self, lanes: usize) -> usize {
        self.hidden_size.next_multiple_of(lanes)
    }

    /// Operations of the products of a pass, forward.
    fn flops<E>(&self, x: Seq<'_, E>) -> usize {
        let outputs = self.output_size();
        let step = C::GATES * self.hidden_size * (self.input_size + outputs)
            + self.proj_size * self.hidden_size;
        x.total().saturating_mul(2 * step)
    }

    /// `x` and a `y` of the same steps and rows fit the layer.
    fn check_io<E>(&self, x: Seq<'_, E>, y: Seq<'_, E>) -> Result<()> {
        let (i, h, x_shape, y_shape) = (self.input_size, self.output_size(), x.shape(), y.shape());
        ensure!(x_shape.features == i, "x has {} features, the layer takes {i}", x_shape.features);
        let given = (y_shape.steps, y_shape.rows, y_shape.features);
        let want = (x_shape.steps, x_shape.rows, h);
        ensure!(given == want, "y is {given:?} (steps, rows, features), it must be {want:?}");
        ensure!(x.sizes() == y.sizes(), "x and y must have the same batch sizes");
        Ok(())
    }

    fn check_state<E: Element>(&self, name: &str, state: &State<E>, rows: usize) -> Result<()> {
        let h = rows.saturating_mul(self.output_size());
        let c = if C::HAS_C { rows.saturating_mul(self.hidden_size) } else { 0 };
        ensure!(
            (state.h.len(), state.c.len()) == (h, c),
            "{name} has {} and {} numbers in h and c; for {rows} rows of {} units it needs {h} and {c}",
            state.h.len(),
            state.c.len(),
            self.hidden_size
        );
        Ok(())
    }
}

/// Where the gradients of a backward pass go.
pub struct Gradients<'a, E> {
    /// Of the parameters, in one slice: added to what is there; not computed if nobody wants them.
    pub params: Option<&'a mut [E]>,
    /// Of the input (T, B, I): written; not computed if nobody wants it.
    pub x: Option<SeqMut<'a, E>>,
}

impl<C: Cell> Recurrent<C> {
    /// Runs the layer over a batch of sequences.
    ///
    /// `x` is (T, B, I), `y` (T, B, H) receives every h_t, `state` is the initial state and becomes
    /// the final one. T and B may be zero.
    ///
    /// # Errors
    /// If a size does not fit the layer; nothing is written then.
    pub fn forward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        state: &mut State<E>,
        y: SeqMut<'_, E>,
        tape: &mut Tape<E>,
    ) -> Result<()> {
        forward::run(vec![self.forward_pass(params.into(), x, state, y, tape)?])
    }

    /// A forward pass that fits, to run beside others.
    fn forward_pass<'a, E: Element>(
        &'a self,
        params: Params<'a, E>,
        x: Seq<'a, E>,
        state: &'a mut State<E>,
        y: SeqMut<'a, E>,
        tape: &'a mut Tape<E>,
    ) -> Result<forward::Pass<'a, C, E>> {
        let weights = self.weights(params)?;
        self.check_io(x, y.as_ref())?;
        self.check_state("state", state, x.shape().rows)?;
        Ok(forward::Pass { layer: self, weights, x, state, y, tape })
    }

    /// Backpropagation through time, for the pass that `tape` recorded with this `x` and `y`.
    ///
    /// `dy` (T, B, H) is the gradient of the loss with respect to `y`; `dstate` that with respect to
    /// the final state, and becomes that with respect to the initial one. The recording is used up.
    ///
    /// # Errors
    /// If a size does not fit, or the tape holds no unused recording of such a pass; nothing is
    /// written then.
    #[allow(clippy::too_many_arguments)]
    pub fn backward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        y: Seq<'_, E>,
        tape: &mut Tape<E>,
        dy: Seq<'_, E>,
        dstate: &mut State<E>,
        gradients: Gradients<'_, E>,
    ) -> Result<()> {
        let pass = self.backward_pass(params.into(), x, y, tape, dy, dstate, gradients)?;
        pass.tape.recorded = None;
        backward::run(vec![pass])
    }

    /// A backward pass that fits, to run beside others.
    #[allow(clippy::too_many_arguments)]
    fn backward_pass<'a, E: Element>(
        &'a self,
        params: Params<'a, E>,
        x: Seq<'a, E>,
        y: Seq<'a, E>,
        tape: &'a mut Tape<E>,
        dy: Seq<'a, E>,
        dstate: &'a mut State<E>,
        gradients: Gradients<'a, E>,
    ) -> Result<backward::Pass<'a, C, E>> {
        let weights = self.weights(params)?;
        if let Some(grads) = &gradients.params {
            self.check_len(grads.len())?;
        }
        self.check_io(x, y)?;
        self.check_io(x, dy)?;
        self.check_state("dstate", dstate, x.shape().rows)?;
        if let Some(dx) = &gradients.x {
            let extent = |shape: crate::view::Shape| (shape.steps, shape.rows, shape.features);
            let (given, want) = (extent(dx.shape()), extent(x.shape()));
            ensure!(given == want, "dx is {given:?} (steps, rows, features), x is {want:?}");
            ensure!(x.sizes() == dx.as_ref().sizes(), "x and dx must have the same batch sizes");
        }
        let recording = tape.recorded.ok_or_else(|| {
            crate::error::Error::new(
                "the tape holds no recording: run forward first, and once for every backward",
            )
        })?;
        let want = self.recording::<E>(x, recording.level);
        ensure!(
            recording == want && x.sizes() == tape.sizes.as_ref(),
            "the tape holds another pass: it recorded {recording:?}, this is {want:?}"
        );
        Ok(backward::Pass { layer: self, weights, x, y, tape, recording, dy, dstate, gradients })
    }

    fn recording<E: Element>(&self, x: Seq<'_, E>, level: Level) -> Recording {
        let shape = x.shape();
        Recording {
            level,
            steps: shape.steps,
            rows: shape.rows,
            input_size: self.input_size,
            hidden_size: self.hidden_size,
            proj_size: self.proj_size,
            reverse: self.reverse,
            cell: (TypeId::of::<C>(), self.cell.variant()),
            values: C::TAPE + usize::from(self.proj_size > 0),
            padded: self.padded(level.lanes::<E>()),
        }
    }
}
