//! Runs a layer one step at a time, for inputs that arrive one at a time. Weights stay packed, and a step
//! allocates no memory.

use super::compiled::{Compiled, PassesOf};
use super::direction::packed::{Pack, Packed};
use super::forward::stepped::{StepAll, Stepped};
use super::{Params, Recurrent, State};
use crate::buffer::Buffer;
use crate::error::{Result, ensure};
use crate::simd::{Element, Level};

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
    layers: Vec<Stepped<C, E>>,
    /// One record for every row, (B, record).
    values: Buffer<E>,
}

impl<C: Compiled, E: Element> Stepper<C, E> {
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
        let passes = E::of::<PassesOf<C>>();
        let (h, c) = layer.state_sizes();
        let mut layers = Vec::new();
        for (weights, direction) in
            layer.weights(params.into())?.into_iter().zip(layer.all_directions())
        {
            let [for_x, for_h] = direction.rounded_forward();
            let mut stepped = Stepped {
                direction,
                packed: Packed::default(),
                h: [Buffer::zeros(rows.saturating_mul(h))?, Buffer::zeros(rows.saturating_mul(h))?],
                c: Buffer::zeros(rows.saturating_mul(c))?,
                rounded: [
                    Buffer::zeros(rows.saturating_mul(for_x))?,
                    Buffer::zeros(rows.saturating_mul(for_h))?,
                ],
            };
            (passes.pack)(level, Pack { layer: &direction, weights, packed: &mut stepped.packed })?;
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
        (E::of::<PassesOf<C>>().step)(*level, StepAll { x, rows: *rows, layers, values });
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
