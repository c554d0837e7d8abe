//! One step of all layers, for a stepper.

use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::recurrent::direction::Direction;
use crate::recurrent::direction::packed::Packed;
use crate::recurrent::forward::step::{Step, StepState};
use crate::recurrent::options::zoneout::Regularised;
use crate::simd::{Element, Kernel, Simd};
use crate::threads::team::Member;
use crate::view::{Rows, RowsMut};

/// One layer with packed weights, and its state.
pub(crate) struct Stepped<C, E: Element> {
    pub direction: Direction<C>,
    pub packed: Packed<E>,
    /// h before and after a step, (B, H) each.
    pub h: [Buffer<E>; 2],
    pub c: Buffer<E>,
    /// Memory for x and h in bf16.
    pub rounded: [Buffer<E>; 2],
}

/// One step of all layers.
pub(crate) struct StepAll<'a, C, E: Element> {
    pub x: &'a [E],
    pub rows: usize,
    pub layers: &'a mut [Stepped<C, E>],
    pub values: &'a mut Buffer<E>,
}

impl<C: Cell, E: Element> Kernel<E> for StepAll<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let rows = self.rows;
        for l in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(l);
            let Stepped { direction, packed, h: [h, next], c, rounded } = &mut rest[0];
            let [for_x, for_h] = rounded;
            let widths = direction.rounded_forward();
            let x = before.last().map_or(self.x, |before| &before.h[0]);
            let outputs = direction.output_size();
            let step = Step {
                layer: direction,
                packed,
                x: Some(Rows::new(x, rows, direction.input_size)),
                state: StepState {
                    h: Rows::new(h, rows, outputs),
                    c: RowsMut::new(c, rows, if C::HAS_C { direction.hidden_size } else { 0 }),
                    y: RowsMut::new(next, rows, outputs),
                },
                rounded: [
                    RowsMut::new(for_x, rows, widths[0]),
                    RowsMut::new(for_h, rows, widths[1]),
                ],
                values: RowsMut::new(self.values, rows, direction.record_len(S::LANES)),
                back: false,
                regularised: Regularised::none(),
            };
            // A team of one cannot fail.
            let _ = step.run(s, &mut Member::alone());
            std::mem::swap(h, next);
        }
    }
}
