//! The state of a layer, and the tape: what a forward pass leaves for the backward pass.

use super::direction::PassKey;
use crate::buffer::Buffer;
use crate::matmul::outer::OuterMemory;
use crate::matmul::panel::Panels;
use crate::recurrent::direction::memory::{Records, TaskMemory};
use crate::recurrent::direction::packed::Packed;
use crate::simd::Element;
use crate::view::BatchSizes;

/// What a layer keeps of a forward pass for the backward pass, and memory that both use again when
/// the next call has the same sizes.
///
/// Recorded: for every unit and step, the cell's values (an LSTM's i, f, g, o, c), padded to whole
/// vectors, and the initial state. The backward pass writes the gradients of the gates' arguments
/// over them, so a recording serves one backward pass.
///
/// A tape with checkpoints ([`Tape::set_checkpoints`]) records the states before every part of about
/// sqrt(T) steps instead, and the backward pass computes the parts again, one at a time: the same bits,
/// in memory that grows with sqrt(T), for one more forward pass.
#[derive(Default)]
pub struct Tape<E: Element> {
    pub(super) mode: Mode,
    pub(super) checkpoints: bool,
    /// How the pass that it holds was recorded.
    pub(super) recorded: Option<Mode>,
    pub(super) sizes: Option<BatchSizes>,
    /// Of every direction of every layer.
    pub(super) directions: Vec<DirectionTape<E>>,
    /// Between layers.
    pub(super) between: Vec<Between<E>>,
    /// The gradient of a layer's input from its second direction.
    pub(super) second_dx: Buffer<E>,
    /// What dropout draws from, next time and the last time.
    pub(super) seed: u64,
    pub(super) drawn: u64,
}

/// What a forward pass does beside computing y.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// It is recorded.
    pub records: bool,
    /// Dropout and zoneout draw.
    pub trains: bool,
    /// The weights are those of the last pass.
    pub same_weights: bool,
}

/// What lies between two layers, (T, B, D H) each.
#[derive(Default)]
pub(crate) struct Between<E: Element> {
    pub output: Buffer<E>,
    /// The output after dropout, if there is any.
    pub dropped: Buffer<E>,
    pub gradient: Buffer<E>,
}

/// A direction's part of a tape.
#[derive(Default)]
pub(crate) struct DirectionTape<E: Element> {
    pub recorded: Option<PassKey>,
    /// The tasks' records, being what [`Direction::slots`](super::Direction) says, of every step, with
    /// checkpoints of one part's, and their memory for the steps.
    pub shares: Vec<TaskMemory<E>>,
    /// h and c before the first step.
    pub initial: [Buffer<E>; 2],
    /// With checkpoints, h and c before every part, in the order in which they are computed.
    pub checkpoints: Vec<[Buffer<E>; 2]>,
    /// And a part's state and outputs, computed again.
    pub again: [Buffer<E>; 3],
    /// What zoneout draws from.
    pub seed: u64,
    /// What recurrent dropout multiplies h with, (B, P); empty without.
    pub mask: Buffer<E>,
    /// With a projection, the gradient of every output, (T, B, P).
    pub dh: Buffer<E>,
    /// The gradients of the units' own weights, of every row: see [`Backward`](super::Backward).
    pub dunits: Buffer<E>,
    /// Packed, and for what layer and level.
    pub packed: Packed<E>,
    pub packed_for: Option<PassKey>,
    /// For going back: W_hh for dh, W_ih for dx, K = GATES * H, and W_hr, or what a reset h is multiplied with.
    pub hidden_weights: Panels<E>,
    pub input_weights: Panels<E>,
    pub projection: Panels<E>,
    /// For the weights' gradients: the rows of each group, whether their sums begin anew, those of the groups
    /// behind the first, the blocks of steps, and tasks' memory.
    pub groups: Vec<usize>,
    pub anew: bool,
    pub group_sums: Buffer<E>,
    pub blocks: Vec<usize>,
    pub outer: Vec<OuterMemory<E>>,
}

impl<E: Element> Tape<E> {
    /// A tape that records forward passes.
    pub fn new() -> Self {
        Self { mode: Mode { records: true, trains: true, same_weights: false }, ..Self::default() }
    }

    /// A tape that keeps nothing but memory: forward passes only.
    pub fn for_inference() -> Self {
        Self::default()
    }

    /// A tape that records what passes for inference compute, without dropout, to look at with
    /// [`Tape::values`].
    pub fn for_looking() -> Self {
        Self { mode: Mode { records: true, trains: false, same_weights: false }, ..Self::default() }
    }

    /// Whether forward passes are recorded, and with dropout, from now on.
    pub fn set_recording(&mut self, records: bool) {
        self.mode = Mode { records, trains: records, ..self.mode };
    }

    /// Whether passes that are recorded from now on keep checkpoints only.
    pub fn set_checkpoints(&mut self, checkpoints: bool) {
        self.checkpoints = checkpoints;
    }

    /// What the dropout of the next recorded pass draws from; every pass after it draws anew.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Whether the weights of passes from now on hold the same numbers as those of the last one: then they
    /// stay packed.
    pub fn set_same_weights(&mut self, same: bool) {
        self.mode.same_weights = same;
    }

    /// About how many numbers it holds: its records, and what lies between layers.
    #[allow(clippy::len_without_is_empty)] // it has memory, not items
    pub fn len(&self) -> usize {
        let records = self.directions.iter().flat_map(|record| &record.shares).map(TaskMemory::len);
        let between = self.between.iter();
        let between = between
            .map(|layers| layers.output.len() + layers.dropped.len() + layers.gradient.len());
        records.chain(between).sum()
    }

    /// One of the cell's values in the recorded pass, as it is listed with the cell (an LSTM's i, f, g, o,
    /// c), for every step, row and unit, of one direction of one layer; none if there is no such, or only
    /// checkpoints are kept.
    pub fn values(&self, direction: usize, slot: usize) -> Option<Vec<E>> {
        let record = self.directions.get(direction).filter(|_| self.is_recorded())?;
        let kept = record.checkpoints.is_empty();
        let key = record.recorded.filter(|key| kept && slot < key.values)?;
        let records = Records::new(&record.shares, key.record).ok()?;
        let count = |t| self.sizes.as_ref().map_or(key.rows, |sizes| sizes.count(t));
        let mut values = Vec::new();
        for (t, b) in (0..key.steps).flat_map(|t| (0..count(t)).map(move |b| (t, b))) {
            let record = &records.row(t, b)[slot * key.padded..];
            values.extend_from_slice(&record[..key.hidden_size]);
        }
        Some(values)
    }

    /// Whether it holds a forward pass that has not been used yet.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }
}
