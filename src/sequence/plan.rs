//! The work model: how a pass is shared between threads. What is chosen shows in no bit of the results.
//!
//! - Work that takes less than a thread needs to wake is done by one thread.
//! - Few rows: threads share every step, each with some of the units, and so the weights, which such a step
//!   mostly streams. They meet in every step, which must be worth it, and not while others want the cores
//!   (rest.rs).
//! - Else threads share the rows: no thread waits for another before the end.
//!
//! From one thread to two, an LSTM in float32 on Zen 5, sharing units: (100, 1, 128, 128) 1.4 times as fast
//! inferring and 1.5 training, (100, 1, 256, 256) 1.7 and 1.9, (100, 8, 128, 256) 1.9 and 1.9.

use std::fmt;

use super::{Compute, Direction, Recurrent};
use crate::cell::Cell;
use crate::error::Result;
use crate::parallel;
use crate::rest;
use crate::simd::{Element, Level};
use crate::view::Seq;

/// Rows of a step up to which x is multiplied ahead, and about how many rows are multiplied then.
pub(super) const FEW_ROWS: usize = 4;
const ROWS_AHEAD: usize = 48;

/// Below the first number of rows for each thread, units are shared if a step has as many operations as the
/// second number says: 200,000 take one thread some 2 us, a meeting 0.1 to 1. With some more rows, sharing
/// these is nearly as good, so a meeting must not show, and with 12 it is better.
const UNITS: [(usize, usize); 2] = [(4, 200_000), (12, 4_000_000)];

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
            None => split_rows(x, parallel::tasks(rows * passes, flops)?.div_ceil(passes)),
        };
        Ok(Self { rows, members, ahead })
    }
}

/// How many threads share every step of a pass, if its rows are few.
pub(super) fn members<C: Cell, E: Copy>(
    layer: &Direction<C>,
    x: Seq<'_, E>,
) -> Result<Option<usize>> {
    let (flops, threads) = (layer.flops(x), parallel::num_threads()?);
    let step = flops / x.shape().steps.max(1);
    // A panel of two vectors is the least that a thread takes.
    let members = threads.min(layer.hidden_size.div_ceil(32));
    let shares = layer.splits_units()
        && flops >= parallel::MIN_FLOPS
        && members > 1
        && UNITS.iter().any(|&(rows, flops)| x.shape().rows < rows * members && step >= flops)
        && !rest::is_now();
    Ok(shares.then_some(members))
}

/// How many rows each task takes: about the same number of steps.
pub(super) fn split_rows<E>(x: Seq<'_, E>, tasks: usize) -> Vec<usize> {
    let rows = x.shape().rows;
    if x.sizes().is_none() || tasks <= 1 {
        return parallel::split(rows, tasks);
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

impl<C: Cell> Recurrent<C> {
    /// What a pass over `x` does, and why, for people to read: the work of every layer, what its tape takes,
    /// and how threads share it.
    ///
    /// # Errors
    /// If `BPTT_SIMD` or `BPTT_NUM_THREADS` cannot be read.
    ///
    /// ```
    /// use bptt::{LSTM, Seq, Shape};
    ///
    /// let x = vec![0.0f32; 100 * 64];
    /// let x = Seq::new(&x, Shape::time_major(100, 1, 64))?;
    /// let text = LSTM::new(64, 64, true)?.explain(x)?;
    /// assert!(text.contains("multiplied ahead"));
    /// # Ok::<(), bptt::Error>(())
    /// ```
    pub fn explain<E: Element>(&self, x: Seq<'_, E>) -> Result<String> {
        self.check_compute::<E>()?;
        let level = Level::current()?;
        let (threads, passes) = (parallel::num_threads()?, self.directions());
        let mut text = format!(
            "{} steps, {} rows, {} of {} (step, row) pairs; {}, {}, {threads} threads",
            x.shape().steps,
            x.shape().rows,
            x.total(),
            x.shape().steps * x.shape().rows,
            E::NAME,
            level.name(),
        );
        if self.compute == Compute::Bf16 {
            text += match level.has_bf16() {
                true => "; products in bf16, with the machine's instructions",
                false => "; products in bf16, emulated, which is slow: no AVX512_BF16",
            };
        }
        for l in 0..self.num_layers() {
            let direction = self.direction(l * passes);
            let flops = passes.saturating_mul(direction.flops(x));
            let plan = Plan::of(&direction, x, true, (passes, flops))?;
            let numbers = direction.record(level.lanes::<E>()).saturating_mul(x.total());
            let bytes = size_of::<E>() * passes;
            let weights: usize = direction.lengths().iter().sum();
            text += &format!(
                "\nlayer {l}: {} forward, {} with the backward pass; weights {}, tape {}\n  {}",
                Flops(flops),
                Flops(3 * flops),
                Bytes(weights * bytes),
                Bytes(numbers.saturating_mul(bytes)),
                plan.reason(passes, threads, direction.splits_units()),
            );
            if plan.ahead > 0 {
                text += &format!(
                    "\n  x is multiplied ahead, {} steps at once: products with up to {FEW_ROWS} rows only \
                     stream the weights",
                    plan.ahead
                );
            }
        }
        Ok(text)
    }
}

impl Plan {
    fn reason(&self, passes: usize, threads: usize, splits_units: bool) -> String {
        let beside = if passes == 1 { "" } else { " of each direction, both at once" };
        let (tasks, rows) = (self.rows.len(), self.rows.iter().sum::<usize>());
        match self.members {
            Some(members) => format!(
                "units are shared: {members} threads take part in every step, because there are only {rows} \
                 rows"
            ),
            None if tasks > 1 => {
                let (least, most) = (self.rows.iter().min(), self.rows.iter().max());
                format!(
                    "rows are shared: {tasks} tasks{beside} of {} to {} rows",
                    least.unwrap_or(&0),
                    most.unwrap_or(&0)
                )
            }
            None if passes > 1 && threads > 1 => format!("one task{beside}"),
            None if threads == 1 => "one thread: there is no other (set_num_threads)".into(),
            None if rows > 1 || !splits_units => format!(
                "one thread: below {} a second one is not worth waking, or there is nothing to share",
                Flops(parallel::MIN_FLOPS)
            ),
            None => format!(
                "one thread: a step below {} takes hardly more time than a meeting of threads",
                Flops(UNITS[0].1)
            ),
        }
    }
}

/// Operations, and bytes, as people read them.
struct Flops(usize);
struct Bytes(usize);

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, "FLOP")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, "B")
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, number: usize, unit: &str) -> fmt::Result {
    let (mut number, mut prefix) = (number as f64, "");
    for next in ["k", "M", "G", "T"] {
        if number >= 1000.0 {
            (number, prefix) = (number / 1000.0, next);
        }
    }
    let digits = usize::from(number < 100.0);
    write!(f, "{number:.digits$} {prefix}{unit}")
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
