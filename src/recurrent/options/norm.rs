//! Layer normalisation (Ba, Kiros and Hinton 2016), as haste and torch's layer_norm define it.
//!
//! ```text
//! LN(a) = (a - mean a) / sqrt(var a + eps)           over all gates and units of a row
//! from x = gain_ih LN(W_ih x) + b_ih                 from h = gain_hh LN(W_hh h) + b_hh
//! arguments = from x + from h                        (separate if the cell has separate slots)
//! h = o tanh(gain_c LN(c) + bias_c)                  in a cell with a c, over all units of a row
//! ```
//!
//! Records keep the normalised numbers and 1 / (standard deviation). Let a be the n normalised numbers, d
//! their gradients after the gain, and g = gain d. Then the gradient of the input is (g - sum g / n - a
//! sum(g a) / n) / deviation.

use crate::cell::Cell;
use crate::math::normalise::{normalise, total};
use crate::recurrent::direction::Direction;
use crate::recurrent::direction::record::{load, store};
use crate::simd::{Element, Simd};
use crate::view::UnitLanes;

/// The number that is added to the variance.
pub const EPSILON: f64 = 1e-5;

/// What x, or what h, contributes to the arguments: its first slot in the record, and the first places of
/// its gains and biases.
struct Side {
    from_x: bool,
    first: usize,
    gain: usize,
    bias: usize,
}

/// Iterates over the gates of a side: (gate, slot of its argument).
#[inline(always)]
fn gates<C: Cell>(from_x: bool) -> impl Iterator<Item = (usize, usize)> {
    C::BLOCKS.iter().flat_map(move |block| {
        let first = if from_x { block.x } else { block.h };
        let count = if first.is_some() { block.gates } else { 0 };
        (0..count).map(move |g| (first.unwrap_or(0) + g, block.slot + g))
    })
}

#[inline(always)]
fn sides<C: Cell>(layer: &Direction<C>) -> [Side; 2] {
    let units = layer.units();
    [
        Side { from_x: true, first: C::TAPE, gain: units.gain_ih, bias: units.bias_ih },
        Side { from_x: false, first: C::TAPE + C::GATES, gain: units.gain_hh, bias: units.bias_hh },
    ]
}

/// Turns the products of a row into the cell's arguments.
#[inline(always)]
pub(crate) fn arguments<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    units: &[E],
    record: &mut [E],
) {
    let (hidden, padded) = (layer.hidden_size, layer.padded(S::LANES));
    let deviations = layer.slots().count * padded;
    for (n, side) in sides(layer).into_iter().enumerate() {
        let products = &mut record[side.first * padded..];
        let scale = normalise(s, products, C::GATES, hidden, padded, EPSILON);
        record[deviations + n] = scale;
        for (gate, slot) in gates::<C>(side.from_x) {
            // The second side adds to the first, if the gate needs the sum.
            let adds = !side.from_x && gates::<C>(true).any(|(_, other)| other == slot);
            for unit in (0..hidden).step_by(S::LANES) {
                let gain = s.load(&units[(side.gain + gate) * padded + unit..]);
                let normal = s.load(&record[(side.first + gate) * padded + unit..]);
                let mut sum = s.splat(E::ZERO);
                if layer.bias {
                    sum = s.load(&units[(side.bias + gate) * padded + unit..]);
                }
                let to = &mut record[slot * padded + unit..];
                if adds {
                    sum = s.add(sum, s.load(to));
                }
                s.store(to, s.mul_add(gain, normal, sum));
            }
        }
    }
}

/// Goes back through [`arguments`]. It computes the gradients of the products, in place of the normalised
/// numbers, from the gradients of the row's arguments. It adds the gradients of gains and biases to
/// `dunits`.
#[inline(always)]
pub(crate) fn arguments_back<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    units: &[E],
    record: &mut [E],
    dunits: &mut [E],
) {
    let (hidden, padded) = (layer.hidden_size, layer.padded(S::LANES));
    let deviations = layer.slots().count * padded;
    let count = E::from_f64((C::GATES * hidden) as f64);
    for (n, side) in sides(layer).into_iter().enumerate() {
        let scale = s.splat(record[deviations + n]);
        let (mut of_g, mut of_ga) = (s.splat(E::ZERO), s.splat(E::ZERO));
        for (gate, slot) in gates::<C>(side.from_x) {
            for unit in (0..hidden).step_by(S::LANES) {
                let span = |slot: usize| slot * padded + unit..slot * padded + hidden;
                let d = s.load(&record[span(slot)]);
                let a = s.load(&record[span(side.first + gate)]);
                let g = s.mul(s.load(&units[span(side.gain + gate)]), d);
                of_g = s.add(of_g, g);
                of_ga = s.mul_add(g, a, of_ga);
                let dgain = &mut dunits[span(side.gain + gate)];
                s.store(dgain, s.mul_add(d, a, s.load(dgain)));
                if layer.bias {
                    let dbias = &mut dunits[span(side.bias + gate)];
                    s.store(dbias, s.add(d, s.load(dbias)));
                }
            }
        }
        let (of_g, of_ga) = (s.splat(total(s, of_g) / count), s.splat(total(s, of_ga) / count));
        for (gate, slot) in gates::<C>(side.from_x) {
            for unit in (0..hidden).step_by(S::LANES) {
                let span = |slot: usize| slot * padded + unit..slot * padded + hidden;
                let d = s.load(&record[span(slot)]);
                let a = s.load(&record[span(side.first + gate)]);
                let g = s.mul(s.load(&units[span(side.gain + gate)]), d);
                let d = s.mul(scale, s.neg_mul_add(a, of_ga, s.sub(g, of_g)));
                s.store(&mut record[span(side.first + gate)], d);
            }
        }
    }
}

/// Computes a row's new h from its normalised c. It goes to `h`; if there is no `h`, to the slot of the
/// projection's input.
#[inline(always)]
pub(crate) fn output<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    units: &[E],
    record: &mut [E],
    mut h: Option<&mut [E]>,
) {
    let (hidden, padded, slots) = (layer.hidden_size, layer.padded(S::LANES), layer.slots());
    let at = layer.units();
    let c = (C::TAPE - 1) * padded;
    record.copy_within(c..c + hidden, slots.c * padded);
    let scale = normalise(s, &mut record[slots.c * padded..], 1, hidden, padded, EPSILON);
    record[slots.count * padded + 2] = scale;
    for unit in (0..hidden).step_by(S::LANES) {
        let values = load::<C, E, S>(s, &UnitLanes::new(record, C::TAPE, padded), unit);
        let gain = s.load(&units[at.gain_c * padded + unit..]);
        let bias = s.load(&units[at.bias_c * padded + unit..]);
        let c = s.mul_add(gain, s.load(&record[slots.c * padded + unit..]), bias);
        let new = layer.cell.output(s, &values[..C::TAPE], s.splat(E::ZERO), c);
        match &mut h {
            Some(h) => s.store(&mut h[unit..], new),
            None => s.store(&mut record[slots.projected * padded + unit..], new),
        }
    }
}

/// Goes back through [`output`]. It adds to the gradient of c, from `dh`, the gradient of the row's h.
#[inline(always)]
pub(crate) fn output_back<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    units: &[E],
    record: &mut [E],
    dh: &[E],
    (dc, dunits): (&mut [E], &mut [E]),
) {
    let (hidden, padded, slots) = (layer.hidden_size, layer.padded(S::LANES), layer.slots());
    let at = layer.units();
    let scale = s.splat(record[slots.count * padded + 2]);
    let (mut of_g, mut of_ga) = (s.splat(E::ZERO), s.splat(E::ZERO));
    let span = |slot: usize, unit: usize| slot * padded + unit..slot * padded + hidden;
    for unit in (0..hidden).step_by(S::LANES) {
        let mut values = load::<C, E, S>(s, &UnitLanes::new(record, C::TAPE, padded), unit);
        let a = s.load(&record[span(slots.c, unit)]);
        let gain = s.load(&units[span(at.gain_c, unit)]);
        let c = s.mul_add(gain, a, s.load(&units[span(at.bias_c, unit)]));
        let d = layer.cell.output_back(s, &mut values[..C::TAPE], c, s.load(&dh[unit..hidden]));
        store(s, &values[..C::TAPE], &mut UnitLanes::new(record, C::TAPE, padded), unit);
        let dgain = &mut dunits[span(at.gain_c, unit)];
        s.store(dgain, s.mul_add(d, a, s.load(dgain)));
        let dbias = &mut dunits[span(at.bias_c, unit)];
        s.store(dbias, s.add(d, s.load(dbias)));
        let g = s.mul(gain, d);
        of_g = s.add(of_g, g);
        of_ga = s.mul_add(g, a, of_ga);
        let dc = &mut dc[unit..hidden];
        s.store(dc, s.mul_add(scale, g, s.load(dc)));
    }
    let count = E::from_f64(hidden as f64);
    let (of_g, of_ga) = (s.splat(total(s, of_g) / count), s.splat(total(s, of_ga) / count));
    for unit in (0..hidden).step_by(S::LANES) {
        let a = s.load(&record[span(slots.c, unit)]);
        let dc = &mut dc[unit..hidden];
        s.store(dc, s.neg_mul_add(scale, s.mul_add(a, of_ga, of_g), s.load(dc)));
    }
}
