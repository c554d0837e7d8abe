//! The layout of a record, and of the units' own weights.

use super::{Direction, Regularisation};
use crate::cell::Cell;

/// The slots of a record, each `padded` numbers long. The cell's values come first. With layer
/// normalisation, what x and what h contributes to the arguments follows, normalised
/// ([`Direction::blocks`]).
pub(crate) struct Slots {
    /// The normalised c, before gain and bias.
    pub c: usize,
    /// The input of the projection.
    pub projected: usize,
    /// h with recurrent dropout, as the products use it.
    pub given: usize,
    /// The factor of the new h in zoneout.
    pub kept: usize,
    /// The number of slots. With layer normalisation, [`DEVIATIONS`] numbers follow the slots.
    pub count: usize,
}

/// Room for 1 / (standard deviation) of what x contributes, of what h contributes, and of c: a cache line.
pub(crate) const DEVIATIONS: usize = 16;

/// The places of the units' own weights, each `padded` numbers long. The cell's own weights come first.
pub(crate) struct Units {
    pub gain_ih: usize,
    pub gain_hh: usize,
    pub bias_ih: usize,
    pub bias_hh: usize,
    pub gain_c: usize,
    pub bias_c: usize,
    pub count: usize,
}

impl<C: Cell> Direction<C> {
    #[inline(always)]
    pub(crate) fn slots(&self) -> Slots {
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
    pub(crate) fn units(&self) -> Units {
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

    /// The parameters that are units' own weights, in the order of memory. For each: its index in
    /// [`NAMES`](super::NAMES), its first place in [`Units`], and its number of places.
    pub(crate) fn unit_parameters(&self) -> [(usize, usize, usize); 7] {
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

    /// The length of a record.
    #[inline(always)]
    pub(crate) fn record_len(&self, lanes: usize) -> usize {
        let deviations = if self.regular.layer_norm { DEVIATIONS } else { 0 };
        self.slots().count * self.padded(lanes) + deviations
    }
}
