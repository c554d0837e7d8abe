//! Runs a layer one step at a time, for inputs that arrive one at a time. Weights stay packed, and a step
//! allocates no memory.

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

/// A recurrent layer that computes one step per call and keeps its state between calls.
///
/// # Examples
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
    /// One record for every row, (B, record).
    values: Buffer<E>,
}

/// One layer with packed weights, and its state.
struct Layer<C, E: Element> {
    direction: Direction<C>,
    packed: Packed<E>,
    /// h before and after a step, (B, H) each.
    h: [Buffer<E>; 2],
    c: Buffer<E>,
    /// Memory for x and h in bf16.
    rounded: [Buffer<E>; 2],
}

impl<C: Cell, E: Element> Stepper<C, E> {
    /// A stepper for `rows` rows that begins with the zero state. It copies the parameters.
    ///
    /// # Errors
    /// If the layer has two directions, the parameters do not fit the layer, `rows` is zero, or there is not
    /// enough memory.
    pub fn new<'p>(
        layer: Recurrent<C>,
        params: impl Into<Params<'p, E>>,
        rows: usize,
    ) -> Result<Self> {
        ensure!(rows > 0, "a stepper needs at least 1 row, got 0");
        ensure!(
            layer.directions() == 1,
            "a stepper needs a layer of one direction, got two directions; the second starts at the last step"
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

    /// Computes one step, from x (B, I) to the last layer's h (B, H).
    ///
    /// # Errors
    /// If x has another size. The state does not change then.
    pub fn step(&mut self, x: &[E]) -> Result<&[E]> {
        let want = self.rows * self.layer.input_size();
        ensure!(x.len() == want, "x must have {want} numbers, got {}", x.len());
        let Self { level, rows, layers, values, .. } = self;
        level.run(Step { x, rows: *rows, layers, values });
        Ok(&self.layers[self.layers.len() - 1].h[0])
    }

    /// Sets the state to zero.
    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.h[0].fill(E::ZERO);
            layer.c.fill(E::ZERO);
        }
    }

    /// A copy of the state, in the form of the layer's passes.
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

    /// Sets the state.
    ///
    /// # Errors
    /// If it has other sizes. The state does not change then.
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
            // A team of one cannot fail.
            let _ = step.run(s, &mut Member::alone());
            std::mem::swap(h, next);
        }
    }
}
