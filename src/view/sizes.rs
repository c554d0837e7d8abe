//! The lengths of the sequences of a batch.

use std::ops::Range;

use crate::error::{Error, Result, ensure};
use crate::room::{copied, make_room};

/// For a batch of sequences of different lengths, the longest first: how many rows every step has. A
/// sequence that has ended has no row. Such a batch is stored without padding, step after step, as in
/// torch's `PackedSequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSizes {
    rows: usize,
    counts: Vec<usize>,
    /// The number of rows before every step, and of all: T + 1 numbers.
    offsets: Vec<usize>,
    /// `order[b]` is the caller's sequence that becomes row b; none if they are in order.
    order: Option<Vec<usize>>,
}

impl BatchSizes {
    /// The sizes of `rows` sequences, of which `counts[t]` have more than `t` steps.
    ///
    /// # Errors
    /// If the counts rise, exceed `rows` or end with zero, or the batch is too large for memory.
    pub fn new(rows: usize, counts: Vec<usize>) -> Result<Self> {
        let falls = counts.windows(2).all(|pair| pair[0] >= pair[1]);
        ensure!(
            falls && counts.first().is_none_or(|&first| first <= rows) && counts.last() != Some(&0),
            "batch sizes must fall from at most {rows} to at least 1, got {counts:?}"
        );
        Self::with_offsets(rows, counts, None)
    }

    /// The sizes with these counts, which fall.
    fn with_offsets(rows: usize, counts: Vec<usize>, order: Option<Vec<usize>>) -> Result<Self> {
        let (mut offsets, mut end) = (Vec::new(), 0_usize);
        make_room(&mut offsets, counts.len() + 1)?;
        offsets.push(end);
        for &count in &counts {
            let after = end.checked_add(count).filter(|&end| end < isize::MAX as usize);
            end =
                after.ok_or_else(|| Error::new("the batch has more rows than memory can hold"))?;
            offsets.push(end);
        }
        Ok(Self { rows, counts, offsets, order })
    }

    /// A copy.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn copied(&self) -> Result<Self> {
        Ok(Self {
            rows: self.rows,
            counts: copied(&self.counts)?,
            offsets: copied(&self.offsets)?,
            order: self.order.as_deref().map(copied).transpose()?,
        })
    }

    /// The sizes of sequences of these lengths, in any order. It sorts them, the longest first;
    /// [`BatchSizes::place`] gives the order.
    ///
    /// # Errors
    /// If the batch is too large for memory.
    pub fn of_lengths(lengths: &[usize]) -> Result<Self> {
        let mut order = Vec::new();
        make_room(&mut order, lengths.len())?;
        order.extend(0..lengths.len());
        // Equal lengths in the caller's order. The stable sort would need memory.
        order.sort_unstable_by_key(|&n| (std::cmp::Reverse(lengths[n]), n));
        let longest = order.first().map_or(0, |&n| lengths[n]);
        let mut counts = Vec::new();
        make_room(&mut counts, longest)?;
        let mut rows = lengths.len();
        for t in 0..longest {
            while lengths[order[rows - 1]] <= t {
                rows -= 1;
            }
            counts.push(rows);
        }
        Self::with_offsets(lengths.len(), counts, Some(order))
    }

    /// Which of the caller's sequences is row `b`.
    pub fn place(&self, b: usize) -> usize {
        self.order().map_or(b, |order| order[b])
    }

    /// [`BatchSizes::place`] of all rows; none if they are in order.
    pub(super) fn order(&self) -> Option<&[usize]> {
        self.order.as_deref()
    }

    /// B, the number of sequences, including empty ones.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// T, the length of the longest sequence.
    pub fn steps(&self) -> usize {
        self.counts.len()
    }

    /// The number of steps of all sequences together, which is the number of rows of all steps.
    pub fn total(&self) -> usize {
        self.offsets[self.counts.len()]
    }

    /// The number of rows at step `t`.
    pub fn count(&self, t: usize) -> usize {
        self.counts[t]
    }

    /// The number of rows of all steps before `t`.
    pub fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    /// The sizes of some steps of `rows` rows from `first_row` on, as a batch of their own. Rows that have
    /// ended before are included, without steps.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(crate) fn part(&self, steps: Range<usize>, first_row: usize, rows: usize) -> Result<Self> {
        let there = |count: &usize| count.saturating_sub(first_row).min(rows);
        let mut counts = Vec::new();
        make_room(&mut counts, steps.len())?;
        counts.extend(self.counts[steps].iter().map(there));
        Self::with_offsets(rows, counts, None)
    }
}
