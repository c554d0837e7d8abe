//! The tape: what a forward pass leaves for the backward pass.

use super::direction::PassKey;
use crate::buffer::Buffer;
use crate::matmul::outer::OuterMemory;
use crate::matmul::panel::Panels;
use crate::recurrent::direction::memory::{Records, TaskMemory};
use crate::recurrent::direction::packed::Packed;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows};

/// What a layer keeps of a forward pass for the backward pass, and memory that both use again when
/// the next call has the same sizes.
///
/// Recorded: for every unit and step, the cell's values (an LSTM's i, f, g, o, c), padded to whole
/// vectors, and the initial state. The backward pass writes the gradients of the gates' arguments
/// over them, so a recording serves one backward pass.
///
/// A tape with checkpoints ([`Tape::set_checkpoints`]) records only the states before every chunk of about
/// sqrt(T) steps. The backward pass computes the chunks again, one at a time. The results have the same bits;
/// memory grows with sqrt(T), and there is one more forward pass.
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
    pub(super) seeds: Seeds,
}

/// What dropout draws from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seeds {
    /// The next time.
    pub next: u64,
    /// The last time.
    pub drawn: u64,
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

/// The tape of one direction of one layer.
#[derive(Default)]
pub(crate) struct DirectionTape<E: Element> {
    /// The pass that is recorded and not used yet.
    pub recorded: Option<PassKey>,
    /// What each task has for itself: the records of every step ([`Direction::slots`](super::Direction)), with
    /// checkpoints those of one chunk, and memory for the steps.
    pub tasks: Vec<TaskMemory<E>>,
    /// h and c before the first step.
    pub initial: [Buffer<E>; 2],
    pub checkpoints: Checkpoints<E>,
    pub drawn: Drawn<E>,
    pub packed: Packed<E>,
    pub back: BackMemory<E>,
    pub sums: SumsMemory<E>,
}

/// The states before every chunk of steps, if the tape has checkpoints.
#[derive(Default)]
pub(crate) struct Checkpoints<E: Element> {
    /// h and c before every chunk, in the order in which the chunks are computed.
    pub states: Vec<[Buffer<E>; 2]>,
    /// The state and the outputs of a chunk that is computed again.
    pub again: [Buffer<E>; 3],
}

/// What dropout and zoneout drew in a pass.
#[derive(Default)]
pub(crate) struct Drawn<E: Element> {
    /// What zoneout draws from.
    pub seed: u64,
    /// What recurrent dropout multiplies h with, (B, P); empty without.
    pub mask: Buffer<E>,
}

/// Memory of the steps back.
#[derive(Default)]
pub(crate) struct BackMemory<E: Element> {
    /// W_hh packed for dh, and W_ih for dx, K = GATES * H.
    pub hidden: Panels<E>,
    pub input: Panels<E>,
    /// W_hr, or what a reset h is multiplied with.
    pub projection: Panels<E>,
    /// With a projection, the gradient of every output, (T, B, P).
    pub dh: Buffer<E>,
    /// The gradients of the units' own weights, of every row (B, units).
    pub dunits: Buffer<E>,
}

/// Memory of the sums that are the weights' gradients (backward/weights.rs).
#[derive(Default)]
pub(crate) struct SumsMemory<E: Element> {
    /// The rows of each group.
    pub groups: Vec<usize>,
    /// Whether the sums of the groups behind the first begin anew.
    pub anew: bool,
    /// These sums, flat.
    pub of_groups: Buffer<E>,
    /// The first step of every block of steps.
    pub blocks: Vec<usize>,
    /// The tasks' memory.
    pub outer: Vec<OuterMemory<E>>,
}

impl<E: Element> Drawn<E> {
    /// The mask of recurrent dropout, (B, P), if there is any.
    pub fn mask(&self, rows: usize, outputs: usize) -> Option<Rows<'_, E>> {
        (!self.mask.is_empty()).then(|| Rows::new(&self.mask, rows, outputs))
    }
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
        self.seeds.next = seed;
    }

    /// Whether the weights of passes from now on hold the same numbers as those of the last one: then they
    /// stay packed.
    pub fn set_same_weights(&mut self, same: bool) {
        self.mode.same_weights = same;
    }

    /// About how many numbers it holds: its records, and what lies between layers.
    #[allow(clippy::len_without_is_empty)] // it has memory, not items
    pub fn len(&self) -> usize {
        let records = self.directions.iter().flat_map(|record| &record.tasks).map(TaskMemory::len);
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
        let kept = record.checkpoints.states.is_empty();
        let key = record.recorded.filter(|key| kept && slot < key.values)?;
        let records = Records::new(&record.tasks, key.record).ok()?;
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
