//! Data sets of sequences of any lengths.

use crate::error::{Result, ensure};
use crate::nn::Targets;
use crate::simd::Element;

/// The inputs of all sequences, one after the other.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a, E> {
    /// Numbers (sum of T, F).
    Features(&'a [E]),
    /// Tokens (sum of T,), for a model that starts with a one-hot layer.
    Tokens(&'a [u32]),
}

/// N sequences, one after the other: sequence n is the steps `offsets[n]..offsets[n + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a, E> {
    pub(super) inputs: Inputs<'a, E>,
    /// One class, or one row of numbers, for every step.
    pub(super) targets: Option<Targets<'a, E>>,
    offsets: &'a [usize],
}

impl<'a, E: Element> Dataset<'a, E> {
    /// Sequences with a target for every step.
    ///
    /// # Errors
    /// If the offsets do not rise from 0, there is no sequence or an empty one, or the numbers cannot
    /// be divided among the steps.
    pub fn new(
        inputs: Inputs<'a, E>,
        targets: Targets<'a, E>,
        offsets: &'a [usize],
    ) -> Result<Self> {
        let data = Self { targets: Some(targets), ..Self::without_targets(inputs, offsets)? };
        let steps = data.steps();
        match targets {
            Targets::Classes(classes) => ensure!(
                classes.len() == steps,
                "there are {} target classes for {steps} steps",
                classes.len()
            ),
            Targets::Values(values) => ensure!(
                values.len().is_multiple_of(steps),
                "{} target numbers cannot be divided among {steps} steps",
                values.len()
            ),
        }
        Ok(data)
    }

    /// Sequences to predict from.
    ///
    /// # Errors
    /// As [`Dataset::new`].
    pub fn without_targets(inputs: Inputs<'a, E>, offsets: &'a [usize]) -> Result<Self> {
        ensure!(
            offsets.len() > 1 && offsets[0] == 0,
            "the data set is empty: it needs at least one sequence"
        );
        if let Some(n) = offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
            ensure!(false, "sequence {n} is empty: every sequence needs at least one step");
        }
        let data = Self { inputs, targets: None, offsets };
        let steps = data.steps();
        match inputs {
            Inputs::Features(x) => ensure!(
                !x.is_empty() && x.len().is_multiple_of(steps),
                "{} input numbers cannot be divided among {steps} steps",
                x.len()
            ),
            Inputs::Tokens(x) => {
                ensure!(x.len() == steps, "there are {} tokens for {steps} steps", x.len());
            }
        }
        Ok(data)
    }

    /// N, the sequences.
    #[allow(clippy::len_without_is_empty)] // a data set is never empty
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is anything to compare outputs with.
    pub fn has_targets(&self) -> bool {
        self.targets.is_some()
    }

    pub(super) fn check_targets(&self) -> Result<()> {
        ensure!(self.has_targets(), "the data set has no targets to train on or compare with");
        Ok(())
    }

    /// The steps of all sequences together.
    pub fn steps(&self) -> usize {
        self.offsets[self.len()]
    }

    /// The tokens of a sequence and the classes that are its targets, if that is what they are.
    pub(crate) fn tokens(&self, sequence: usize) -> Option<(&'a [u32], &'a [u32])> {
        match (self.inputs, self.targets) {
            (Inputs::Tokens(x), Some(Targets::Classes(y))) => {
                Some((&x[self.range(sequence)], &y[self.range(sequence)]))
            }
            _ => None,
        }
    }

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
    }
}
