//! Describes what a pass does, and why.

use std::fmt;

use super::Recurrent;
use super::direction::Compute;
use super::plan::{FEW_ROWS, Plan, UNITS};
use crate::cell::Cell;
use crate::error::Result;
use crate::simd::{Element, Level};
use crate::threads;
use crate::view::Seq;

impl<C: Cell> Recurrent<C> {
    /// Describes what a pass over `x` (T, B, I) does, and why: the work of every layer, the size of its
    /// tape, and how threads divide the work.
    ///
    /// # Errors
    /// If `BPTT_SIMD` or `BPTT_NUM_THREADS` has a value that is not accepted, or the layer's products cannot
    /// use numbers of type `E`.
    ///
    /// # Examples
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
        let (threads, passes) = (threads::num_threads()?, self.directions());
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
            let numbers = direction.record_len(level.lanes::<E>()).saturating_mul(x.total());
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
            None if threads == 1 => "one thread: bptt uses only one (set_num_threads)".into(),
            None if rows > 1 || !splits_units => format!(
                "one thread: a second thread pays off from {} on, and only if there are rows to share",
                Flops(threads::MIN_FLOPS)
            ),
            None => format!(
                "one thread: a step below {} takes about as long as threads need to meet",
                Flops(UNITS[0].1)
            ),
        }
    }
}

/// A number of operations, printed with a prefix: 3.2 MFLOP.
struct Flops(usize);

/// A number of bytes, printed with a prefix: 840 kB.
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
