//! The passes through the layers of a recurrent layer, the directions of each beside each other.

use super::dropout::{Dropout, mix};
use super::tape::{Between, Record};
use super::{Gradients, Params, Recurrent, State, Tape, backward, forward};
use crate::cell::Cell;
use crate::error::{Error, Result, ensure};
use crate::simd::{Element, Level};
use crate::view::{Seq, SeqMut, Shape};

impl<C: Cell> Recurrent<C> {
    /// Runs the layer over a batch of sequences.
    ///
    /// `x` is (T, B, I), `y` (T, B, D H) receives every h_t, `state` is the initial state and becomes
    /// the final one. T and B may be zero. Without padding ([`Seq::packed`]), nothing is computed for steps
    /// that a row does not have, and its final state is that of its own last step.
    ///
    /// # Errors
    /// If a size does not fit the layer; nothing is written then.
    pub fn forward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        state: &mut State<E>,
        y: SeqMut<'_, E>,
        tape: &mut Tape<E>,
    ) -> Result<()> {
        let weights = self.weights(params.into())?;
        self.check_io(x, y.as_ref())?;
        let (rows, directions) = (x.shape().rows, self.directions());
        self.check_state("state", state, rows)?;
        let level = Level::current()?;
        let Tape { records, recorded, sizes, directions: all, between, seed, drawn, .. } = tape;
        let records = *records;
        *recorded = false;
        sizes.clone_from(&x.sizes().cloned().filter(|_| records));
        (*drawn, *seed) = (mix(*seed), seed.wrapping_add(1));
        all.resize_with(self.num_layers * directions, Record::default);
        between.resize_with(self.num_layers - 1, Between::default);
        let (h, _) = self.state_sizes();
        let mut y = Some(y);
        for (l, all) in all.chunks_mut(directions).enumerate() {
            let (before, after) = between.split_at_mut(l);
            let x = match before.last() {
                None => x,
                Some(before) => x.like(before.input(), directions * h)?,
            };
            let y = match after.first_mut() {
                None => y.take().expect("one last layer"),
                Some(after) => {
                    after.output.resize(x.total().saturating_mul(directions * h))?;
                    x.like_mut(&mut after.output, directions * h)?
                }
            };
            let layers: Vec<_> =
                (0..directions).map(|d| self.direction(l * directions + d)).collect();
            let mut passes = Vec::with_capacity(directions);
            let states = state.parts(self, rows, l * directions, directions);
            let parts =
                layers.iter().zip(all).zip(states).zip(y.split_columns(&vec![h; directions]));
            for (d, (((layer, record), (h, c)), y)) in parts.enumerate() {
                let weights = weights[l * directions + d];
                passes.push(forward::Pass { layer, weights, x, h, c, y, record });
            }
            forward::run(level, passes, records)?;
            if let Some(after) = after.first_mut() {
                after.dropped.resize(0)?;
                if records && self.dropout > 0.0 {
                    after.dropped.resize(after.output.len())?;
                    level.run(Dropout {
                        seed: drawn.wrapping_add(mix(l as u64)),
                        probability: self.dropout,
                        from: Some(&after.output),
                        to: &mut after.dropped,
                    });
                }
            }
        }
        *recorded = records;
        Ok(())
    }

    /// Backpropagation through time, for the pass that `tape` recorded with this `x` and `y`.
    ///
    /// `dy` (T, B, D H) is the gradient of the loss with respect to `y`; `dstate` that with respect to
    /// the final state, and becomes that with respect to the initial one. The recording is used up.
    ///
    /// # Errors
    /// If a size does not fit, or the tape holds no unused recording of such a pass; nothing is
    /// written then.
    #[allow(clippy::too_many_arguments)]
    pub fn backward<'p, E: Element>(
        &self,
        params: impl Into<Params<'p, E>>,
        x: Seq<'_, E>,
        y: Seq<'_, E>,
        tape: &mut Tape<E>,
        dy: Seq<'_, E>,
        dstate: &mut State<E>,
        gradients: Gradients<'_, E>,
    ) -> Result<()> {
        let weights = self.weights(params.into())?;
        self.check_backward(x, y, tape, dy, dstate, &gradients)?;
        let (rows, directions) = (x.shape().rows, self.directions());
        let (h, _) = self.state_sizes();
        tape.recorded = false;
        let Gradients { params: mut dparams, x: mut dx } = gradients;
        let Tape { directions: all, between, second_dx, drawn, .. } = tape;
        for (l, all) in all.chunks_mut(directions).enumerate().rev() {
            let (before, after) = between.split_at_mut(l);
            let (y, dy) = match after.first() {
                None => (y, dy),
                Some(after) => (
                    x.like(&after.output, directions * h)?,
                    x.like(&after.gradient, directions * h)?,
                ),
            };
            let (layer_x, mut dx) = match before.last_mut() {
                None => (x, dx.take()),
                Some(Between { output, dropped, gradient }) => {
                    gradient.resize(output.len())?;
                    let input = if dropped.is_empty() { output } else { dropped };
                    let dx = x.like_mut(gradient, directions * h)?;
                    (x.like(input, directions * h)?, Some(dx))
                }
            };
            let layers: Vec<_> =
                (0..directions).map(|d| self.direction(l * directions + d)).collect();
            let level = all[0].recorded.expect("checked").level;
            let mut second = None;
            if let Some(dx) = dx.as_ref().filter(|_| directions == 2) {
                let features = dx.shape().features;
                second_dx.resize(x.total().saturating_mul(features))?;
                second = Some(x.like_mut(second_dx, features)?);
            }
            let mut passes = Vec::with_capacity(directions);
            let states = dstate.parts(self, rows, l * directions, directions);
            let mut grads: Vec<_> = (0..directions)
                .rev()
                .map(|d| {
                    let len: usize = layers[d].lengths().iter().sum();
                    dparams.as_mut().map(|all| {
                        let first = all.len() - len;
                        all.split_off_mut(first..).expect("the layer's length")
                    })
                })
                .collect();
            let mut dxs = [dx.as_mut().map(SeqMut::reborrow), second];
            for (d, ((layer, record), (dh, dc))) in layers.iter().zip(all).zip(states).enumerate() {
                let recording = record.recorded.take().expect("checked");
                passes.push(backward::Pass {
                    layer,
                    weights: weights[l * directions + d],
                    x: layer_x,
                    y: y.columns(d * h, h),
                    record,
                    recording,
                    dy: dy.columns(d * h, h),
                    dh,
                    dc,
                    dparams: grads.pop().flatten(),
                    dx: dxs[d].take(),
                });
            }
            backward::run(level, passes)?;
            if let Some(dx) = dx.as_mut().filter(|_| directions == 2) {
                let features = dx.shape().features;
                dx.add(x.like(second_dx, features)?);
            }
            if let Some(before) = before.last_mut().filter(|before| !before.dropped.is_empty()) {
                level.run(Dropout {
                    seed: drawn.wrapping_add(mix((l - 1) as u64)),
                    probability: self.dropout,
                    from: None,
                    to: &mut before.gradient,
                });
            }
        }
        Ok(())
    }

    fn check_backward<E: Element>(
        &self,
        x: Seq<'_, E>,
        y: Seq<'_, E>,
        tape: &Tape<E>,
        dy: Seq<'_, E>,
        dstate: &State<E>,
        gradients: &Gradients<'_, E>,
    ) -> Result<()> {
        if let Some(grads) = &gradients.params {
            self.check_len(grads.len())?;
        }
        self.check_io(x, y)?;
        self.check_io(x, dy)?;
        self.check_state("dstate", dstate, x.shape().rows)?;
        if let Some(dx) = &gradients.x {
            let (given, want) = (extent(dx.shape()), extent(x.shape()));
            ensure!(given == want, "dx is {given:?} (steps, rows, features), x is {want:?}");
            ensure!(x.sizes() == dx.as_ref().sizes(), "x and dx must have the same batch sizes");
        }
        let records: Vec<_> = tape.directions.iter().map(|record| record.recorded).collect();
        let level = records.first().copied().flatten().filter(|_| tape.recorded);
        let Some(level) = level.map(|recording| recording.level) else {
            return Err(Error::new(
                "the tape holds no recording: run forward first, and once for every backward",
            ));
        };
        let want: Vec<_> = self
            .all_directions()
            .enumerate()
            .map(|(n, direction)| {
                let shape = Shape { features: direction.input_size, ..x.shape() };
                Some(direction.recording::<E>(shape, level)).filter(|_| n < records.len())
            })
            .collect();
        ensure!(
            records == want && x.sizes() == tape.sizes.as_ref(),
            "the tape holds another pass: it recorded {:?}, this is {:?}",
            records.first(),
            want.first()
        );
        Ok(())
    }

    /// `x` and a `y` of the same steps and rows fit the layer.
    fn check_io<E>(&self, x: Seq<'_, E>, y: Seq<'_, E>) -> Result<()> {
        let (i, given) = (self.input_size, x.shape().features);
        ensure!(given == i, "x has {given} features, the layer takes {i}");
        let (steps, rows, _) = extent(x.shape());
        let (given, want) = (extent(y.shape()), (steps, rows, self.output_size()));
        ensure!(given == want, "y is {given:?} (steps, rows, features), it must be {want:?}");
        ensure!(x.sizes() == y.sizes(), "x and y must have the same batch sizes");
        Ok(())
    }

    pub(super) fn check_state<E: Element>(
        &self,
        name: &str,
        state: &State<E>,
        rows: usize,
    ) -> Result<()> {
        let (h, c) = self.state_sizes();
        let rows_of_all = rows.saturating_mul(self.num_layers * self.directions());
        let want = (rows_of_all.saturating_mul(h), rows_of_all.saturating_mul(c));
        let given = (state.h.len(), state.c.len());
        ensure!(
            given == want,
            "{name} has {given:?} numbers in h and c; for {rows} rows it needs {want:?}"
        );
        Ok(())
    }
}

fn extent(shape: Shape) -> (usize, usize, usize) {
    (shape.steps, shape.rows, shape.features)
}

impl<E: Element> Between<E> {
    /// What the layer above reads.
    fn input(&self) -> &[E] {
        if self.dropped.is_empty() { &self.output } else { &self.dropped }
    }
}
