//! One step at a time, for inputs that come one at a time: weights stay packed, nothing is allocated.

use super::direction::Direction;
use super::forward::step::{Step as OneStep, StepState};
use super::options::zoneout::Regularised;
use super::{Params, Recurrent, State};
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::{Result, ensure};
use crate::recurrent::direction::packed::{Pack, Packed};
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads::team::Member;
use crate::view::{Rows, RowsMut};

/// A recurrent layer that is given one step at a time and keeps its state in between.
///
/// ```
/// use bptt::{GRU, Stepper};
///
/// let gru = GRU::new(2, 3, true)?;
/// let params = vec![0.3f32; gru.parameter_len()];
/// let mut stepper = Stepper::new(gru, &params, 1)?;
/// let first = stepper.step(&[0.5, -0.5])?.to_vec(); // (B, I) to (B, H)
/// let second = stepper.step(&[0.5, -0.5])?.to_vec();
/// assert_ne!(first, second);
/// stepper.reset();
/// assert_eq!(stepper.step(&[0.5, -0.5])?, first);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Stepper<C, E: Element> {
    layer: Recurrent<C>,
    level: Level,
    rows: usize,
    layers: Vec<Layer<C, E>>,
    /// A record of every row.
    values: Buffer<E>,
}

/// One layer, packed, with its state.
struct Layer<C, E: Element> {
    direction: Direction<C>,
    packed: Packed<E>,
    /// h, and where the next one goes, (B, H) each.
    h: [Buffer<E>; 2],
    c: Buffer<E>,
    /// Where x and h are rounded in bf16.
    rounded: [Buffer<E>; 2],
}

impl<C: Cell, E: Element> Stepper<C, E> {
    /// A stepper for `rows` rows, from the zero state, with these parameters as they are now.
    ///
    /// # Errors
    /// If the layer has two directions, the parameters are not the layer's, or there is no row.
    pub fn new<'p>(
        layer: Recurrent<C>,
        params: impl Into<Params<'p, E>>,
        rows: usize,
    ) -> Result<Self> {
        ensure!(rows > 0, "a stepper needs at least 1 row, got 0");
        ensure!(
            layer.directions() == 1,
            "a layer with two directions cannot be given one step at a time: the second starts at the end"
        );
        let level = Level::current()?;
        let (h, c) = layer.state_sizes();
        let mut layers = Vec::new();
        for (weights, direction) in
            layer.weights(params.into())?.into_iter().zip(layer.all_directions())
        {
            let [for_x, for_h] = direction.rounded_forward();
            let mut stepped = Layer {
                direction,
                packed: Packed::default(),
                h: [Buffer::zeros(rows.saturating_mul(h))?, Buffer::zeros(rows.saturating_mul(h))?],
                c: Buffer::zeros(rows.saturating_mul(c))?,
                rounded: [
                    Buffer::zeros(rows.saturating_mul(for_x))?,
                    Buffer::zeros(rows.saturating_mul(for_h))?,
                ],
            };
            level.run(Pack { layer: &direction, weights, packed: &mut stepped.packed })?;
            layers.push(stepped);
        }
        let record = layers[0].direction.record_len(level.lanes::<E>());
        let values = Buffer::zeros(rows.saturating_mul(record))?;
        Ok(Self { layer, level, rows, layers, values })
    }

    /// The layer.
    pub fn layer(&self) -> &Recurrent<C> {
        &self.layer
    }

    /// One step: from x (B, I) to the last layer's h (B, H).
    ///
    /// # Errors
    /// If x has another size; nothing is changed then.
    pub fn step(&mut self, x: &[E]) -> Result<&[E]> {
        let want = self.rows * self.layer.input_size();
        ensure!(x.len() == want, "x has {} numbers, a step takes {want}", x.len());
        let Self { level, rows, layers, values, .. } = self;
        level.run(Step { x, rows: *rows, layers, values });
        Ok(&self.layers[self.layers.len() - 1].h[0])
    }

    /// Back to the zero state.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.h[0].fill(E::ZERO);
            layer.c.fill(E::ZERO);
        }
    }

    /// A copy of the state, as the layer's passes take it.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn state(&self) -> Result<State<E>> {
        let mut state = State::zeros(&self.layer, self.rows)?;
        let (h, c) = self.layer.state_sizes();
        for (n, layer) in self.layers.iter().enumerate() {
            state.h[n * self.rows * h..][..self.rows * h].copy_from_slice(&layer.h[0]);
            state.c[n * self.rows * c..][..self.rows * c].copy_from_slice(&layer.c);
        }
        Ok(state)
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// If it is one of other sizes; nothing is changed then.
    pub fn set_state(&mut self, state: &State<E>) -> Result<()> {
        self.layer.check_state("state", state, self.rows)?;
        let (h, c) = self.layer.state_sizes();
        for (n, layer) in self.layers.iter_mut().enumerate() {
            layer.h[0].copy_from_slice(&state.h[n * self.rows * h..][..self.rows * h]);
            layer.c.copy_from_slice(&state.c[n * self.rows * c..][..self.rows * c]);
        }
        Ok(())
    }
}

struct Step<'a, C, E: Element> {
    x: &'a [E],
    rows: usize,
    layers: &'a mut [Layer<C, E>],
    values: &'a mut Buffer<E>,
}

impl<C: Cell, E: Element> Kernel<E> for Step<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let rows = self.rows;
        for l in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(l);
            let Layer { direction, packed, h: [h, next], c, rounded } = &mut rest[0];
            let [for_x, for_h] = rounded;
            let widths = direction.rounded_forward();
            let x = before.last().map_or(self.x, |before| &before.h[0]);
            let outputs = direction.output_size();
            let step = OneStep {
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
            // Nobody else takes part.
            let _ = step.run(s, &mut Member::alone());
            std::mem::swap(h, next);
        }
    }
}
