//! One of the lab's networks, and its passes over one sequence.

use super::kind::{Gradient, Kind, Sizes};
use super::output::{Output, PackOutput, UnpackOutput};
use super::unit_block::{PackUnits, UnitBlock, UnpackUnits};
use crate::error::{Result, ensure};
use crate::nn::Linear;
use crate::recurrent::LSTM;
use crate::simd::{Kernel, Level, Simd};

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

/// One of the networks, and its last pass.
///
/// Parameters are a flat slice in this library's order. [`LabNetwork::import`] makes it from the notebook's arrays,
/// [`LabNetwork::export`] makes the notebook's arrays from it.
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
    pub(super) sizes: Sizes,
    /// The arrays of the last pass. The next one reads its `x`.
    pub pass: Pass,
}

impl LabNetwork {
    /// A network of `hidden` units that reads and writes one-hot vectors of `vocab` tokens.
    ///
    /// # Errors
    /// If a size is zero, or too large for memory.
    pub fn new(kind: Kind, hidden: usize, vocab: usize) -> Result<Self> {
        // These check the sizes; of the two networks, the LSTM is larger.
        LSTM::new(vocab, hidden, true)?;
        Linear::new(hidden, vocab, true)?;
        Ok(Self { sizes: Sizes { kind, hidden, vocab }, pass: Pass::default() })
    }

    /// The number of parameters.
    pub fn parameter_len(&self) -> usize {
        self.sizes.parameter_len()
    }

    pub(super) fn check_params(&self, len: usize) -> Result<()> {
        let want = self.parameter_len();
        ensure!(len == want, "got {len} parameters, this network has {want}");
        Ok(())
    }

    /// The layers of flat parameters, packed. The recurrent one is in blocks of so many units.
    pub(super) fn pack(
        &self,
        level: Level,
        params: &[f64],
        blocks: &[usize],
    ) -> Result<(Vec<UnitBlock>, Output)> {
        self.check_params(params.len())?;
        let (recurrent, linear) = params.split_at(self.sizes.recurrent_len());
        let mut packed = Vec::new();
        let mut first = 0;
        for &count in blocks {
            let mut block = UnitBlock::new(self.sizes, first..first + count);
            level.run(PackUnits(&mut block, recurrent))?;
            packed.push(block);
            first += count;
        }
        let mut output = Output::new(self.sizes);
        level.run(PackOutput(&mut output, linear))?;
        Ok((packed, output))
    }

    /// All units in one block, and the output layer.
    fn pack_whole(&self, level: Level, params: &[f64]) -> Result<(UnitBlock, Output)> {
        let (mut blocks, output) = self.pack(level, params, &[self.sizes.hidden])?;
        Ok((blocks.remove(0), output))
    }

    /// Runs the network on `pass.x` and writes the rest of the pass. `h0` (H,) is the initial state, with `c0` (H,) for the
    /// LSTM; the RNN takes an empty `c0`.
    ///
    /// # Errors
    /// If a size does not fit.
    pub fn forward(&mut self, params: &[f64], h0: &[f64], c0: &[f64]) -> Result<()> {
        let Sizes { kind, hidden, vocab } = self.sizes;
        let is_lstm = kind == Kind::Lstm;
        for (name, given, want) in
            [("h0", h0.len(), hidden), ("c0", c0.len(), if is_lstm { hidden } else { 0 })]
        {
            ensure!(given == want, "got an initial state {name} of {given} numbers, not {want}");
        }
        let x_len = self.pass.x.len();
        ensure!(x_len.is_multiple_of(vocab), "x must be (T, {vocab}), got {x_len} numbers");
        let steps = x_len / vocab;
        let level = Level::current()?;
        let (mut block, mut output) = self.pack_whole(level, params)?;
        block.reserve(steps, level.lanes::<f64>())?;
        block.begin(h0, c0);
        for (t, x) in self.pass.x.chunks_exact(vocab).enumerate() {
            block.input(t).copy_from_slice(x);
        }
        level.run(Forward { block: &mut block, output: &mut output, steps })?;
        let pass = &mut self.pass;
        pass.steps = steps;
        pass.h.clear();
        for row in block.rows.chunks_exact(self.sizes.width()) {
            pass.h.extend_from_slice(&row[1..=hidden]);
        }
        pass.logits = output.logits.to_vec();
        pass.outputs = output.outputs;
        if is_lstm {
            let padded = hidden.next_multiple_of(level.lanes::<f64>());
            let values = |slot: usize| {
                let records = block.cells.tape.chunks_exact(5 * padded).take(steps);
                records.flat_map(move |record| &record[slot * padded..][..hidden]).copied()
            };
            pass.gates = [0, 1, 2, 3].map(|gate| values(gate).collect());
            pass.c = c0.iter().copied().chain(values(4)).collect();
        }
        Ok(())
    }

    /// Returns the notebook's loss of `pass` for `targets` (T, V), and writes its gradients to `grads`. The loss is minus
    /// the mean over the V entries of `target * log(output)`, summed over the steps.
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
        let Sizes { kind, hidden, vocab } = self.sizes;
        let level = Level::current()?;
        let (mut block, mut output) = self.pack_whole(level, params)?;
        let Pass { steps, x, h, c, gates: [i, f, g, o], outputs, .. } = &self.pass;
        let steps = *steps;
        block.reserve(steps, level.lanes::<f64>())?;
        block.begin(&h[..hidden], c.get(..hidden).unwrap_or_default());
        for (t, x) in x.chunks_exact(vocab).enumerate() {
            block.input(t).copy_from_slice(x);
            block.h(t).copy_from_slice(&h[(t + 1) * hidden..][..hidden]);
        }
        block.rows.iter_mut().step_by(self.sizes.width()).for_each(|one| *one = 1.0);
        let values: &[&[f64]] = match kind {
            Kind::Rnn => &[&h[hidden..]],
            Kind::Lstm => &[i, f, g, o, &c[hidden..]],
        };
        let padded = hidden.next_multiple_of(level.lanes::<f64>());
        let records = block.cells.tape.chunks_exact_mut(values.len() * padded).take(steps);
        for (t, record) in records.enumerate() {
            for (slot, value) in record.chunks_exact_mut(padded).zip(values) {
                slot[..hidden].copy_from_slice(&value[t * hidden..][..hidden]);
            }
        }
        output.outputs.clone_from(outputs);
        let loss = output.loss(targets);
        level.run(Backward { block: &mut block, output: &mut output, steps, gradient })?;
        let (recurrent, linear) = grads.split_at_mut(self.sizes.recurrent_len());
        level.run(UnpackUnits(&block, &block.gradients, recurrent));
        level.run(UnpackOutput(&output, &output.gradients, linear));
        Ok(loss)
    }

    /// Checks the sizes of `pass`, and of so many numbers of targets.
    fn check_pass(&self, targets: usize) -> Result<()> {
        let Pass { steps, x, h, c, gates, outputs, .. } = &self.pass;
        let (t, Sizes { kind, hidden, vocab }) = (*steps, self.sizes);
        ensure!(t > 0, "the pass has no step, it needs at least one");
        let of_lstm = |len| if kind == Kind::Lstm { len } else { 0 };
        let [i, f, g, o] = gates;
        for (name, given, want) in [
            ("x", x.len(), t * vocab),
            ("outputs", outputs.len(), t * vocab),
            ("targets", targets, t * vocab),
            ("h", h.len(), (t + 1) * hidden),
            ("c", c.len(), of_lstm((t + 1) * hidden)),
            ("i", i.len(), of_lstm(t * hidden)),
            ("f", f.len(), of_lstm(t * hidden)),
            ("g", g.len(), of_lstm(t * hidden)),
            ("o", o.len(), of_lstm(t * hidden)),
        ] {
            ensure!(
                given == want,
                "{name} has {given} numbers, not {want}, which a pass of {t} steps with {hidden} units and {vocab} tokens has"
            );
        }
        Ok(())
    }
}

struct Forward<'a> {
    block: &'a mut UnitBlock,
    output: &'a mut Output,
    steps: usize,
}

impl Kernel<f64> for Forward<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self { block, output, steps } = self;
        for t in 0..steps {
            block.step(s, t);
        }
        output.forward(s, block.later_rows(), steps)
    }
}

struct Backward<'a> {
    block: &'a mut UnitBlock,
    output: &'a mut Output,
    steps: usize,
    gradient: Gradient,
}

impl Kernel<f64> for Backward<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self { block, output, steps, gradient } = self;
        output.back(s, steps, &mut block.dh)?;
        output.weight_gradients(s, block, steps, gradient)?;
        block.back(s, steps, gradient)
    }
}
