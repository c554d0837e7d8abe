//! One direction of one layer: its sizes, its parameters, and the layout of its records.

pub(crate) mod memory;
pub(crate) mod packed;
pub(crate) mod record;
mod slots;

use std::any::TypeId;
use std::ops::Range;

use crate::cell::{Block, Cell};
use crate::simd::{Element, Level};
use crate::threads::team::Member;
use crate::view::{Seq, Shape};

/// The number type of a layer's products. Sums, cells, states, records, parameters and gradients always have
/// the type of the caller's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// The type of the caller's numbers.
    #[default]
    Own,
    /// Both factors of every product, also for gradients, are rounded to bf16, which has 8 bits of
    /// precision. Only for `f32`. It is twice as fast if the machine has AVX512_BF16, and slow on other
    /// machines, with the same results.
    Bf16,
}

/// The options inside the recurrence. All are off by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Regularisation {
    pub layer_norm: bool,
    /// The probability that a unit is dropped.
    pub recurrent_dropout: f64,
    /// The probability that a unit keeps its h.
    pub zoneout: f64,
}

/// One direction of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direction<C> {
    pub cell: C,
    pub input_size: usize,
    pub hidden_size: usize,
    pub bias: bool,
    /// P, or 0 without a projection.
    pub proj_size: usize,
    /// Whether the direction goes from the last step to the first.
    pub reverse: bool,
    pub regular: Regularisation,
    pub compute: Compute,
}

/// The names of a direction's parameters, in order, without the suffix for layer and direction.
pub(crate) const NAMES: [&str; 10] = [
    "weight_ih",
    "weight_hh",
    "bias_ih",
    "bias_hh",
    "weight_hr",
    "peephole",
    "gain_ih",
    "gain_hh",
    "gain_c",
    "bias_c",
];

/// The parameters of a direction, one field for each of [`NAMES`]. Parameters that it does not have are
/// empty.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a, E> {
    pub weight_ih: &'a [E],
    pub weight_hh: &'a [E],
    pub bias_ih: &'a [E],
    pub bias_hh: &'a [E],
    pub weight_hr: &'a [E],
    pub peephole: &'a [E],
    pub gain_ih: &'a [E],
    pub gain_hh: &'a [E],
    pub gain_c: &'a [E],
    pub bias_c: &'a [E],
}

impl<'a, E> Weights<'a, E> {
    /// The parameters in the order of [`NAMES`].
    pub fn new(parts: [&'a [E]; NAMES.len()]) -> Self {
        let [
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            weight_hr,
            peephole,
            gain_ih,
            gain_hh,
            gain_c,
            bias_c,
        ] = parts;
        Self {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            weight_hr,
            peephole,
            gain_ih,
            gain_hh,
            gain_c,
            bias_c,
        }
    }

    /// The parameters of [`Direction::unit_parameters`], in the same order.
    pub fn units(&self) -> [&'a [E]; 7] {
        let Self { bias_ih, bias_hh, peephole, gain_ih, gain_hh, gain_c, bias_c, .. } = *self;
        [bias_ih, bias_hh, peephole, gain_ih, gain_hh, gain_c, bias_c]
    }
}

impl<C: Cell> Direction<C> {
    /// A direction with biases and without options.
    pub fn new(cell: C, input_size: usize, hidden_size: usize) -> Self {
        let regular = Regularisation::default();
        let compute = Compute::Own;
        Self {
            cell,
            input_size,
            hidden_size,
            bias: true,
            proj_size: 0,
            reverse: false,
            regular,
            compute,
        }
    }

    /// The blocks of gates, one product each. The products write to the cell's own slots. Layer normalisation
    /// needs the products with x and with h separately: then they write to slots behind the cell's values.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> &'static [Block] {
        if self.regular.layer_norm { Apart::<C>::BLOCKS } else { C::BLOCKS }
    }

    /// Whether the gradient of the cell's output differs from dh + dy.
    #[inline(always)]
    pub(crate) fn separates(&self) -> bool {
        let Regularisation { layer_norm, zoneout, .. } = self.regular;
        self.proj_size > 0 || zoneout > 0.0 || (layer_norm && C::HAS_C)
    }

    /// K of a product over `k` numbers. In bf16, it counts pairs.
    #[inline(always)]
    pub(crate) fn k_of(&self, k: usize) -> usize {
        match self.compute {
            Compute::Own => k,
            Compute::Bf16 => k.div_ceil(2),
        }
    }

    /// How many columns the memory for `k` rounded numbers has (matmul/bf16.rs); 0 if products do not round.
    #[inline(always)]
    pub(crate) fn rounded(&self, k: usize) -> usize {
        match self.compute {
            Compute::Own => 0,
            Compute::Bf16 => k.div_ceil(2),
        }
    }

    /// How many columns the memory for the rounded x, and for the rounded h or projection input, has in a
    /// step forward.
    #[inline(always)]
    pub(crate) fn rounded_forward(&self) -> [usize; 2] {
        [self.rounded(self.input_size), self.rounded(self.hidden_size)]
    }

    /// How many columns the memory for the rounded gradients of gates, or of a projection's output, has in a
    /// step back.
    #[inline(always)]
    pub(crate) fn rounded_back(&self) -> usize {
        C::GATES * self.rounded(self.hidden_size)
    }

    /// Whether the members of a team can divide the units of a step. They can if a step consists of products
    /// and cells alone, so that a member needs no memory of its own.
    pub(crate) fn splits_units(&self) -> bool {
        let plain = Regularisation::default() == self.regular && self.compute == Compute::Own;
        plain && self.proj_size == 0 && !C::RESETS
    }

    /// The units of a member: whole panels of a matrix whose columns are the units.
    #[inline(always)]
    pub(crate) fn units_of(&self, member: &Member<'_>, lanes: usize) -> Range<usize> {
        let panels = member.part(self.padded(lanes).div_ceil(2 * lanes));
        let end = self.hidden_size;
        (panels.start * 2 * lanes).min(end)..(panels.end * 2 * lanes).min(end)
    }

    /// The step that is computed as number `k` of `steps`, and also the number of step `k`.
    #[inline(always)]
    pub(crate) fn nth_step(&self, k: usize, steps: usize) -> usize {
        if self.reverse { steps - 1 - k } else { k }
    }

    /// The number of output features: H, or P with a projection.
    pub fn output_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// The lengths of the parameters, in the order of [`NAMES`]; 0 for parameters that the direction does
    /// not have.
    pub(crate) fn lengths(&self) -> [usize; NAMES.len()] {
        let (h, gates) = (self.hidden_size, C::GATES * self.hidden_size);
        let biases = if self.bias { gates } else { 0 };
        let gains = if self.regular.layer_norm { gates } else { 0 };
        let of_c = if self.regular.layer_norm && C::HAS_C { h } else { 0 };
        let weights = [gates * self.input_size, gates * self.output_size(), biases, biases];
        let [w_ih, w_hh, b_ih, b_hh] = weights;
        let peepholes = self.cell.unit_weights() * h;
        [w_ih, w_hh, b_ih, b_hh, self.proj_size * h, peepholes, gains, gains, of_c, of_c]
    }

    /// H, rounded up to whole vectors.
    #[inline(always)]
    pub fn padded(&self, lanes: usize) -> usize {
        self.hidden_size.next_multiple_of(lanes)
    }

    /// The number of operations in the products of a forward pass.
    pub(crate) fn flops<E>(&self, x: Seq<'_, E>) -> usize {
        let outputs = self.output_size();
        let step = C::GATES * self.hidden_size * (self.input_size + outputs)
            + self.proj_size * self.hidden_size;
        x.total().saturating_mul(2 * step)
    }

    pub(crate) fn pass_key<E: Element>(&self, x: Shape, level: Level) -> PassKey {
        PassKey {
            level,
            steps: x.steps,
            rows: x.rows,
            input_size: self.input_size,
            hidden_size: self.hidden_size,
            proj_size: self.proj_size,
            reverse: self.reverse,
            regular: self.regular,
            compute: self.compute,
            cell: (TypeId::of::<C>(), self.cell.variant()),
            values: C::TAPE,
            padded: self.padded(level.lanes::<E>()),
            record: self.record_len(level.lanes::<E>()),
        }
    }
}

/// Which forward pass a direction tape holds. It has one field for each thing that a backward pass must have
/// in common with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PassKey {
    pub(crate) level: Level,
    pub(crate) steps: usize,
    pub(crate) rows: usize,
    pub(crate) input_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) proj_size: usize,
    pub(crate) reverse: bool,
    pub(crate) regular: Regularisation,
    pub(crate) compute: Compute,
    pub(crate) cell: (TypeId, u64),
    /// The number of the cell's values, and the length of a slot.
    pub(crate) values: usize,
    pub(crate) padded: usize,
    /// The length of a record.
    pub(crate) record: usize,
}

/// The blocks of a cell with layer normalisation: what x contributes to all gates, then what h contributes.
struct Apart<C>(C);

impl<C: Cell> Apart<C> {
    const BLOCKS: &'static [Block] = &[
        Block { slot: C::TAPE, gates: C::GATES, x: Some(0), h: None },
        Block { slot: C::TAPE + C::GATES, gates: C::GATES, x: None, h: Some(0) },
    ];
}
