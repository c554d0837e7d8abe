//! How long the sequences of a batch are.

use std::ops::Range;

use crate::error::{Error, Result, ensure};

/// The steps of a batch of sequences of different lengths, the longest first: at every step, the rows
/// that are still there. Such a batch is stored without padding, step after step, as in torch's
/// `PackedSequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSizes {
    rows: usize,
    counts: Vec<usize>,
    /// Of every step, and the end: T + 1.
    offsets: Vec<usize>,
    /// Which of the caller's sequences comes as row b, each once; none if they are in order.
    order: Option<Vec<usize>>,
}

impl BatchSizes {
    /// `rows` sequences, of which `counts[t]` are longer than t.
    ///
    /// # Errors
    /// If the counts rise, there are more than `rows`, or the last one is zero.
    pub fn new(rows: usize, counts: Vec<usize>) -> Result<Self> {
        let falls = counts.windows(2).all(|pair| pair[0] >= pair[1]);
        ensure!(
            falls && counts.first().is_none_or(|&first| first <= rows) && counts.last() != Some(&0),
            "batch sizes fall from at most {rows} to at least 1, got {counts:?}"
        );
        let mut offsets = vec![0];
        for count in &counts {
            let end: usize = offsets[offsets.len() - 1];
            let end = end.checked_add(*count).filter(|&end| end < isize::MAX as usize);
            offsets.push(end.ok_or_else(|| Error::new("the batch is too large"))?);
        }
        Ok(Self { rows, counts, offsets, order: None })
    }

    /// Of sequences of these lengths, which it puts into an order that makes them fall ([`BatchSizes::place`]).
    ///
    /// # Errors
    /// If there are too many steps.
    pub fn of_lengths(lengths: &[usize]) -> Result<Self> {
        let mut order: Vec<_> = (0..lengths.len()).collect();
        order.sort_by_key(|&n| std::cmp::Reverse(lengths[n])); // stable
        let longest = order.first().map_or(0, |&n| lengths[n]);
        let mut counts = Vec::new();
        counts.try_reserve(longest).map_err(|_| Error::new("a sequence is too long"))?;
        let mut rows = lengths.len();
        for t in 0..longest {
            while lengths[order[rows - 1]] <= t {
                rows -= 1;
            }
            counts.push(rows);
        }
        Ok(Self { order: Some(order), ..Self::new(lengths.len(), counts)? })
    }

    /// Which of the caller's sequences comes as row `b`.
    pub fn place(&self, b: usize) -> usize {
        self.order().map_or(b, |order| order[b])
    }

    /// The places of all rows, unless they are in order.
    pub(super) fn order(&self) -> Option<&[usize]> {
        self.order.as_deref()
    }

    /// B, the sequences, empty ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// T, the steps of the longest one.
    pub fn steps(&self) -> usize {
        self.counts.len()
    }

    /// The steps of all sequences together.
    pub fn total(&self) -> usize {
        self.offsets[self.counts.len()]
    }

    /// The rows at step `t`.
    pub fn count(&self, t: usize) -> usize {
        self.counts[t]
    }

    /// The number of rows before those of step `t`.
    pub fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    /// Some steps of `rows` rows from `first_row` on as a batch of its own, with those that have ended,
    /// which have no steps.
    pub(crate) fn part(&self, steps: Range<usize>, first_row: usize, rows: usize) -> Self {
        let there = |count: &usize| count.saturating_sub(first_row).min(rows);
        let counts: Vec<_> = self.counts[steps].iter().map(there).collect();
        let mut offsets = vec![0];
        for count in &counts {
            offsets.push(offsets[offsets.len() - 1] + count);
        }
        Self { rows, counts, offsets, order: None }
    }
}
