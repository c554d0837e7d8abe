//! Data sets of sequences of different lengths.

use crate::error::{Result, ensure};
use crate::nn::{Sequential, Targets};
use crate::simd::Element;

/// The inputs of all sequences, one sequence after the other.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a, E> {
    /// Numbers, (sum of T, F).
    Features(&'a [E]),
    /// Tokens, (sum of T,), for a model that starts with a one-hot layer or an embedding.
    Tokens(&'a [u32]),
}

/// N sequences, one after the other. Sequence n has the steps `offsets[n]..offsets[n + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a, E> {
    pub(super) inputs: Inputs<'a, E>,
    /// One class, or one row of numbers, for every step or for every sequence.
    pub(super) targets: Option<Targets<'a, E>>,
    pub(super) per_sequence: bool,
    /// The weight of each sequence in the training loss; 1 if none.
    pub(super) weights: Option<&'a [f64]>,
    /// Whether target classes may be [`IGNORED`](crate::IGNORED).
    pub(super) may_ignore: bool,
    offsets: &'a [usize],
}

impl<'a, E: Element> Dataset<'a, E> {
    /// Sequences with a target for every step: classes (sum of T,) or numbers (sum of T, F). `offsets` has N
    /// + 1 numbers, from 0 to the number of all steps.
    ///
    /// # Errors
    /// If the offsets do not rise from 0, there are no sequences, a sequence is empty, or the inputs or
    /// targets do not fit the number of steps.
    pub fn new(
        inputs: Inputs<'a, E>,
        targets: Targets<'a, E>,
        offsets: &'a [usize],
    ) -> Result<Self> {
        let data = Self::without_targets(inputs, offsets)?;
        data.with_targets(targets, data.steps(), "steps")
    }

    /// Sequences with one target each, classes (N,) or numbers (N, F), for a model with
    /// [`Layer::LastStep`](crate::Layer::LastStep).
    ///
    /// # Examples
    /// ```
    /// use bptt::{Dataset, GRU, Inputs, Layer, Linear, Sequential, Targets};
    ///
    /// let gru = Layer::GRU(GRU::new(1, 4, true)?);
    /// let linear = Layer::Linear(Linear::new(4, 2, true)?);
    /// let mut model = Sequential::new(vec![gru, Layer::LastStep, linear])?;
    /// let inputs = Inputs::Features(&[0.1, 0.2, 0.3, 0.4, 0.5]);
    /// let data = Dataset::per_sequence(inputs, Targets::Classes(&[1, 0]), &[0, 2, 5])?;
    /// assert_eq!(model.predict(&data)?.len(), 2 * 2); // (N, F)
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Dataset::new`], with the number of sequences for the targets.
    pub fn per_sequence(
        inputs: Inputs<'a, E>,
        targets: Targets<'a, E>,
        offsets: &'a [usize],
    ) -> Result<Self> {
        let data = Self { per_sequence: true, ..Self::without_targets(inputs, offsets)? };
        data.with_targets(targets, data.len(), "sequences")
    }

    fn with_targets(self, targets: Targets<'a, E>, count: usize, of: &str) -> Result<Self> {
        match targets {
            Targets::Classes(classes) => ensure!(
                classes.len() == count,
                "there are {} target classes for {count} {of}; give one for each",
                classes.len()
            ),
            Targets::Values(values) => ensure!(
                values.len().is_multiple_of(count),
                "{} target numbers cannot be divided among {count} {of}; give the same number for each",
                values.len()
            ),
        }
        Ok(Self { targets: Some(targets), ..self })
    }

    /// Sets a weight for every sequence, (N,). Training multiplies the losses of the sequence's tokens with
    /// it. The divisor of the mean does not change. A sequence of weight 0 is not read, except that with
    /// [`Trainer::stateful`](crate::Trainer::stateful) its states are carried on.
    ///
    /// # Errors
    /// If the number of weights is not N, or a weight is negative or not finite.
    pub fn with_weights(self, weights: &'a [f64]) -> Result<Self> {
        let (given, len) = (weights.len(), self.len());
        ensure!(given == len, "there are {given} weights for {len} sequences; give one for each");
        if let Some(w) = weights.iter().find(|&&w| !(0.0..f64::INFINITY).contains(&w)) {
            ensure!(false, "weights must be at least 0 and finite, got {w}");
        }
        Ok(Self { weights: Some(weights), ..self })
    }

    /// Makes [`IGNORED`](crate::IGNORED) a target that is out of range, like any other.
    pub fn without_ignored(self) -> Self {
        Self { may_ignore: false, ..self }
    }

    /// Sequences without targets, for prediction.
    ///
    /// # Errors
    /// As for [`Dataset::new`].
    pub fn without_targets(inputs: Inputs<'a, E>, offsets: &'a [usize]) -> Result<Self> {
        ensure!(
            offsets.len() > 1 && offsets[0] == 0,
            "the data set is empty; give at least one sequence, with offsets from 0"
        );
        if let Some(n) = offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
            ensure!(false, "sequence {n} is empty; every sequence needs at least one step");
        }
        let (targets, per_sequence, weights, may_ignore) = (None, false, None, true);
        let data = Self { inputs, targets, per_sequence, weights, may_ignore, offsets };
        let steps = data.steps();
        match inputs {
            Inputs::Features(x) => ensure!(
                !x.is_empty() && x.len().is_multiple_of(steps),
                "{} input numbers cannot be divided among {steps} steps; give the same number for each",
                x.len()
            ),
            Inputs::Tokens(x) => {
                ensure!(
                    x.len() == steps,
                    "there are {} tokens for {steps} steps; give one for each",
                    x.len()
                );
            }
        }
        Ok(data)
    }

    /// N, the number of sequences.
    #[allow(clippy::len_without_is_empty)] // a data set is never empty
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are targets.
    pub fn has_targets(&self) -> bool {
        self.targets.is_some()
    }

    /// Checks that there is a target for every output of the model.
    pub(super) fn check_targets(&self, model: &Sequential<E>) -> Result<()> {
        ensure!(
            self.has_targets(),
            "the data set has no targets; give targets to train or evaluate"
        );
        ensure!(
            self.per_sequence == model.gives_last_step(),
            "the model needs a target for every step, or with LastStep for every sequence, but the data set \
             has one for every {}",
            if self.per_sequence { "sequence" } else { "step" }
        );
        Ok(())
    }

    /// The number of steps of all sequences together.
    pub fn steps(&self) -> usize {
        self.offsets[self.len()]
    }

    /// The tokens of a sequence and its target classes; none if inputs or targets are of another kind.
    pub(crate) fn tokens(&self, sequence: usize) -> Option<(&'a [u32], &'a [u32])> {
        match (self.inputs, self.targets) {
            (Inputs::Tokens(x), Some(Targets::Classes(y))) if !self.per_sequence => {
                Some((&x[self.range(sequence)], &y[self.range(sequence)]))
            }
            _ => None,
        }
    }

    /// The steps of a sequence.
    pub(crate) fn range(&self, sequence: usize) -> std::ops::Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_data_sets_are_refused() {
        let of = |x: &[f32], offsets: &[usize]| {
            Dataset::without_targets(Inputs::Features(x), offsets).unwrap_err().to_string()
        };
        assert!(of(&[1.0; 4], &[0]).contains("empty"));
        assert!(of(&[1.0; 4], &[0, 2, 2, 4]).contains("sequence 1 is empty"));
        assert!(of(&[1.0; 5], &[0, 2, 4]).contains("divided"));
        let tokens = Dataset::<f32>::without_targets(Inputs::Tokens(&[0; 6]), &[0, 3]);
        assert!(tokens.unwrap_err().to_string().contains("6 tokens for 3 steps"));

        let data = |x| Dataset::<f32>::without_targets(Inputs::Tokens(x), &[0, 3, 4]).unwrap();
        let weighted = |w| data(&[0; 4]).with_weights(w).unwrap_err().to_string();
        assert!(weighted(&[1.0]).contains("1 weights for 2 sequences"));
        assert!(weighted(&[1.0, -1.0]).contains("at least 0"));
        assert!(weighted(&[1.0, f64::NAN]).contains("at least 0"));
        let (x, y) = (Inputs::Tokens(&[0; 4]), Targets::Classes(&[0; 4]));
        let once = Dataset::<f32>::per_sequence(x, y, &[0, 3, 4]).unwrap_err().to_string();
        assert!(once.contains("4 target classes for 2 sequences"));
    }
}
