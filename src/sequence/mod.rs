//! One recurrent layer over time: its parameters, and the checks before the kernels in [`forward`]
//! and [`backward`] run. Its state and the tape are in [`tape`].

mod backward;
mod forward;
mod tape;

pub(crate) use backward::Backward;
pub(crate) use forward::Step;
pub use tape::{State, Tape};

use std::any::TypeId;

use crate::cell::{Cell, Lstm, Nonlinearity, Rnn};
use crate::error::{Result, ensure};
use crate::simd::{Element, Level};
use crate::view::{Seq, SeqMut, Shape};
use tape::Recording;

/// A recurrent layer: a cell and its sizes. Callers own the parameters ([`Params`]): `weight_ih_l0`
/// (GATES H, I), `weight_hh_l0` (GATES H, H) and, unless the layer has no bias, `bias_ih_l0` and
/// `bias_hh_l0` (GATES H,), in torch's layout and gate order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrent<C> {
    cell: C,
    input_size: usize,
    hidden_size: usize,
    bias: bool,
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
struct Weights<'a, E> {
    weight_ih: &'a [E],
    weight_hh: &'a [E],
    biases: Option<(&'a [E], &'a [E])>,
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
        Ok(Self { cell, input_size, hidden_size, bias })
    }

    /// I
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// H
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    /// Names and shapes of the parameters in their order, the names torch's.
    pub fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        let gates = C::GATES * self.hidden_size;
        let mut parameters = vec![
            ("weight_ih_l0", vec![gates, self.input_size]),
            ("weight_hh_l0", vec![gates, self.hidden_size]),
        ];
        if self.bias {
            parameters.extend([("bias_ih_l0", vec![gates]), ("bias_hh_l0", vec![gates])]);
        }
        parameters
    }

    /// How many numbers the parameters are.
    pub fn parameter_len(&self) -> usize {
        let biases = if self.bias { 2 } else { 0 };
        C::GATES * self.hidden_size * (self.input_size + self.hidden_size + biases)
    }

    fn weights<'a, E>(&self, params: Params<'a, E>) -> Result<Weights<'a, E>> {
        let gates = C::GATES * self.hidden_size;
        let sizes = [gates * self.input_size, gates * self.hidden_size, gates, gates];
        let sizes = &sizes[..if self.bias { 4 } else { 2 }];
        let mut parts = [&[][..]; 4];
        match params {
            Params::Flat(mut flat) => {
                self.check_len(flat.len())?;
                for (part, &size) in parts.iter_mut().zip(sizes) {
                    (*part, flat) = flat.split_at(size);
                }
            }
            Params::Arrays(arrays) => {
                let count = arrays.len();
                ensure!(count == sizes.len(), "got {count} parameters, not {}", sizes.len());
                for (n, ((part, &size), array)) in
                    parts.iter_mut().zip(sizes).zip(arrays).enumerate()
                {
                    let given = array.len();
                    ensure!(given == size, "parameter {n} has {given} numbers, not {size}");
                    *part = array;
                }
            }
        }
        let [weight_ih, weight_hh, bias_ih, bias_hh] = parts;
        Ok(Weights { weight_ih, weight_hh, biases: self.bias.then_some((bias_ih, bias_hh)) })
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

    /// Operations of the products of a pass over this shape, forward.
    fn flops(&self, shape: Shape) -> usize {
        let step = 2 * C::GATES * self.hidden_size * (self.input_size + self.hidden_size);
        shape.steps.saturating_mul(shape.rows).saturating_mul(step)
    }

    fn check_io(&self, x: Shape, y: Shape) -> Result<()> {
        let (i, h) = (self.input_size, self.hidden_size);
        ensure!(x.features == i, "x has {} features, the layer takes {i}", x.features);
        let given = (y.steps, y.rows, y.features);
        let want = (x.steps, x.rows, h);
        ensure!(given == want, "y is {given:?} (steps, rows, features), it must be {want:?}");
        Ok(())
    }

    fn check_state<E: Element>(&self, name: &str, state: &State<E>, rows: usize) -> Result<()> {
        let h = rows.saturating_mul(self.hidden_size);
        let c = if C::HAS_C { h } else { 0 };
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
        let weights = self.weights(params.into())?;
        self.check_io(x.shape(), y.shape())?;
        self.check_state("state", state, x.shape().rows)?;
        forward::run(self, &weights, x, state, y, tape)
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
        let weights = self.weights(params.into())?;
        if let Some(grads) = &gradients.params {
            self.check_len(grads.len())?;
        }
        self.check_io(x.shape(), y.shape())?;
        self.check_io(x.shape(), dy.shape())?;
        self.check_state("dstate", dstate, x.shape().rows)?;
        if let Some(dx) = &gradients.x {
            let extent = |shape: Shape| (shape.steps, shape.rows, shape.features);
            let (given, want) = (extent(dx.shape()), extent(x.shape()));
            ensure!(given == want, "dx is {given:?} (steps, rows, features), x is {want:?}");
        }
        let recording = tape.recorded.ok_or_else(|| {
            crate::error::Error::new(
                "the tape holds no recording: run forward first, and once for every backward",
            )
        })?;
        let want = self.recording::<E>(x.shape(), recording.level);
        ensure!(
            recording == want,
            "the tape holds another pass: it recorded {recording:?}, this is {want:?}"
        );
        tape.recorded = None;
        backward::run(self, &weights, x, y, tape, recording, dy, dstate, gradients)
    }

    fn recording<E: Element>(&self, x: Shape, level: Level) -> Recording {
        Recording {
            level,
            steps: x.steps,
            rows: x.rows,
            input_size: self.input_size,
            hidden_size: self.hidden_size,
            cell: (TypeId::of::<C>(), self.cell.variant()),
            values: C::TAPE,
            padded: self.padded(level.lanes::<E>()),
        }
    }
}
