//! The work model: how a pass is shared between threads. What is chosen shows in no bit of the results.
//!
//! - Work that takes less than a thread needs to wake is done by one thread.
//! - Few rows: threads share every step, each with some of the units, and so the weights, which such a step
//!   mostly streams. They meet in every step, which must be worth it, and not while others want the cores
//!   (threads/backoff.rs).
//! - Else threads share the rows: no thread waits for another before the end.
//!
//! From one thread to two, an LSTM in float32 on Zen 5, sharing units: (100, 1, 128, 128) 1.4 times as fast
//! inferring and 1.5 training, (100, 1, 256, 256) 1.7 and 1.9, (100, 8, 128, 256) 1.9 and 1.9.

use super::direction::{Compute, Direction};
use crate::cell::Cell;
use crate::error::Result;
use crate::threads;
use crate::threads::backoff;
use crate::view::Seq;

/// Rows of a step up to which x is multiplied ahead, and about how many rows are multiplied then.
pub(super) const FEW_ROWS: usize = 4;
const ROWS_AHEAD: usize = 48;

/// Below the first number of rows for each thread, units are shared if a step has as many operations as the
/// second number says: 200,000 take one thread some 2 us, a meeting 0.1 to 1. With some more rows, sharing
/// these is nearly as good, so a meeting must not show, and with 12 it is better.
pub(super) const UNITS: [(usize, usize); 2] = [(4, 200_000), (12, 4_000_000)];

/// How a pass of a direction is shared.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The rows of each task.
    pub rows: Vec<usize>,
    /// How many threads share every step of the one task, if they do.
    pub members: Option<usize>,
    /// For how many steps x is multiplied at once; 0 for each with its own.
    pub ahead: usize,
}

impl Plan {
    /// For one of `passes` that run beside each other, with so many operations together.
    pub fn of<C: Cell, E: Copy>(
        layer: &Direction<C>,
        x: Seq<'_, E>,
        records: bool,
        (passes, flops): (usize, usize),
    ) -> Result<Self> {
        let rows = x.shape().rows;
        let members = if passes == 1 { members(layer, x)? } else { None };
        let ahead = match rows {
            // Without a tape there is room for as many rows at every step.
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

/// How many threads share every step of a pass, if its rows are few.
pub(super) fn members<C: Cell, E: Copy>(
    layer: &Direction<C>,
    x: Seq<'_, E>,
) -> Result<Option<usize>> {
    let (flops, threads) = (layer.flops(x), threads::num_threads()?);
    let step = flops / x.shape().steps.max(1);
    // A panel of two vectors is the least that a thread takes.
    let members = threads.min(layer.hidden_size.div_ceil(32));
    let shares = layer.splits_units()
        && flops >= threads::MIN_FLOPS
        && members > 1
        && UNITS.iter().any(|&(rows, flops)| x.shape().rows < rows * members && step >= flops)
        && !backoff::is_now();
    Ok(shares.then_some(members))
}

/// How many rows each task takes: about the same number of steps.
pub(super) fn split_rows<E>(x: Seq<'_, E>, tasks: usize) -> Vec<usize> {
    let rows = x.shape().rows;
    if x.sizes().is_none() || tasks <= 1 {
        return threads::split(rows, tasks);
    }
    let mut split = vec![0];
    let (mut done, mut steps) = (0, x.shape().steps);
    for row in 0..rows {
        // Rows are sorted: the next one is no longer.
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
