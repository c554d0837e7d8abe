//! One direction of one layer: its sizes and its share of the parameters.

use std::any::TypeId;

use super::tape::Recording;
use crate::cell::Cell;
use crate::simd::{Element, Level};
use crate::view::{Seq, Shape};

/// One direction of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direction<C> {
    pub cell: C,
    pub input_size: usize,
    pub hidden_size: usize,
    pub bias: bool,
    /// P; 0 without a projection.
    pub proj_size: usize,
    /// Whether it goes from the last step to the first.
    pub reverse: bool,
}

/// Its parameters by name.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, E> {
    pub weight_ih: &'a [E],
    pub weight_hh: &'a [E],
    pub biases: Option<(&'a [E], &'a [E])>,
    pub weight_hr: Option<&'a [E]>,
}

impl<C: Cell> Direction<C> {
    /// The step that comes as number `k` of `steps`.
    #[inline(always)]
    pub(super) fn nth_step(&self, k: usize, steps: usize) -> usize {
        if self.reverse { steps - 1 - k } else { k }
    }

    /// The step computed before step `t`.
    #[inline(always)]
    pub(super) fn step_before(&self, t: usize, steps: usize) -> Option<usize> {
        if self.reverse { Some(t + 1).filter(|&t| t < steps) } else { t.checked_sub(1) }
    }

    /// Features of an output: H, or P with a projection.
    pub fn output_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// The lengths of weight_ih, weight_hh, bias_ih, bias_hh and weight_hr, 0 for those it does not have.
    pub(super) fn lengths(&self) -> [usize; 5] {
        let gates = C::GATES * self.hidden_size;
        let biases = if self.bias { gates } else { 0 };
        let projection = self.proj_size * self.hidden_size;
        [gates * self.input_size, gates * self.output_size(), biases, biases, projection]
    }

    /// The parameters out of slices of these lengths.
    pub(super) fn weights<'a, E>(&self, parts: [&'a [E]; 5]) -> Weights<'a, E> {
        let [weight_ih, weight_hh, bias_ih, bias_hh, weight_hr] = parts;
        Weights {
            weight_ih,
            weight_hh,
            biases: self.bias.then_some((bias_ih, bias_hh)),
            weight_hr: (self.proj_size > 0).then_some(weight_hr),
        }
    }

    /// H, filled up to whole vectors.
    #[inline(always)]
    pub fn padded(&self, lanes: usize) -> usize {
        self.hidden_size.next_multiple_of(lanes)
    }

    /// Operations of the products of a pass, forward.
    pub(super) fn flops<E>(&self, x: Seq<'_, E>) -> usize {
        let outputs = self.output_size();
        let step = C::GATES * self.hidden_size * (self.input_size + outputs)
            + self.proj_size * self.hidden_size;
        x.total().saturating_mul(2 * step)
    }

    pub(super) fn recording<E: Element>(&self, x: Shape, level: Level) -> Recording {
        let shape = x;
        Recording {
            level,
            steps: shape.steps,
            rows: shape.rows,
            input_size: self.input_size,
            hidden_size: self.hidden_size,
            proj_size: self.proj_size,
            reverse: self.reverse,
            cell: (TypeId::of::<C>(), self.cell.variant()),
            values: C::TAPE + usize::from(self.proj_size > 0),
            padded: self.padded(level.lanes::<E>()),
        }
    }
}
