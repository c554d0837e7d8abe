//! The gradients of the weights: sums of outer products over all steps and rows.
//!
//! The rows of a batch form one or two groups. Each group has its own sums, which are added in the end. The
//! groups depend only on the batch, so the order of additions is the same for every number of threads. With
//! two threads, each has one group: the rows that it took through the steps, which are still in its cache.

use crate::cell::Cell;
use crate::error::Result;
use crate::math::sums::AddScaled;
use crate::matmul::outer::{self, K_BLOCK, OuterMemory, OuterProducts, Target};
use crate::recurrent::direction::memory::Records;
use crate::recurrent::direction::{Compute, Direction};
use crate::recurrent::plan::split_rows;
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads;
use crate::view::{Rows, RowsMut, Seq};

/// A batch of at least `TWO_GROUPS` rows has two groups, unless there are more than `MOST_WEIGHTS` weights.
/// A group has a sum for every weight, and these sums should stay in L2.
const TWO_GROUPS: usize = 16;
const MOST_WEIGHTS: usize = 1 << 18;

/// The number of rows of each group.
pub(crate) fn groups<C: Cell, E>(layer: &Direction<C>, x: Seq<'_, E>) -> Vec<usize> {
    let weights: usize = layer.lengths().iter().sum();
    let two = x.shape().rows >= TWO_GROUPS && x.total() >= 2 * K_BLOCK && weights <= MOST_WEIGHTS;
    split_rows(x, if two { 2 } else { 1 })
}

/// The first step of every block of the sums, in the order of computation; see [`outer::blocks`].
pub(crate) fn blocks<C: Cell, E>(
    layer: &Direction<C>,
    x: Seq<'_, E>,
    groups: usize,
    starts: &mut Vec<usize>,
) {
    let steps = x.shape().steps;
    outer::blocks(steps, |k| x.count(layer.nth_step(k, steps)), groups * K_BLOCK, starts);
}

/// The numbers whose products are summed for a group of rows.
pub(crate) struct Sums<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub group: Group<'a, E>,
    /// The first step of every block.
    pub blocks: &'a [usize],
    /// The records of all rows, (T, B, record), which begin with the gradients of the gates' arguments.
    pub da: Records<'a, E>,
    /// Whether the hidden operand was h with recurrent dropout, which is in the records.
    pub masked: bool,
    /// Whether the sums start from zero instead of the present gradients.
    pub anew: bool,
}

/// The rows of a group.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a, E> {
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub h0: Rows<'a, E>,
    /// With a projection, the gradients of its outputs (T, B, P).
    pub dh: Seq<'a, E>,
    /// The first row of the group, counted over all rows.
    pub first: usize,
}

/// The task that computes the gradients of some rows of the weights.
pub(crate) struct WeightGradients<'a, C, E: Element> {
    sums: &'a Sums<'a, C, E>,
    /// The sums of products of gates with x, with h, and with a reset h.
    gates: Vec<Target<'a, E, 3>>,
    /// The sums for W_hr.
    projection: Target<'a, E, 1>,
    memory: &'a mut OuterMemory<E>,
}

/// Splits the work on a group's flat gradients into `parts` tasks.
pub(crate) fn split<'a, C: Cell, E: Element>(
    sums: &'a Sums<'a, C, E>,
    grads: &'a mut [E],
    parts: usize,
    memory: &'a mut [OuterMemory<E>],
    tasks: &mut Vec<WeightGradients<'a, C, E>>,
) {
    let Direction { input_size, hidden_size, proj_size, .. } = *sums.layer;
    let outputs = sums.layer.output_size();
    // With layer normalisation, biases are among the units' own weights.
    let biased = sums.layer.bias && !sums.layer.regular.layer_norm;
    let mut rest = grads;
    let [mut dw_ih, mut dw_hh, mut db_ih, mut db_hh, mut dw_hr, ..] =
        sums.layer.lengths().map(|len| take(&mut rest, len));
    let first_task = tasks.len();
    let mut first = 0;
    let rows_of_projection = threads::split(proj_size, parts).into_iter().chain([0].repeat(parts));
    for (memory, rows) in memory[..parts].iter_mut().zip(rows_of_projection) {
        let dw_hr = RowsMut::new(take(&mut dw_hr, rows * hidden_size), rows, hidden_size);
        let columns = first..first + rows;
        let projection = Target { columns, c: [Some(dw_hr)], sums: [None, None] };
        tasks.push(WeightGradients { sums, gates: Vec::new(), projection, memory });
        first += rows;
    }
    for (n, block) in sums.layer.blocks().iter().enumerate() {
        let mut first = block.slot * hidden_size;
        let resets = C::RESETS && n + 1 == C::BLOCKS.len();
        let split = threads::split(block.gates * hidden_size, parts);
        for (rows, task) in split.into_iter().zip(&mut tasks[first_task..]) {
            let of = |all: &mut &'a mut [E], wanted: bool, width: usize| {
                wanted.then(|| RowsMut::new(take(all, rows * width), rows, width))
            };
            let (from_x, from_h) = (block.x.is_some(), block.h.is_some());
            let c = [
                of(&mut dw_ih, from_x, input_size),
                of(&mut dw_hh, from_h && !resets, outputs),
                of(&mut dw_hh, from_h && resets, outputs),
            ];
            let sums = [
                (biased && from_x).then(|| take(&mut db_ih, rows)),
                (biased && from_h).then(|| take(&mut db_hh, rows)),
            ];
            task.gates.push(Target { columns: first..first + rows, c, sums });
            first += rows;
        }
    }
}

/// Takes the first `len` numbers off a slice.
fn take<'a, E>(from: &mut &'a mut [E], len: usize) -> &'a mut [E] {
    from.split_off_mut(..len).expect("gradients have the layer's length")
}

impl<'a, C: Cell, E: Element> Kernel<E> for WeightGradients<'a, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { sums, mut gates, projection, memory } = self;
        let Sums { layer, ref da, masked, .. } = *sums;
        let Group { x, y, h0, dh, first } = sums.group;
        let (steps, padded, slots) = (x.shape().steps, layer.padded(S::LANES), layer.slots());
        let mut projection = [projection];
        if sums.anew {
            for target in &mut gates {
                clear(s, target);
            }
            clear(s, &mut projection[0]);
        }
        // Steps are counted in the order in which they were computed.
        let nth = |k: usize| layer.nth_step(k, steps);
        let counts = |k: usize| x.count(nth(k));
        let record = |k: usize, b: usize| da.row(nth(k), first + b);
        let x_row = |k: usize, b: usize| x.step(nth(k)).row(b);
        let h_before = |k: usize, b: usize| match k.checked_sub(1).map(nth) {
            Some(before) if b < y.count(before) => y.step(before).row(b),
            _ => h0.row(b),
        };
        let given =
            |k: usize, b: usize| &record(k, b)[slots.given * padded..][..layer.output_size()];
        // In a cell that resets, the hidden operand of the last block is the last of the cell's values.
        let reset =
            |k: usize, b: usize| &record(k, b)[(C::TAPE - 1) * padded..][..layer.hidden_size];
        let from_h: &dyn Fn(usize, usize) -> &'a [E] = if masked { &given } else { &h_before };
        let mut products = OuterProducts {
            steps,
            counts: &counts,
            blocks: sums.blocks,
            width: layer.hidden_size,
            stride: padded,
            pairs: layer.compute == Compute::Bf16,
            memory,
        };
        products.add(s, record, [&x_row, from_h, &reset], &mut gates)?;
        if projection[0].columns.is_empty() {
            return Ok(());
        }
        (products.width, products.stride) = (layer.proj_size, layer.proj_size);
        let of_outputs = |k: usize, b: usize| dh.step(nth(k)).row(b);
        let projected =
            |k: usize, b: usize| &record(k, b)[slots.projected * padded..][..layer.hidden_size];
        products.add(s, of_outputs, [&projected], &mut projection)
    }
}

/// Sets the sums of a target to zero.
#[inline(always)]
fn clear<E: Element, S: Simd<E>, const N: usize>(s: S, target: &mut Target<'_, E, N>) {
    for c in target.c.iter_mut().flatten() {
        for row in 0..c.count() {
            s.clear(c.row_mut(row));
        }
    }
    for sums in target.sums.iter_mut().flatten() {
        s.clear(sums);
    }
}

/// Sets the gradients of the units' own weights to zero, in the flat gradients of a group. No product adds
/// to them.
pub(crate) fn clear_units<C: Cell, E: Element>(layer: &Direction<C>, grads: &mut [E]) {
    let [w_ih, w_hh, b_ih, b_hh, w_hr, ..] = layer.lengths();
    let biases = w_ih + w_hh;
    grads[biases..biases + b_ih + b_hh].fill(E::ZERO);
    grads[biases + b_ih + b_hh + w_hr..].fill(E::ZERO);
}

/// Adds the sums of all groups but the first, which lie in memory of their own, to a direction's flat
/// gradients.
pub(crate) fn add_groups<E: Element>(level: Level, groups: &[E], grads: &mut [E]) {
    for from in groups.chunks_exact(grads.len().max(1)) {
        level.run(AddScaled { to: grads, from, scale: E::ONE });
    }
}

/// Adds the gradients of the units' own weights, (B, units) from the backward pass, to a direction's flat
/// gradients.
pub(crate) fn add_units<C: Cell, E: Element>(
    level: Level,
    layer: &Direction<C>,
    dunits: Rows<'_, E>,
    padded: usize,
    grads: &mut [E],
) {
    let lengths = layer.lengths();
    for (parameter, first, count) in layer.unit_parameters() {
        let start: usize = lengths[..parameter].iter().sum();
        for b in 0..if count > 0 { dunits.count() } else { 0 } {
            let from = dunits.row(b)[first * padded..].chunks_exact(padded);
            let to = grads[start..].chunks_exact_mut(layer.hidden_size);
            for (to, from) in to.zip(from).take(count) {
                level.run(AddScaled { to, from, scale: E::ONE });
            }
        }
    }
}
