//! Batches gathered from a data set: sequences side by side, without padding, as a whole or in time chunks.

use std::ops::Range;

use super::data::{Dataset, Inputs};
use crate::error::{Result, ensure};
use crate::nn::{IGNORED, Input, Targets};
use crate::room::make_room;
use crate::simd::Element;
use crate::view::BatchSizes;

/// Some sequences side by side, the longest first, without padding: (sum of T, F).
#[derive(Default)]
pub(super) struct Batch<E> {
    sizes: Option<BatchSizes>,
    /// For every row, its sequence and the length of the sequence.
    rows: Vec<(usize, usize)>,
    tokens: Option<Vec<u32>>,
    features: Vec<E>,
    classes: Option<Vec<u32>>,
    values: Vec<E>,
    /// Whether there is one target for every row rather than for every step.
    per_sequence: bool,
    /// The weights of the rows in the loss; 1 if none.
    weights: Option<Vec<f64>>,
}

/// A time chunk of a batch: some steps of all rows. They lie one after the other in memory, so nothing is
/// copied.
pub(super) struct Chunk<'a, E> {
    pub input: Input<'a, E>,
    /// Unspecified if the data set has no targets.
    pub targets: Targets<'a, E>,
    pub targets_count: usize,
    pub sizes: BatchSizes,
}

impl<E: Element> Batch<E> {
    /// Copies sequences from a data set.
    pub fn gather(&mut self, data: &Dataset<'_, E>, sequences: &[usize]) -> Result<()> {
        ensure!(!sequences.is_empty(), "a batch needs at least one sequence");
        if let Some(n) = sequences.iter().find(|&&n| n >= data.len()) {
            ensure!(false, "there is no sequence {n}; the data set has {} sequences", data.len());
        }
        let lengths: Vec<_> = sequences.iter().map(|&n| data.range(n).len()).collect();
        let sizes = BatchSizes::of_lengths(&lengths)?;
        self.rows.clear();
        let places = (0..sizes.rows()).map(|b| sizes.place(b));
        self.rows.extend(places.map(|b| (sequences[b], lengths[b])));
        let place = (&self.rows[..], &sizes);
        let total = data.steps();
        match data.inputs {
            Inputs::Features(x) => {
                self.tokens = None;
                interleave(x, x.len() / total, data, place, &mut self.features)?;
            }
            Inputs::Tokens(x) => {
                interleave(x, 1, data, place, self.tokens.get_or_insert_default())?;
            }
        }
        self.per_sequence = data.per_sequence;
        match (data.targets, self.per_sequence) {
            (Some(Targets::Values(y)), false) => {
                self.classes = None;
                interleave(y, y.len() / total, data, place, &mut self.values)?;
            }
            (Some(Targets::Classes(y)), false) => {
                interleave(y, 1, data, place, self.classes.get_or_insert_default())?;
            }
            (Some(Targets::Values(y)), true) => {
                self.classes = None;
                pick(y, y.len() / data.len(), &self.rows, &mut self.values)?;
            }
            (Some(Targets::Classes(y)), true) => {
                pick(y, 1, &self.rows, self.classes.get_or_insert_default())?;
            }
            (None, _) => {}
        }
        self.weights = data.weights.map(|w| self.rows.iter().map(|&(n, _)| w[n]).collect());
        self.sizes = Some(sizes);
        if let (Some(classes), false) = (&self.classes, data.may_ignore) {
            ensure!(
                !classes.contains(&IGNORED),
                "target class {IGNORED} is out of range; the targets changed after they were checked"
            );
        }
        Ok(())
    }

    /// Replaces the features of rows of weight 0 by zeros, so that no NaN in them reaches a gradient: 0 times
    /// NaN is NaN.
    pub fn clear_rows_of_weight_0(&mut self) {
        let (Some(weights), Some(sizes)) = (&self.weights, &self.sizes) else { return };
        if self.tokens.is_some() {
            return;
        }
        let width = self.features.len() / sizes.total();
        for t in 0..sizes.steps() {
            let (first, count) = (sizes.offset(t), sizes.count(t));
            let rows = self.features[first * width..].chunks_exact_mut(width).take(count);
            for (features, _) in rows.zip(weights).filter(|(_, weight)| **weight == 0.0) {
                features.fill(E::ZERO);
            }
        }
    }

    /// How many rows each step has.
    pub fn sizes(&self) -> &BatchSizes {
        self.sizes.as_ref().expect("gathered")
    }

    /// The sequence of each row.
    pub fn sequences(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|&(sequence, _)| sequence)
    }

    /// The row of every target in steps `first..end`.
    fn target_rows(&self, first: usize, end: usize) -> impl Iterator<Item = usize> {
        let (sizes, whole) = (self.sizes(), self.per_sequence);
        let steps = if whole { 0..1 } else { first..end };
        steps.flat_map(move |t| 0..if whole { sizes.rows() } else { sizes.count(t) })
    }

    /// The factor of each token's loss in steps `first..end`, if rows have weights: the weight of its row,
    /// divided by `count`, the sum of the tokens' weights.
    pub fn factors(&self, first: usize, end: usize, count: f64) -> Result<Option<Vec<f64>>> {
        let Some(weights) = &self.weights else { return Ok(None) };
        let scale = if count > 0.0 { 1.0 / count } else { 0.0 };
        let mut factors = Vec::new();
        make_room(&mut factors, self.chunk(first, end)?.targets_count)?;
        factors.extend(self.target_rows(first, end).map(|row| weights[row] * scale));
        Ok(Some(factors))
    }

    /// The whole batch.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn whole(&self) -> Result<Chunk<'_, E>> {
        self.chunk(0, self.sizes().steps())
    }

    /// The steps `first..end`.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn chunk(&self, first: usize, end: usize) -> Result<Chunk<'_, E>> {
        let sizes = self.sizes();
        let targets = |len: usize| match self.per_sequence {
            true => 0..len,
            false => between(len, sizes, first, end),
        };
        Ok(Chunk {
            input: match &self.tokens {
                Some(tokens) => Input::Tokens(&tokens[between(tokens.len(), sizes, first, end)]),
                None => {
                    let all = &self.features;
                    Input::Features(&all[between(all.len(), sizes, first, end)])
                }
            },
            targets: match &self.classes {
                Some(classes) => Targets::Classes(&classes[targets(classes.len())]),
                None => Targets::Values(&self.values[targets(self.values.len())]),
            },
            targets_count: match self.per_sequence {
                true => sizes.rows(),
                false => sizes.offset(end) - sizes.offset(first),
            },
            sizes: sizes.part(first..end, 0, sizes.rows())?,
        })
    }
}

/// The range of the steps `first..end` in an array (sum of T, width) of `len` numbers.
fn between(len: usize, sizes: &BatchSizes, first: usize, end: usize) -> Range<usize> {
    let width = len / sizes.total();
    sizes.offset(first) * width..sizes.offset(end) * width
}

/// Copies the numbers of each row's sequence from (N, width) to (B, width).
fn pick<X: Copy>(from: &[X], width: usize, rows: &[(usize, usize)], to: &mut Vec<X>) -> Result<()> {
    make_room(to, rows.len() * width)?;
    for &(n, _) in rows {
        to.extend_from_slice(&from[n * width..(n + 1) * width]);
    }
    Ok(())
}

/// Copies sequences, (T, width) each, side by side to (sum of T, width).
fn interleave<X: Copy, E: Element>(
    from: &[X],
    width: usize,
    data: &Dataset<'_, E>,
    (rows, sizes): (&[(usize, usize)], &BatchSizes),
    to: &mut Vec<X>,
) -> Result<()> {
    make_room(to, sizes.total().saturating_mul(width))?;
    for t in 0..sizes.steps() {
        for &(n, _) in &rows[..sizes.count(t)] {
            let start = (data.range(n).start + t) * width;
            to.extend_from_slice(&from[start..start + width]);
        }
    }
    Ok(())
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
        assert_eq!(batch.sequences().collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn targets_and_weights_of_whole_sequences_are_in_the_order_of_the_rows() {
        let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let data = Dataset::per_sequence(
            Inputs::Features(&x),
            Targets::Values(&[10.0, 11.0, 20.0, 21.0, 30.0, 31.0]),
            &[0, 1, 3, 6],
        );
        let data = data.unwrap().with_weights(&[0.5, 1.0, 2.0]).unwrap();
        let mut batch = Batch::default();
        batch.gather(&data, &[0, 2]).unwrap();
        let whole = batch.whole().unwrap();
        assert!(matches!(whole.targets, Targets::Values([30.0, 31.0, 10.0, 11.0])));
        assert_eq!(whole.targets_count, 2);
        assert_eq!(batch.factors(0, 3, 2.0).unwrap(), Some(vec![1.0, 0.25]));
    }

    #[test]
    fn rows_weigh_every_token_of_theirs() {
        let (x, y) = ([1.0f32; 3], [0; 3]);
        let data = Dataset::new(Inputs::Features(&x), Targets::Classes(&y), &[0, 1, 3]).unwrap();
        let mut batch = Batch::default();
        batch.gather(&data, &[0, 1]).unwrap();
        assert_eq!(batch.factors(0, 2, 3.0).unwrap(), None);
        batch.gather(&data.with_weights(&[4.0, 8.0]).unwrap(), &[0, 1]).unwrap();
        assert_eq!(batch.factors(0, 2, 4.0).unwrap(), Some(vec![2.0, 1.0, 2.0]));
        assert_eq!(batch.factors(1, 2, 0.0).unwrap(), Some(vec![0.0]));
    }

    #[test]
    fn rows_of_weight_0_become_zeros() {
        let x = [1.0f32, 2.0, f32::NAN, f32::INFINITY, 5.0, 6.0];
        let data = Dataset::new(Inputs::Features(&x), Targets::Classes(&[0; 6]), &[0, 2, 5, 6]);
        let data = data.unwrap().with_weights(&[1.0, 0.0, 0.5]).unwrap();
        let mut batch = Batch::default();
        batch.gather(&data, &[0, 1, 2]).unwrap();
        batch.clear_rows_of_weight_0();
        assert_eq!(batch.features, [0.0, 1.0, 6.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn ignored_targets_can_be_out_of_range() {
        let x = [1.0f32; 2];
        let data = Dataset::new(Inputs::Features(&x), Targets::Classes(&[0, IGNORED]), &[0, 2]);
        let data = data.unwrap();
        Batch::default().gather(&data, &[0]).unwrap();
        let error = Batch::default().gather(&data.without_ignored(), &[0]).unwrap_err();
        assert!(error.to_string().contains("target class 4294967295 is out of range"), "{error}");
    }

    #[test]
    fn a_chunk_is_some_steps_of_all_rows() {
        let (x, y) = ([1.0f32, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5], [10.0, 20.0, 30.0, 40.0]);
        let data = Dataset::new(Inputs::Features(&x), Targets::Values(&y), &[0, 1, 4]).unwrap();
        let mut batch = Batch::default();
        batch.gather(&data, &[0, 1]).unwrap();
        for (first, end, x, y, counts) in [
            (
                0,
                3,
                &[2.0, 2.5, 1.0, 1.5, 3.0, 3.5, 4.0, 4.5][..],
                &[20.0, 10.0, 30.0, 40.0][..],
                vec![2, 1, 1],
            ),
            (1, 3, &[3.0, 3.5, 4.0, 4.5], &[30.0, 40.0], vec![1, 1]),
        ] {
            let chunk = batch.chunk(first, end).unwrap();
            assert!(matches!(chunk.input, Input::Features(got) if got == x));
            assert!(matches!(chunk.targets, Targets::Values(got) if got == y));
            assert_eq!(chunk.sizes, BatchSizes::new(2, counts).unwrap());
        }
    }
}
