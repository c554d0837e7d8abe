//! Batches gathered from a data set: sequences side by side without padding, whole or a chunk of steps.

use super::data::{Dataset, Inputs};
use crate::error::{Result, ensure};
use crate::nn::{Input, Targets};
use crate::simd::Element;
use crate::view::BatchSizes;

/// Some sequences side by side, the longest first, without padding: (sum of T, F).
#[derive(Default)]
pub(super) struct Batch<E> {
    sizes: Option<BatchSizes>,
    /// The sequence that is row b, and its length.
    rows: Vec<(usize, usize)>,
    tokens: Option<Vec<u32>>,
    features: Vec<E>,
    classes: Option<Vec<u32>>,
    values: Vec<E>,
    /// There is a target for every row rather than for every step.
    per_sequence: bool,
}

/// Some steps of all rows of a batch. Such steps lie one after the other, so nothing is copied.
pub(super) struct Chunk<'a, E> {
    pub input: Input<'a, E>,
    /// Nothing, if the data have no targets.
    pub targets: Targets<'a, E>,
    pub sizes: BatchSizes,
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
        self.rows.clear();
        self.rows.extend(order.iter().map(|&b| (sequences[b], lengths[b])));
        let place = (&self.rows[..], &sizes);
        let total = data.steps();
        match data.inputs {
            Inputs::Features(x) => {
                self.tokens = None;
                interleave(x, x.len() / total, data, place, &mut self.features);
            }
            Inputs::Tokens(x) => {
                interleave(x, 1, data, place, self.tokens.get_or_insert_default());
            }
        }
        self.per_sequence = data.per_sequence;
        match data.targets {
            Some(Targets::Values(y)) => {
                self.classes = None;
                if self.per_sequence {
                    pick(y, y.len() / data.len(), &self.rows, &mut self.values);
                } else {
                    interleave(y, y.len() / total, data, place, &mut self.values);
                }
            }
            Some(Targets::Classes(y)) => {
                let classes = self.classes.get_or_insert_default();
                if self.per_sequence {
                    pick(y, 1, &self.rows, classes);
                } else {
                    interleave(y, 1, data, place, classes);
                }
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

    /// The sequence that each row is.
    pub fn sequences(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|&(sequence, _)| sequence)
    }

    /// A weight for every target with which the mean over them is that over the sequences of each one's
    /// own mean.
    pub fn sequence_weights(&self) -> Vec<f64> {
        if self.per_sequence {
            return vec![1.0; self.rows.len()];
        }
        let sizes = self.sizes();
        let rows = (0..sizes.steps()).flat_map(|t| &self.rows[..sizes.count(t)]);
        rows.map(|&(_, length)| 1.0 / length as f64).collect()
    }

    /// The whole batch.
    pub fn whole(&self) -> Chunk<'_, E> {
        self.chunk(0, self.sizes().steps())
    }

    /// The steps from `first` to before `end`.
    pub fn chunk(&self, first: usize, end: usize) -> Chunk<'_, E> {
        let sizes = self.sizes();
        Chunk {
            input: match &self.tokens {
                Some(tokens) => Input::Tokens(between(tokens, sizes, first, end)),
                None => Input::Features(between(&self.features, sizes, first, end)),
            },
            targets: match &self.classes {
                // LastStep refuses chunks that are not whole.
                Some(classes) if self.per_sequence => Targets::Classes(classes),
                None if self.per_sequence => Targets::Values(&self.values),
                Some(classes) => Targets::Classes(between(classes, sizes, first, end)),
                None => Targets::Values(between(&self.values, sizes, first, end)),
            },
            sizes: sizes.part(first..end, 0, sizes.rows()),
        }
    }
}

/// The steps from `first` to before `end` of (sum of T, width).
fn between<'a, X>(all: &'a [X], sizes: &BatchSizes, first: usize, end: usize) -> &'a [X] {
    let width = all.len() / sizes.total();
    &all[sizes.offset(first) * width..sizes.offset(end) * width]
}

/// Copies what belongs to each row's sequence, of (N, width): (B, width).
fn pick<X: Copy>(from: &[X], width: usize, rows: &[(usize, usize)], to: &mut Vec<X>) {
    to.clear();
    for &(n, _) in rows {
        to.extend_from_slice(&from[n * width..][..width]);
    }
}

/// Copies sequences (T, width) side by side: (sum of T, width).
fn interleave<X: Copy, E: Element>(
    from: &[X],
    width: usize,
    data: &Dataset<'_, E>,
    (rows, sizes): (&[(usize, usize)], &BatchSizes),
    to: &mut Vec<X>,
) {
    to.clear();
    for t in 0..sizes.steps() {
        for &(n, _) in &rows[..sizes.count(t)] {
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
        assert_eq!(batch.sequences().collect::<Vec<_>>(), [2, 0]);
        let (half, third) = (1.0 / 2.0, 1.0 / 3.0);
        assert_eq!(batch.sequence_weights(), [third, half, third, half, third]);
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
            let chunk = batch.chunk(first, end);
            assert!(matches!(chunk.input, Input::Features(got) if got == x));
            assert!(matches!(chunk.targets, Targets::Values(got) if got == y));
            assert_eq!(chunk.sizes, BatchSizes::new(2, counts).unwrap());
        }
    }
}
