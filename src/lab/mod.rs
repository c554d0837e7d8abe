//! The two networks that the course notebook writes by hand, in `f64`, one sequence at a time, and
//! their training as published.
//!
//! ```text
//! RNN   h_t = tanh(U x_t + V h_{t-1} + b_hidden)              o_t = softmax(W h_t + b_out)
//! LSTM  z_t = [h_{t-1}; x_t]    i, f, o = sigmoid(W z_t + b)  g = tanh(W_g z_t + b_g)
//!       C_t = f C_{t-1} + i g   h_t = o tanh C_t              out_t = softmax(W_v h_t + b_v)
//! ```
//!
//! The passes are this library's layers. The gradients are either theirs, [`Gradient::Exact`], or those
//! of the notebook, [`Gradient::Published`], which differ from them; all that does is in [`published`].
//! The notebook adds 1e-12 to every argument of sigmoid and tanh. Here it is a second bias, and left
//! out of `tanh C_t`, where it changes less than 1e-12.

mod layout;
pub mod published;
mod train;

pub use train::{Progress, Training};

use crate::cell::{Cell, Nonlinearity};
use crate::error::{Result, ensure};
use crate::nn::{Linear, LinearMemory};
use crate::sequence::{Gradients, LSTM, RNN, Recurrent, State, Tape};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

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

/// One of the networks, with memory for a pass and its gradients.
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
    linear: Linear,
    /// The last pass; what goes into the next one.
    pub pass: Pass,
    tape: Tape<f64>,
    linear_memory: LinearMemory<f64>,
    published: published::Memory,
    state: State<f64>,
    dlogits: Vec<f64>,
    dh: Vec<f64>,
}

impl LabNetwork {
    /// A network of `hidden` units that reads and writes one-hot vectors of `vocab` tokens.
    ///
    /// # Errors
    /// If a size is zero, or does not fit in memory.
    pub fn new(kind: Kind, hidden: usize, vocab: usize) -> Result<Self> {
        LSTM::new(vocab, hidden, true)?; // the larger of the two
        Ok(Self {
            kind,
            hidden,
            vocab,
            linear: Linear::new(hidden, vocab, true)?,
            pass: Pass::default(),
            tape: Tape::new(),
            linear_memory: LinearMemory::default(),
            published: published::Memory::default(),
            state: State::default(),
            dlogits: Vec::new(),
            dh: Vec::new(),
        })
    }

    fn rnn(&self) -> RNN {
        RNN::new(self.vocab, self.hidden, Nonlinearity::Tanh, true).expect("checked in new")
    }

    fn lstm(&self) -> LSTM {
        LSTM::new(self.vocab, self.hidden, true).expect("checked in new")
    }

    /// Parameters of the recurrent layer; the linear layer's follow them.
    fn recurrent_len(&self) -> usize {
        match self.kind {
            Kind::Rnn => self.rnn().parameter_len(),
            Kind::Lstm => self.lstm().parameter_len(),
        }
    }

    /// How many numbers the flat parameters are.
    pub fn parameter_len(&self) -> usize {
        self.recurrent_len() + self.linear.parameter_len()
    }

    fn check_params(&self, len: usize) -> Result<()> {
        let want = self.parameter_len();
        ensure!(len == want, "the network has {want} parameters, got {len}");
        Ok(())
    }

    /// Runs the network on `pass.x` from an initial state, (H,) each, `c0` empty for the RNN, and
    /// fills the rest of the pass.
    ///
    /// # Errors
    /// If a size does not fit.
    pub fn forward(&mut self, params: &[f64], h0: &[f64], c0: &[f64]) -> Result<()> {
        self.check_params(params.len())?;
        let steps = self.pass.x.len() / self.vocab;
        ensure!(self.pass.x.len() == steps * self.vocab, "x must be (T, {})", self.vocab);
        self.pass.steps = steps;
        let (recurrent, linear) = params.split_at(self.recurrent_len());
        match self.kind {
            Kind::Rnn => self.recur(&self.rnn(), recurrent, h0, c0)?,
            Kind::Lstm => {
                self.recur(&self.lstm(), recurrent, h0, c0)?;
                self.pass.c.clear();
                self.pass.c.extend_from_slice(c0);
                self.tape.append(4, &mut self.pass.c);
                for (slot, gate) in self.pass.gates.iter_mut().enumerate() {
                    gate.clear();
                    self.tape.append(slot, gate);
                }
            }
        }
        let Pass { h, logits, outputs, .. } = &mut self.pass;
        logits.resize(steps * self.vocab, 0.0);
        let y = Rows::new(&h[self.hidden..], steps, self.hidden);
        let to = RowsMut::new(logits, steps, self.vocab);
        self.linear.forward(linear, y, to, &mut self.linear_memory)?;
        outputs.clear();
        for logits in logits.chunks_exact(self.vocab) {
            softmax(logits, outputs);
        }
        Ok(())
    }

    /// The recurrent layer's part of [`LabNetwork::forward`].
    fn recur<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        params: &[f64],
        h0: &[f64],
        c0: &[f64],
    ) -> Result<()> {
        let given = (h0.len(), c0.len());
        let want = (self.hidden, if C::HAS_C { self.hidden } else { 0 });
        ensure!(given == want, "the initial state has {given:?} numbers, it must have {want:?}");
        self.state.reset(layer, 1)?;
        self.state.h.copy_from_slice(h0);
        self.state.c.copy_from_slice(c0);
        let Pass { steps, x, h, .. } = &mut self.pass;
        h.clear();
        h.extend_from_slice(h0);
        h.resize((*steps + 1) * self.hidden, 0.0);
        let x = Seq::new(x, Shape::time_major(*steps, 1, self.vocab))?;
        let y = SeqMut::new(&mut h[self.hidden..], Shape::time_major(*steps, 1, self.hidden))?;
        layer.forward(params, x, &mut self.state, y, &mut self.tape)
    }

    /// The notebook's loss of `pass` for `targets` (T, V), and its gradients, added to `grads`:
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
        self.check_params(params.len())?;
        self.check_params(grads.len())?;
        self.check_pass(targets.len())?;
        let loss = self.loss(targets);
        let recurrent = self.recurrent_len();
        let (params, linear) = params.split_at(recurrent);
        let (grads, linear_grads) = grads.split_at_mut(recurrent);

        let steps = self.pass.steps;
        let (h, v) = (self.hidden, self.vocab);
        self.dh.resize(steps * h, 0.0);
        // As published, the LSTM's output layer is given the state before the step.
        let late = self.kind == Kind::Lstm && gradient == Gradient::Published;
        let y = Rows::new(&self.pass.h[if late { 0 } else { h }..], steps, h);
        let dlogits = Rows::new(&self.dlogits, steps, v);
        let dh = Some(RowsMut::new(&mut self.dh, steps, h));
        self.linear.backward(linear, y, dlogits, dh, linear_grads, &mut self.linear_memory)?;

        let last = &self.pass.h[steps * h..];
        match (self.kind, gradient) {
            (Kind::Rnn, Gradient::Exact) => {
                let (layer, h0) = (self.rnn(), &self.pass.h[..h]);
                self.tape.record(&layer, 1, h0, &[], &[&self.pass.h[h..]])?;
                self.recur_back(&layer, params, grads)?;
            }
            (Kind::Rnn, Gradient::Published) => {
                let layer = published::rnn(v, h)?;
                self.tape.record(&layer, 1, last, &[], &[&self.pass.h[h..]])?;
                self.recur_back(&layer, params, grads)?;
            }
            (Kind::Lstm, Gradient::Exact) => {
                let Pass { h: hs, c, gates: [i, f, g, o], .. } = &self.pass;
                let values = [i, f, g, o, &c[h..]];
                self.tape.record(&self.lstm(), 1, &hs[..h], &c[..h], &values)?;
                self.recur_back(&self.lstm(), params, grads)?;
            }
            (Kind::Lstm, Gradient::Published) => {
                self.published.lstm_gradients(&self.pass, &self.dh, (v, h), grads)?;
            }
        }
        // The second bias is not the notebook's.
        grads[recurrent - self.second_bias_len()..].fill(0.0);
        Ok(loss)
    }

    /// The recurrent layer's part of [`LabNetwork::backward`], from a recorded tape.
    fn recur_back<C: Cell>(
        &mut self,
        layer: &Recurrent<C>,
        params: &[f64],
        grads: &mut [f64],
    ) -> Result<()> {
        self.state.reset(layer, 1)?;
        let Pass { steps, x, h, .. } = &self.pass;
        let shape = Shape::time_major(*steps, 1, self.hidden);
        let x = Seq::new(x, Shape::time_major(*steps, 1, self.vocab))?;
        let (y, dy) = (Seq::new(&h[self.hidden..], shape)?, Seq::new(&self.dh, shape)?);
        let gradients = Gradients { params: Some(grads), x: None };
        layer.backward(params, x, y, &mut self.tape, dy, &mut self.state, gradients)
    }

    fn check_pass(&self, targets: usize) -> Result<()> {
        let Pass { steps, x, h, c, gates, outputs, .. } = &self.pass;
        let (t, n, v) = (*steps, self.hidden, self.vocab);
        ensure!(t > 0, "there must be at least one step");
        let lstm = if self.kind == Kind::Lstm { n } else { 0 };
        let fits = (x.len(), outputs.len(), targets) == (t * v, t * v, t * v)
            && (h.len(), c.len()) == ((t + 1) * n, (t + 1) * lstm)
            && gates.iter().all(|gate| gate.len() == t * lstm);
        ensure!(fits, "the arrays of the pass do not fit {t} steps of {n} units and {v} tokens");
        Ok(())
    }

    /// The loss; leaves the gradients of the logits, `output - onehot(argmax target)`.
    fn loss(&mut self, targets: &[f64]) -> f64 {
        let mut loss = 0.0;
        self.dlogits.clear();
        self.dlogits.extend_from_slice(&self.pass.outputs);
        let added = if self.kind == Kind::Rnn { EPSILON } else { 0.0 };
        let rows = self.dlogits.chunks_exact_mut(self.vocab);
        for (output, target) in rows.zip(targets.chunks_exact(self.vocab)).rev() {
            let mut sum = 0.0;
            let mut class = 0;
            for (n, (&output, &y)) in output.iter().zip(target).enumerate() {
                // Zero times a finite logarithm is not worth taking it.
                if y != 0.0 || output.is_nan() || output <= 0.0 {
                    sum += y * (output.ln() + added);
                }
                if y > target[class] {
                    class = n;
                }
            }
            loss -= sum / self.vocab as f64;
            output[class] -= 1.0;
        }
        loss
    }
}

/// Appends the softmax of `logits`, shifted by their maximum.
fn softmax(logits: &[f64], outputs: &mut Vec<f64>) {
    let first = outputs.len();
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &z| f64::max(most, z));
    outputs.extend(logits.iter().map(|z| (z - most).exp()));
    let sum: f64 = outputs[first..].iter().sum();
    outputs[first..].iter_mut().for_each(|e| *e /= sum);
}
