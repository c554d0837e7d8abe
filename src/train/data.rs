//! Data sets of sequences of any lengths, and batches gathered from them.

use crate::error::{Result, ensure};
use crate::nn::{Input, Targets};
use crate::simd::Element;
use crate::view::BatchSizes;

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
    inputs: Inputs<'a, E>,
    /// One class, or one row of numbers, for every step.
    targets: Option<Targets<'a, E>>,
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

    /// Sequence `first` and those after it that are as long, at most `most`.
    pub(super) fn run_from(&self, first: usize, most: usize) -> Vec<usize> {
        let steps = self.range(first).len();
        let end = (first + most).min(self.len());
        (first..end).take_while(|&n| self.range(n).len() == steps).collect()
    }
}

/// Some sequences side by side, the longest first, without padding: (sum of T, F).
#[derive(Default)]
pub(super) struct Batch<E> {
    sizes: Option<BatchSizes>,
    tokens: Option<Vec<u32>>,
    features: Vec<E>,
    classes: Option<Vec<u32>>,
    values: Vec<E>,
}

impl<E: Element> Batch<E> {
    /// Takes sequences out of a data set.
    pub fn gather(&mut self, data: &Dataset<'_, E>, sequences: &[usize]) -> Result<()> {
        ensure!(!sequences.is_empty(), "a batch needs at least one sequence");
        if let Some(n) = sequences.iter().find(|&&n| n >= data.len()) {
            ensure!(false, "there is no sequence {n}: the data set has {}", data.len());
        }
        let lengths: Vec<_> = sequences.iter().map(|&n| data.range(n).len()).collect();
        let (sizes, order) = BatchSizes::of_lengths(&lengths)?;
        let sorted: Vec<_> = order.iter().map(|&b| sequences[b]).collect();
        let sequences = (&sorted[..], &sizes);
        let total = data.steps();
        match data.inputs {
            Inputs::Features(x) => {
                self.tokens = None;
                interleave(x, x.len() / total, data, sequences, &mut self.features);
            }
            Inputs::Tokens(x) => {
                interleave(x, 1, data, sequences, self.tokens.get_or_insert_default());
            }
        }
        match data.targets {
            Some(Targets::Values(y)) => {
                self.classes = None;
                interleave(y, y.len() / total, data, sequences, &mut self.values);
            }
            Some(Targets::Classes(y)) => {
                interleave(y, 1, data, sequences, self.classes.get_or_insert_default());
            }
            None => {}
        }
        self.sizes = Some(sizes);
        Ok(())
    }

    /// How many rows each step has.
    pub fn sizes(&self) -> &BatchSizes {
        self.sizes.as_ref().expect("gathered")
    }

    pub fn input(&self) -> Input<'_, E> {
        match &self.tokens {
            Some(tokens) => Input::Tokens(tokens),
            None => Input::Features(&self.features),
        }
    }

    pub fn targets(&self) -> Targets<'_, E> {
        match &self.classes {
            Some(classes) => Targets::Classes(classes),
            None => Targets::Values(&self.values),
        }
    }
}

/// Copies sequences (T, width) side by side: (sum of T, width).
fn interleave<X: Copy, E: Element>(
    from: &[X],
    width: usize,
    data: &Dataset<'_, E>,
    (sequences, sizes): (&[usize], &BatchSizes),
    to: &mut Vec<X>,
) {
    to.clear();
    for t in 0..sizes.steps() {
        for &n in &sequences[..sizes.count(t)] {
            let start = (data.range(n).start + t) * width;
            to.extend_from_slice(&from[start..start + width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_gathered_step_by_step_the_longest_first() {
        let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let data = Dataset::new(Inputs::Features(&x), Targets::Classes(&[0; 7]), &[0, 2, 4, 7]);
        let data = data.unwrap();
        let mut batch = Batch::default();
        batch.gather(&data, &[1, 0]).unwrap();
        assert_eq!(batch.features, [3.0, 1.0, 4.0, 2.0]);
        batch.gather(&data, &[0, 2]).unwrap();
        assert_eq!(batch.features, [5.0, 1.0, 6.0, 2.0, 7.0]);
        assert_eq!((batch.sizes().total(), batch.sizes().count(2)), (5, 1));
        assert_eq!((data.run_from(0, 8), data.run_from(2, 8)), (vec![0, 1], vec![2]));
    }

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
