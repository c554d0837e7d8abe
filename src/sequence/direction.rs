//! One direction of one layer: its sizes, its share of the parameters, and how its records are laid out.

use std::any::TypeId;
use std::ops::Range;

use super::Compute;
use super::regular::Regularisation;
use super::tape::Recording;
use crate::cell::{Block, Cell};
use crate::crew::Member;
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
    pub regular: Regularisation,
    pub compute: Compute,
}

/// Its parameters: the names without layer and direction, and their order.
pub(super) const NAMES: [&str; 10] = [
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

/// Its parameters by name; empty where it has none.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, E> {
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

    /// Those of [`Direction::unit_parameters`], in its order.
    pub fn units(&self) -> [&'a [E]; 7] {
        let Self { bias_ih, bias_hh, peephole, gain_ih, gain_hh, gain_c, bias_c, .. } = *self;
        [bias_ih, bias_hh, peephole, gain_ih, gain_hh, gain_c, bias_c]
    }
}

/// Where the parts of a record begin, each `padded` numbers long. The cell's values come first, with layer
/// normalisation the arguments' parts from x and from h, normalised, next ([`Direction::blocks`]).
pub(super) struct Slots {
    /// c as it is read, normalised but for gain and bias.
    pub c: usize,
    /// What is projected.
    pub projected: usize,
    /// h as the products are given it, with dropout.
    pub given: usize,
    /// How much of the new h is kept (zoneout).
    pub kept: usize,
    /// All of them; behind them, with layer normalisation, the [`DEVIATIONS`].
    pub count: usize,
}

/// Room for one over the standard deviation of the parts from x, from h, and of c: a cache line.
pub(super) const DEVIATIONS: usize = 16;

/// Where a unit's own weights begin, each `padded` numbers long. The cell's come first.
pub(super) struct Units {
    pub gain_ih: usize,
    pub gain_hh: usize,
    pub bias_ih: usize,
    pub bias_hh: usize,
    pub gain_c: usize,
    pub bias_c: usize,
    pub count: usize,
}

impl<C: Cell> Direction<C> {
    /// With biases and no options.
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

    /// Where products leave the gates' arguments: in the places of the cell, or with layer normalisation,
    /// which needs what x and h contribute apart, behind its values.
    #[inline(always)]
    pub(super) fn blocks(&self) -> &'static [Block] {
        if self.regular.layer_norm { Apart::<C>::BLOCKS } else { C::BLOCKS }
    }

    #[inline(always)]
    pub(super) fn slots(&self) -> Slots {
        let mut count = C::TAPE;
        let mut next = |wanted: bool, slots: usize| {
            count += if wanted { slots } else { 0 };
            count - if wanted { slots } else { 0 }
        };
        let Regularisation { layer_norm, recurrent_dropout, zoneout } = self.regular;
        next(layer_norm, 2 * C::GATES);
        let c = next(layer_norm && C::HAS_C, 1);
        let projected = next(self.proj_size > 0, 1);
        let given = next(recurrent_dropout > 0.0, 1);
        let kept = next(zoneout > 0.0, 1);
        Slots { c, projected, given, kept, count }
    }

    #[inline(always)]
    pub(super) fn units(&self) -> Units {
        let mut count = self.cell.unit_weights();
        let mut next = |units: usize| {
            count += if self.regular.layer_norm { units } else { 0 };
            count - if self.regular.layer_norm { units } else { 0 }
        };
        let gain_ih = next(C::GATES);
        let gain_hh = next(C::GATES);
        let bias_ih = next(if self.bias { C::GATES } else { 0 });
        let bias_hh = next(if self.bias { C::GATES } else { 0 });
        let gain_c = next(usize::from(C::HAS_C));
        let bias_c = next(usize::from(C::HAS_C));
        Units { gain_ih, gain_hh, bias_ih, bias_hh, gain_c, bias_c, count }
    }

    /// The parameters that are a unit's own, as they lie in memory: where they begin in [`NAMES`], in
    /// [`Units`], and how many they are.
    pub(super) fn unit_parameters(&self) -> [(usize, usize, usize); 7] {
        let units = self.units();
        let (gates, c) =
            if self.regular.layer_norm { (C::GATES, usize::from(C::HAS_C)) } else { (0, 0) };
        let biases = if self.bias { gates } else { 0 };
        [
            (2, units.bias_ih, biases),
            (3, units.bias_hh, biases),
            (5, 0, self.cell.unit_weights()),
            (6, units.gain_ih, gates),
            (7, units.gain_hh, gates),
            (8, units.gain_c, c),
            (9, units.bias_c, c),
        ]
    }

    /// Whether what comes back to the cell is not simply dh + dy.
    #[inline(always)]
    pub(super) fn separates(&self) -> bool {
        let Regularisation { layer_norm, zoneout, .. } = self.regular;
        self.proj_size > 0 || zoneout > 0.0 || (layer_norm && C::HAS_C)
    }

    /// Numbers of a record.
    #[inline(always)]
    pub(super) fn record(&self, lanes: usize) -> usize {
        let deviations = if self.regular.layer_norm { DEVIATIONS } else { 0 };
        self.slots().count * self.padded(lanes) + deviations
    }

    /// K of a product over `k` numbers: in bf16, pairs.
    #[inline(always)]
    pub(super) fn k_of(&self, k: usize) -> usize {
        match self.compute {
            Compute::Own => k,
            Compute::Bf16 => k.div_ceil(2),
        }
    }

    /// Columns of where `k` numbers are rounded for products (pairs.rs): none if they are not.
    #[inline(always)]
    pub(super) fn rounded(&self, k: usize) -> usize {
        match self.compute {
            Compute::Own => 0,
            Compute::Bf16 => k.div_ceil(2),
        }
    }

    /// The columns of where x, and of where h or what is projected, is rounded forward.
    #[inline(always)]
    pub(super) fn rounded_forward(&self) -> [usize; 2] {
        [self.rounded(self.input_size), self.rounded(self.hidden_size)]
    }

    /// Those of where the gradients of gates, or what comes to a projection, are rounded going back.
    #[inline(always)]
    pub(super) fn rounded_back(&self) -> usize {
        C::GATES * self.rounded(self.hidden_size)
    }

    /// Whether threads can share a step, each with some of the units: if it is products and cells alone, and a
    /// member needs no memory of its own.
    pub(super) fn splits_units(&self) -> bool {
        let plain = Regularisation::default() == self.regular && self.compute == Compute::Own;
        plain && self.proj_size == 0 && !C::RESETS
    }

    /// A member's units: whole panels of a matrix that has the units as its columns.
    #[inline(always)]
    pub(super) fn units_of(&self, member: &Member<'_>, lanes: usize) -> Range<usize> {
        let panels = member.part(self.padded(lanes).div_ceil(2 * lanes));
        let end = self.hidden_size;
        (panels.start * 2 * lanes).min(end)..(panels.end * 2 * lanes).min(end)
    }

    /// The step that comes as number `k` of `steps`, and the other way round.
    #[inline(always)]
    pub(super) fn nth_step(&self, k: usize, steps: usize) -> usize {
        if self.reverse { steps - 1 - k } else { k }
    }

    /// Features of an output: H, or P with a projection.
    pub fn output_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// The lengths of the parameters in the order of [`NAMES`], 0 for those it does not have.
    pub(super) fn lengths(&self) -> [usize; NAMES.len()] {
        let (h, gates) = (self.hidden_size, C::GATES * self.hidden_size);
        let biases = if self.bias { gates } else { 0 };
        let gains = if self.regular.layer_norm { gates } else { 0 };
        let of_c = if self.regular.layer_norm && C::HAS_C { h } else { 0 };
        let weights = [gates * self.input_size, gates * self.output_size(), biases, biases];
        let [w_ih, w_hh, b_ih, b_hh] = weights;
        let peepholes = self.cell.unit_weights() * h;
        [w_ih, w_hh, b_ih, b_hh, self.proj_size * h, peepholes, gains, gains, of_c, of_c]
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
        Recording {
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
            record: self.record(level.lanes::<E>()),
        }
    }
}

/// The blocks of a cell whose arguments are normalised: of all gates from x, then from h.
struct Apart<C>(C);

impl<C: Cell> Apart<C> {
    const BLOCKS: &'static [Block] = &[
        Block { slot: C::TAPE, gates: C::GATES, x: Some(0), h: None },
        Block { slot: C::TAPE + C::GATES, gates: C::GATES, x: None, h: Some(0) },
    ];
}
