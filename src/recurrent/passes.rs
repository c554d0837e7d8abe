//! The passes through all layers of a recurrent layer. The directions of a layer run at the same time.

use std::mem::take;
use std::ops::Range;

use super::backward::{self, weights};
use super::direction::{Direction, Weights};
use super::forward;
use super::state::StateRows;
use super::tape::{Between, DirectionTape, Drawn, Mode, Seeds};
use super::{Gradients, Params, Recurrent, State, Tape};
use crate::buffer::Buffer;
use crate::cell::Cell;
use crate::error::{Error, Result, ensure};
use crate::math::dropout::{Dropout, mix};
use crate::simd::{Element, Kernel, Level, Simd};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

impl<C: Cell> Recurrent<C> {
    /// [`Recurrent::forward`].
    pub(super) fn run_forward<E: Element>(
        &self,
        params: Params<'_, E>,
        x: Seq<'_, E>,
        state: &mut State<E>,
        y: SeqMut<'_, E>,
        tape: &mut Tape<E>,
    ) -> Result<()> {
        let weights = self.weights(params)?;
        self.check_io(x, y.as_ref())?;
        let (rows, directions) = (x.shape().rows, self.directions());
        self.check_state("state", state, rows)?;
        let level = Level::current()?;
        let Tape { mode, checkpoints, recorded, sizes, directions: all, between, .. } = tape;
        let (mode, checkpoints) = (*mode, *checkpoints && mode.records);
        *recorded = None;
        *sizes = x.sizes().filter(|_| mode.records).map(|sizes| sizes.copied()).transpose()?;
        let next = tape.seeds.next;
        tape.seeds = Seeds { drawn: mix(next), next: next.wrapping_add(1) };
        let drawn = tape.seeds.drawn;
        all.resize_with(self.num_layers * directions, DirectionTape::default);
        between.resize_with(self.num_layers - 1, Between::default);
        let (h, _) = self.state_sizes();
        let mut y = Some(y);
        for (l, records) in all.chunks_mut(directions).enumerate() {
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
            let layers = self.layer(l);
            let chunks = chunks(&layers, x, checkpoints);
            let mut states: Vec<_> =
                state.directions(self, rows, l * directions, directions).collect();
            let mut ys = y.split_columns(&vec![h; directions]);
            for (d, record) in records.iter_mut().enumerate() {
                let seed = mix(drawn ^ mix((l * directions + d + 1) as u64));
                record.draw(level, &layers[d], rows, mode, seed)?;
                let kept = if checkpoints { chunks[d].len() } else { 0 };
                record.checkpoints.states.truncate(kept);
            }
            for n in 0..longest(&chunks) {
                let mut passes = Vec::with_capacity(directions);
                let of_all = records.iter_mut().zip(&mut states).zip(&mut ys);
                for (d, ((record, state), y)) in of_all.enumerate() {
                    let Some(steps) = chunks[d].get(n).cloned() else { continue };
                    if checkpoints {
                        record.checkpoints.keep(n, state.h.as_ref(), state.c.as_ref())?;
                    }
                    passes.push(forward::DirectionPass {
                        layer: &layers[d],
                        weights: weights[l * directions + d],
                        x: x.steps(steps.clone()),
                        state: state.reborrow(),
                        first_step: steps.start,
                        y: y.steps_mut(steps),
                        record,
                    });
                }
                let records = mode.records && !checkpoints;
                // The first chunk packs the weights for all.
                let same_weights = mode.same_weights || n > 0;
                forward::run(level, passes, Mode { records, same_weights, ..mode })?;
            }
            for (layer, record) in layers.iter().zip(records) {
                record.recorded = mode.records.then(|| layer.pass_key::<E>(x.shape(), level));
            }
            if let Some(after) = after.first_mut() {
                after.dropped.resize(0)?;
                if mode.trains && self.dropout > 0.0 {
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
        tape.recorded = mode.records.then_some(mode);
        Ok(())
    }

    /// The directions of layer `l`.
    fn layer(&self, l: usize) -> Vec<Direction<C>> {
        let directions = self.directions();
        (0..directions).map(|d| self.direction(l * directions + d)).collect()
    }

    /// [`Recurrent::backward`].
    #[allow(clippy::too_many_arguments)] // the quantities of the formula
    pub(super) fn run_backward<E: Element>(
        &self,
        params: Params<'_, E>,
        x: Seq<'_, E>,
        y: Seq<'_, E>,
        tape: &mut Tape<E>,
        dy: Seq<'_, E>,
        dstate: &mut State<E>,
        gradients: Gradients<'_, E>,
    ) -> Result<()> {
        let weights = self.weights(params)?;
        self.check_backward(x, y, tape, dy, dstate, &gradients)?;
        let (rows, directions) = (x.shape().rows, self.directions());
        let (h, _) = self.state_sizes();
        let mode = tape.recorded.take().expect("checked");
        let Gradients { params: mut dparams, x: mut dx } = gradients;
        let Tape { directions: all, between, second_dx, seeds, .. } = tape;
        for (l, records) in all.chunks_mut(directions).enumerate().rev() {
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
            let layers = self.layer(l);
            let key = records[0].recorded.expect("checked");
            let (level, padded) = (key.level, key.padded);
            let mut second = None;
            if let Some(dx) = dx.as_ref().filter(|_| directions == 2) {
                let features = dx.shape().features;
                second_dx.resize(x.total().saturating_mul(features))?;
                second = Some(x.like_mut(second_dx, features)?);
            }
            let mut states: Vec<_> =
                dstate.directions(self, rows, l * directions, directions).collect();
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
            grads.reverse();
            for (layer, record) in layers.iter().zip(&mut *records) {
                record.recorded = None;
                let dunits = &mut record.back.dunits;
                dunits.resize(rows.saturating_mul(layer.units().count * padded))?;
                dunits.fill(E::ZERO);
                (record.sums.groups, record.sums.anew) = (weights::groups(layer, layer_x), true);
            }
            let checkpoints = !records[0].checkpoints.states.is_empty();
            let chunks = chunks(&layers, x, checkpoints);
            let mut dxs = [dx.as_mut().map(SeqMut::reborrow), second];
            for n in (0..longest(&chunks)).rev() {
                let weights = &weights[l * directions..];
                let again = match checkpoints {
                    true => compute_again(
                        level,
                        &layers,
                        weights,
                        layer_x,
                        records,
                        &chunks,
                        (n, mode),
                    )?,
                    false => Vec::new(),
                };
                let mut passes = Vec::with_capacity(directions);
                let of_all = records.iter_mut().zip(&mut states).zip(&mut grads).zip(&mut dxs);
                for (d, (((record, dstate), grads), dx)) in of_all.enumerate() {
                    let Some(steps) = chunks[d].get(n).cloned() else { continue };
                    let x = layer_x.steps(steps.clone());
                    passes.push(backward::DirectionPass {
                        layer: &layers[d],
                        weights: weights[d],
                        x,
                        y: match again.get(d) {
                            Some([.., y]) => x.like(y, h)?,
                            None => y.columns(d * h, h),
                        },
                        record,
                        dy: dy.columns(d * h, h).steps(steps.clone()),
                        dstate: dstate.reborrow(),
                        gradients: Gradients {
                            params: grads.as_deref_mut(),
                            x: dx.as_mut().map(|dx| dx.steps_mut(steps)),
                        },
                    });
                }
                backward::run(level, passes)?;
                for (record, again) in records.iter_mut().zip(again) {
                    record.checkpoints.again = again;
                }
            }
            for ((layer, record), grads) in layers.iter().zip(&*records).zip(grads) {
                if let Some(grads) = grads {
                    weights::add_groups(level, &record.sums.of_groups, grads);
                    let units = layer.units().count * padded;
                    let dunits = Rows::new(&record.back.dunits, rows, units);
                    weights::add_units(level, layer, dunits, padded, grads);
                }
            }
            if let Some(dx) = dx.as_mut().filter(|_| directions == 2) {
                let features = dx.shape().features;
                level.run(Add { to: dx.reborrow(), from: x.like(second_dx, features)? });
            }
            if let Some(before) = before.last_mut().filter(|before| !before.dropped.is_empty()) {
                level.run(Dropout {
                    seed: seeds.drawn.wrapping_add(mix((l - 1) as u64)),
                    probability: self.dropout,
                    from: None,
                    to: &mut before.gradient,
                });
            }
        }
        Ok(())
    }

    /// Checks all arguments of [`Recurrent::backward`].
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
            ensure!(
                given == want,
                "dx must be {want:?} (steps, rows, features), as x, got {given:?}"
            );
            ensure!(x.sizes() == dx.as_ref().sizes(), "x and dx must have the same batch sizes");
        }
        let records: Vec<_> = tape.directions.iter().map(|record| record.recorded).collect();
        let level = records.first().copied().flatten().filter(|_| tape.is_recorded());
        let Some(level) = level.map(|key| key.level) else {
            return Err(Error::new(
                "the tape holds no forward pass; call forward once before every backward",
            ));
        };
        let want: Vec<_> = self
            .all_directions()
            .enumerate()
            .map(|(n, direction)| {
                let shape = Shape { features: direction.input_size, ..x.shape() };
                Some(direction.pass_key::<E>(shape, level)).filter(|_| n < records.len())
            })
            .collect();
        ensure!(
            records == want && x.sizes() == tape.sizes.as_ref(),
            "the tape holds another pass, {:?}, not {:?}; call forward with the same arguments first",
            records.first(),
            want.first()
        );
        Ok(())
    }

    /// Checks that `x` and `y` fit the layer and have the same steps and rows.
    fn check_io<E>(&self, x: Seq<'_, E>, y: Seq<'_, E>) -> Result<()> {
        let (i, given) = (self.input_size, x.shape().features);
        ensure!(given == i, "x must have {i} features, got {given}");
        let (steps, rows, _) = extent(x.shape());
        let (given, want) = (extent(y.shape()), (steps, rows, self.output_size()));
        ensure!(given == want, "y must be {want:?} (steps, rows, features), got {given:?}");
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
            "{name} must have {want:?} numbers in h and c for {rows} rows, got {given:?}"
        );
        Ok(())
    }
}

/// The time chunks of each direction, in the order of computation. Without checkpoints, all steps are one
/// chunk.
fn chunks<C: Cell, E: Copy>(
    layers: &[Direction<C>],
    x: Seq<'_, E>,
    checkpoints: bool,
) -> Vec<Vec<Range<usize>>> {
    let chunks = layers.iter().map(|layer| match checkpoints {
        true => layer.chunks(x),
        false => vec![Range { start: 0, end: x.shape().steps }],
    });
    chunks.collect()
}

fn longest(chunks: &[Vec<Range<usize>>]) -> usize {
    chunks.iter().map(Vec::len).max().unwrap_or(0)
}

/// Computes time chunk `n` of every direction again, from its checkpoint, with records. Returns its final h
/// and c, and its outputs. (Seven arguments, because all directions need them; a struct would serve only
/// this one call.)
fn compute_again<C: Cell, E: Element>(
    level: Level,
    layers: &[Direction<C>],
    weights: &[Weights<'_, E>],
    x: Seq<'_, E>,
    records: &mut [DirectionTape<E>],
    chunks: &[Vec<Range<usize>>],
    (n, mode): (usize, Mode),
) -> Result<Vec<[Buffer<E>; 3]>> {
    let rows = x.shape().rows;
    let mut all = Vec::with_capacity(layers.len());
    for (d, record) in records.iter_mut().enumerate() {
        if let Some(steps) = chunks[d].get(n) {
            let total = x.steps(steps.clone()).total();
            record.checkpoints.restore(n, total.saturating_mul(layers[d].output_size()))?;
        }
        all.push(take(&mut record.checkpoints.again));
    }
    let mut passes = Vec::with_capacity(layers.len());
    for (d, (record, [h, c, y])) in records.iter_mut().zip(&mut all).enumerate() {
        let Some(steps) = chunks[d].get(n).cloned() else { continue };
        let (outputs, c_size) = (layers[d].output_size(), c.len() / rows.max(1));
        let x = x.steps(steps.clone());
        passes.push(forward::DirectionPass {
            layer: &layers[d],
            weights: weights[d],
            x,
            state: StateRows {
                h: RowsMut::new(h, rows, outputs),
                c: RowsMut::new(c, rows, c_size),
            },
            y: x.like_mut(y, outputs)?,
            record,
            first_step: steps.start,
        });
    }
    forward::run(level, passes, mode)?;
    Ok(all)
}

/// Adds the dx of the second direction to that of the first.
struct Add<'a, E> {
    to: SeqMut<'a, E>,
    from: Seq<'a, E>,
}

impl<E: Element> Kernel<E> for Add<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        self.to.add(s, self.from);
    }
}

fn extent(shape: Shape) -> (usize, usize, usize) {
    (shape.steps, shape.rows, shape.features)
}

impl<E: Element> Between<E> {
    /// The input of the layer above.
    fn input(&self) -> &[E] {
        if self.dropped.is_empty() { &self.output } else { &self.dropped }
    }
}

impl<E: Element> DirectionTape<E> {
    /// Draws the mask of recurrent dropout for a pass, and keeps the seed for its zoneout.
    fn draw<C: Cell>(
        &mut self,
        level: Level,
        layer: &Direction<C>,
        rows: usize,
        mode: Mode,
        seed: u64,
    ) -> Result<()> {
        let probability = layer.regular.recurrent_dropout;
        let masked = probability > 0.0 && mode.records;
        let Drawn { seed: drawn, mask } = &mut self.drawn;
        *drawn = seed;
        mask.resize(if masked { rows.saturating_mul(layer.output_size()) } else { 0 })?;
        mask.fill(E::ONE);
        if masked && mode.trains {
            level.run(Dropout { seed: mix(seed), probability, from: None, to: mask });
        }
        Ok(())
    }
}
