//! The plan: how threads divide the work of a pass. The choice never changes results.
//!
//! - One thread does work that takes less time than a second thread needs to wake.
//! - If a batch has few rows, threads divide the units of every step. So each reads only its own weights,
//!   and reading weights is most of such a step's work. The threads meet in every step, so a step must be
//!   long enough, and no other threads may want the cores (threads/backoff.rs).
//! - Otherwise threads divide the rows. No thread waits for another before the end.
//!
//! Measured for units, an LSTM in float32 on Zen 5, two threads compared with one: at (100, 1, 128, 128),
//! inference is 1.4 and training 1.5 times as fast; at (100, 1, 256, 256), 1.7 and 1.9 times; at (100, 8,
//! 128, 256), 1.9 and 1.9 times.

use super::direction::{Compute, Direction};
use crate::cell::Cell;
use crate::error::Result;
use crate::threads;
use crate::threads::backoff;
use crate::view::Seq;

/// If steps have at most `FEW_ROWS` rows, x is multiplied ahead, for about `ROWS_AHEAD` rows at once.
pub(super) const FEW_ROWS: usize = 4;
const ROWS_AHEAD: usize = 48;

/// Pairs (rows, operations): threads divide units if there are fewer rows per thread than the first number,
/// and a step has at least as many operations as the second. One thread takes about 2 us for 200,000
/// operations, and a meeting takes 0.1 to 1 us. With more rows, dividing rows is nearly as fast, so a
/// meeting must cost next to nothing. From 12 rows per thread on, dividing rows is faster.
pub(super) const UNITS: [(usize, usize); 2] = [(4, 200_000), (12, 4_000_000)];

/// How threads divide a direction pass.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The number of rows of each task.
    pub rows: Vec<usize>,
    /// How many threads divide the units of every step; none if they do not.
    pub members: Option<usize>,
    /// For how many steps x is multiplied at once; 0 if every step multiplies its own x.
    pub ahead: usize,
}

impl Plan {
    /// The plan of one of `passes` passes that run at the same time and have `flops` operations together.
    ///
    /// # Errors
    /// If `BPTT_NUM_THREADS` is not a number of threads.
    pub fn of<C: Cell, E: Copy>(
        layer: &Direction<C>,
        x: Seq<'_, E>,
        records: bool,
        (passes, flops): (usize, usize),
    ) -> Result<Self> {
        let rows = x.shape().rows;
        let members = if passes == 1 { members(layer, x)? } else { None };
        let ahead = match rows {
            // Without a tape, there is memory for the same number of rows at every step.
            _ if layer.compute == Compute::Bf16 => 0,
            1..=FEW_ROWS if records || rows == 1 || x.sizes().is_none() => ROWS_AHEAD / rows,
            _ => 0,
        };
        let rows = match members {
            Some(_) => vec![rows],
            None => split_rows(x, threads::tasks(rows * passes, flops)?.div_ceil(passes)),
        };
        Ok(Self { rows, members, ahead })
    }
}

/// How many threads divide the units of every step; none if they divide rows.
pub(super) fn members<C: Cell, E: Copy>(
    layer: &Direction<C>,
    x: Seq<'_, E>,
) -> Result<Option<usize>> {
    let (flops, threads) = (layer.flops(x), threads::num_threads()?);
    let step = flops / x.shape().steps.max(1);
    // A thread has at least one panel, which is two vectors.
    let members = threads.min(layer.hidden_size.div_ceil(32));
    let shares = layer.splits_units()
        && flops >= threads::MIN_FLOPS
        && members > 1
        && UNITS.iter().any(|&(rows, flops)| x.shape().rows < rows * members && step >= flops)
        && !backoff::is_now();
    Ok(shares.then_some(members))
}

/// The number of rows of each task. All tasks have about the same number of (step, row) pairs.
pub(super) fn split_rows<E>(x: Seq<'_, E>, tasks: usize) -> Vec<usize> {
    let rows = x.shape().rows;
    if x.sizes().is_none() || tasks <= 1 {
        return threads::split(rows, tasks);
    }
    let mut split = vec![0];
    let (mut done, mut steps) = (0, x.shape().steps);
    for row in 0..rows {
        // Rows are sorted by length: a row is never longer than the row before.
        while steps > 0 && x.count(steps - 1) <= row {
            steps -= 1;
        }
        if done * tasks >= x.total() * split.len() {
            split.push(0);
        }
        *split.last_mut().expect("never empty") += 1;
        done += steps;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Lstm;
    use crate::view::{BatchSizes, Shape};

    #[test]
    fn tasks_have_about_the_same_number_of_steps() {
        let lengths: Vec<usize> = (1..=60).collect();
        let sizes = BatchSizes::of_lengths(&lengths).unwrap();
        let numbers = vec![0.0f32; sizes.total()];
        let x = Seq::packed(&numbers, &sizes, 1).unwrap();
        let split = split_rows(x, 4);
        let mut first = 0;
        for rows in &split {
            let steps: usize = (first..first + rows).map(|row| 60 - row).sum();
            assert!(steps.abs_diff(sizes.total() / 4) <= 60, "{split:?}");
            first += rows;
        }
        assert_eq!((split.len(), first), (4, 60));
        let dense = Seq::new(&numbers[..60], Shape::time_major(1, 60, 1)).unwrap();
        assert_eq!(split_rows(dense, 4), [15; 4]);
    }

    #[test]
    fn passes_beside_each_other_share_no_units() {
        let x = vec![0.0f32; 10 * 512];
        let x = Seq::new(&x, Shape::time_major(10, 1, 512)).unwrap();
        let direction = Direction::new(Lstm::default(), 512, 512);
        let plan = Plan::of(&direction, x, true, (2, 2 * direction.flops(x))).unwrap();
        assert_eq!(plan, Plan { rows: vec![1], members: None, ahead: ROWS_AHEAD });
    }
}
