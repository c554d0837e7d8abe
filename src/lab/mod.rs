//! The two networks that the course notebook writes by hand, in `f64`, one sequence at a time, and
//! their training as published.
//!
//! ```text
//! RNN   h_t = tanh(U x_t + V h_{t-1} + b_hidden)              o_t = softmax(W h_t + b_out)
//! LSTM  z_t = [h_{t-1}; x_t]    i, f, o = sigmoid(W z_t + b)  g = tanh(W_g z_t + b_g)
//!       C_t = f C_{t-1} + i g   h_t = o tanh C_t              out_t = softmax(W_v h_t + b_v)
//! ```
//!
//! The steps are this library's cells and products. The gradients are either theirs, [`Gradient::Exact`], or those
//! of the notebook, [`Gradient::Published`], which differ from them; all that does is in [`published`].
//! The notebook adds 1e-12 to every argument of sigmoid and tanh. Here it is a second bias, and left
//! out of `tanh C_t`, where it changes less than 1e-12.

mod board;
mod layout;
mod output;
mod part;
pub mod published;
mod step;
mod train;

pub use train::{Progress, Training};

use crate::error::{Result, ensure};
use crate::nn::Linear;
use crate::recurrent::LSTM;
use crate::simd::{Kernel, Level, Simd};
use output::{Output, PackOutput, UnpackOutput};
use part::{PackPart, Part, UnpackPart};

/// What the notebook adds to arguments and logarithms.
const EPSILON: f64 = 1e-12;

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part 1.
    Rnn,
    /// Part 2.
    Lstm,
}

/// Which gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// The notebook's formulas; see [`published`].
    Published,
    /// Those of the cross-entropy summed over the steps, by backpropagation through time.
    Exact,
}

/// The arrays of a pass over T steps. Those that carry the initial state have it in row 0.
#[derive(Default)]
pub struct Pass {
    /// T
    pub steps: usize,
    /// (T, V)
    pub x: Vec<f64>,
    /// (T + 1, H)
    pub h: Vec<f64>,
    /// (T + 1, H) in the LSTM.
    pub c: Vec<f64>,
    /// i, f, g, o, each (T, H), in the LSTM.
    pub gates: [Vec<f64>; 4],
    /// Before the softmax, (T, V).
    pub logits: Vec<f64>,
    /// (T, V)
    pub outputs: Vec<f64>,
}

/// One of the networks, and the last pass.
///
/// Parameters are a flat slice in this library's order: [`LabNetwork::import`] and
/// [`LabNetwork::export`] convert from and to the notebook's arrays.
///
/// ```
/// use bptt::lab::{Gradient, Kind, LabNetwork};
///
/// let mut rnn = LabNetwork::new(Kind::Rnn, 3, 2)?; // H, V
/// let params = rnn.import(&[&[0.5; 6], &[0.1; 9], &[0.2; 6], &[0.0; 3], &[0.0; 2]])?;
/// rnn.pass.x = vec![1.0, 0.0, 0.0, 1.0]; // (T, V)
/// rnn.forward(&params, &[0.0; 3], &[])?;
/// let mut grads = vec![0.0; params.len()];
/// let loss = rnn.backward(&params, &[0.0, 1.0, 1.0, 0.0], Gradient::Exact, &mut grads)?;
/// assert!((loss - 2.0 * 2f64.ln() / 2.0).abs() < 1e-9); // W's rows are equal: each output is 1/2
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct LabNetwork {
    kind: Kind,
    hidden: usize,
    vocab: usize,
    /// The last pass; what goes into the next one.
    pub pass: Pass,
}

impl LabNetwork {
    /// A network of `hidden` units that reads and writes one-hot vectors of `vocab` tokens.
    ///
    /// # Errors
    /// If a size is zero, or does not fit in memory.
    pub fn new(kind: Kind, hidden: usize, vocab: usize) -> Result<Self> {
        LSTM::new(vocab, hidden, true)?; // the larger of the two
        Linear::new(hidden, vocab, true)?;
        Ok(Self { kind, hidden, vocab, pass: Pass::default() })
    }

    /// Parameters of the recurrent layer; the output layer's follow them.
    fn recurrent_len(&self) -> usize {
        let gates = if self.kind == Kind::Lstm { 4 } else { 1 };
        gates * self.hidden * (self.vocab + self.hidden + 2)
    }

    /// How many numbers the flat parameters are.
    pub fn parameter_len(&self) -> usize {
        self.recurrent_len() + self.vocab * (self.hidden + 1)
    }

    fn check_params(&self, len: usize) -> Result<()> {
        let want = self.parameter_len();
        ensure!(len == want, "the network has {want} parameters, got {len}");
        Ok(())
    }

    /// The layers of flat parameters, packed, the recurrent one in parts of so many units.
    fn pack(&self, level: Level, params: &[f64], units: &[usize]) -> Result<(Vec<Part>, Output)> {
        self.check_params(params.len())?;
        let (recurrent, linear) = params.split_at(self.recurrent_len());
        let mut parts = Vec::new();
        let mut first = 0;
        for &count in units {
            let mut part = Part::new(self.kind, self.hidden, self.vocab, first..first + count);
            level.run(PackPart(&mut part, recurrent))?;
            parts.push(part);
            first += count;
        }
        let mut output = Output::new(self.hidden, self.vocab);
        level.run(PackOutput(&mut output, linear))?;
        Ok((parts, output))
    }

    /// Runs the network on `pass.x` from an initial state, (H,) each, `c0` empty for the RNN, and
    /// fills the rest of the pass.
    ///
    /// # Errors
    /// If a size does not fit.
    pub fn forward(&mut self, params: &[f64], h0: &[f64], c0: &[f64]) -> Result<()> {
        let (hidden, vocab) = (self.hidden, self.vocab);
        let given = (h0.len(), c0.len());
        let want = (hidden, if self.kind == Kind::Lstm { hidden } else { 0 });
        ensure!(given == want, "the initial state has {given:?} numbers, it must have {want:?}");
        let steps = self.pass.x.len() / vocab;
        ensure!(self.pass.x.len() == steps * vocab, "x must be (T, {vocab})");
        let level = Level::current()?;
        let (mut parts, mut output) = self.pack(level, params, &[hidden])?;
        let part = &mut parts[0];
        part.reserve(steps, level.lanes::<f64>())?;
        part.begin(h0, c0);
        for (t, x) in self.pass.x.chunks_exact(vocab).enumerate() {
            part.input(t).copy_from_slice(x);
        }
        level.run(Forward { part, output: &mut output, steps })?;
        let pass = &mut self.pass;
        pass.steps = steps;
        pass.h.clear();
        for row in part.rows.chunks_exact(part.width()) {
            pass.h.extend_from_slice(&row[1..=hidden]);
        }
        pass.logits = output.logits.to_vec();
        pass.outputs = output.outputs;
        if self.kind == Kind::Lstm {
            let padded = hidden.next_multiple_of(level.lanes::<f64>());
            let value = |slot: usize| {
                let records = part.tape.chunks_exact(5 * padded).take(steps);
                records.flat_map(move |record| &record[slot * padded..][..hidden]).copied()
            };
            pass.gates = [0, 1, 2, 3].map(|gate| value(gate).collect());
            pass.c = c0.iter().copied().chain(value(4)).collect();
        }
        Ok(())
    }

    /// The notebook's loss of `pass` for `targets` (T, V), and its gradients, written to `grads`:
    /// minus the mean over the V entries of `target * log(output)`, summed over the steps.
    ///
    /// # Errors
    /// If a size does not fit, or there is no step.
    pub fn backward(
        &mut self,
        params: &[f64],
        targets: &[f64],
        gradient: Gradient,
        grads: &mut [f64],
    ) -> Result<f64> {
        self.check_params(grads.len())?;
        self.check_pass(targets.len())?;
        let (hidden, vocab) = (self.hidden, self.vocab);
        let level = Level::current()?;
        let (mut parts, mut output) = self.pack(level, params, &[hidden])?;
        let part = &mut parts[0];
        let Pass { steps, x, h, c, gates: [i, f, g, o], outputs, .. } = &self.pass;
        part.reserve(*steps, level.lanes::<f64>())?;
        part.begin(&h[..hidden], c.get(..hidden).unwrap_or_default());
        for (t, x) in x.chunks_exact(vocab).enumerate() {
            part.input(t).copy_from_slice(x);
            part.h(t).copy_from_slice(&h[(t + 1) * hidden..][..hidden]);
        }
        let width = part.width();
        part.rows.iter_mut().step_by(width).for_each(|one| *one = 1.0);
        let values: &[&[f64]] = match self.kind {
            Kind::Rnn => &[&h[hidden..]],
            Kind::Lstm => &[i, f, g, o, &c[hidden..]],
        };
        let padded = hidden.next_multiple_of(level.lanes::<f64>());
        let records = part.tape.chunks_exact_mut(values.len() * padded).take(*steps);
        for (t, record) in records.enumerate() {
            for (slot, value) in record.chunks_exact_mut(padded).zip(values) {
                slot[..hidden].copy_from_slice(&value[t * hidden..][..hidden]);
            }
        }
        output.outputs.clone_from(outputs);
        let loss = output.loss(self.kind, targets);
        level.run(Backward { part, output: &mut output, steps: *steps, gradient })?;
        let (recurrent, linear) = grads.split_at_mut(self.recurrent_len());
        level.run(UnpackPart(part, &part.gradients, recurrent));
        level.run(UnpackOutput(&output, &output.gradients, linear));
        Ok(loss)
    }

    fn check_pass(&self, targets: usize) -> Result<()> {
        let Pass { steps, x, h, c, gates, outputs, .. } = &self.pass;
        let (t, n, v) = (*steps, self.hidden, self.vocab);
        ensure!(t > 0, "there must be at least one step");
        let lstm = if self.kind == Kind::Lstm { n } else { 0 };
        let fits = (x.len(), outputs.len(), targets) == (t * v, t * v, t * v)
            && (h.len(), c.len()) == ((t + 1) * n, if lstm > 0 { (t + 1) * n } else { 0 })
            && gates.iter().all(|gate| gate.len() == t * lstm);
        ensure!(fits, "the arrays of the pass do not fit {t} steps of {n} units and {v} tokens");
        Ok(())
    }
}

struct Forward<'a> {
    part: &'a mut Part,
    output: &'a mut Output,
    steps: usize,
}

impl Kernel<f64> for Forward<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self { part, output, steps } = self;
        for t in 0..steps {
            part.step(s, t);
        }
        output.forward(s, &part.rows[part.width()..], part.width(), steps)
    }
}

struct Backward<'a> {
    part: &'a mut Part,
    output: &'a mut Output,
    steps: usize,
    gradient: Gradient,
}

impl Kernel<f64> for Backward<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self { part, output, steps, gradient } = self;
        output.back(s, steps, &mut part.dh)?;
        output.weight_gradients(s, part, steps, gradient)?;
        part.back(s, steps, gradient)
    }
}
