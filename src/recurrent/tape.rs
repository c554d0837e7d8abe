//! The tape: what a forward pass keeps for the backward pass.

use super::direction::PassKey;
use crate::buffer::Buffer;
use crate::matmul::outer::OuterMemory;
use crate::matmul::panel::Panels;
use crate::recurrent::direction::memory::{Records, TaskMemory};
use crate::recurrent::direction::packed::Packed;
use crate::simd::Element;
use crate::view::{BatchSizes, Rows};

/// What a forward pass keeps for the backward pass. Its memory is reused by the next call of the same sizes.
///
/// The tape holds the initial state and, for every step and row, a record: the cell's values of all units
/// (an LSTM's i, f, g, o, c), padded to whole vectors. The backward pass overwrites them with the gradients
/// of the gates' arguments, so a forward pass serves one backward pass.
///
/// A tape with checkpoints ([`Tape::set_checkpoints`]) holds only the states before every time chunk of about
/// sqrt(T) steps. The backward pass computes the chunks again, one at a time. The results have the same bits.
/// Memory grows with sqrt(T), and the backward pass takes the time of one more forward pass.
#[derive(Default)]
pub struct Tape<E: Element> {
    pub(super) mode: Mode,
    pub(super) checkpoints: bool,
    /// The mode of the pass that the tape holds; none if it holds no unused pass.
    pub(super) recorded: Option<Mode>,
    pub(super) sizes: Option<BatchSizes>,
    /// The tapes of every direction of every layer.
    pub(super) directions: Vec<DirectionTape<E>>,
    /// The numbers between two layers, for all layers but the last.
    pub(super) between: Vec<Between<E>>,
    /// The gradient of a layer's input from its second direction.
    pub(super) second_dx: Buffer<E>,
    pub(super) seeds: Seeds,
}

/// The seeds of dropout.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seeds {
    /// The seed of the next pass.
    pub next: u64,
    /// The seed of the last pass.
    pub drawn: u64,
}

/// What a forward pass does beside computing y.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// Whether the tape keeps the records.
    pub records: bool,
    /// Whether dropout and zoneout draw random numbers.
    pub trains: bool,
    /// Whether the weights are those of the last pass.
    pub same_weights: bool,
}

/// The numbers between two layers, (T, B, D H) each.
#[derive(Default)]
pub(crate) struct Between<E: Element> {
    pub output: Buffer<E>,
    /// The output after dropout; empty without dropout.
    pub dropped: Buffer<E>,
    pub gradient: Buffer<E>,
}

/// The tape of one direction of one layer.
#[derive(Default)]
pub(crate) struct DirectionTape<E: Element> {
    /// The pass that the tape holds; none if it holds no unused pass.
    pub recorded: Option<PassKey>,
    /// The memory of each task: its records of all steps ([`Direction::slots`](super::Direction)), or of one
    /// time chunk with checkpoints, and scratch memory for the steps.
    pub tasks: Vec<TaskMemory<E>>,
    /// h and c before the first step.
    pub initial: [Buffer<E>; 2],
    pub checkpoints: Checkpoints<E>,
    pub drawn: Drawn<E>,
    pub packed: Packed<E>,
    pub back: BackMemory<E>,
    pub sums: SumsMemory<E>,
}

/// The states before every time chunk; empty without checkpoints.
#[derive(Default)]
pub(crate) struct Checkpoints<E: Element> {
    /// h and c before every time chunk, in the order in which the chunks are computed.
    pub states: Vec<[Buffer<E>; 2]>,
    /// h, c and y of a time chunk that is computed again.
    pub again: [Buffer<E>; 3],
}

/// The random numbers of a pass.
#[derive(Default)]
pub(crate) struct Drawn<E: Element> {
    /// The seed of zoneout.
    pub seed: u64,
    /// The factors of recurrent dropout for h, (B, P); empty without recurrent dropout.
    pub mask: Buffer<E>,
}

/// Memory for the steps back.
#[derive(Default)]
pub(crate) struct BackMemory<E: Element> {
    /// W_hh, packed for dh, and W_ih, packed for dx, K = GATES * H.
    pub hidden: Panels<E>,
    pub input: Panels<E>,
    /// W_hr, or the block of W_hh for the reset h, packed.
    pub projection: Panels<E>,
    /// With a projection, the gradient of every output, (T, B, P).
    pub dh: Buffer<E>,
    /// The gradients of the units' own weights, for every row (B, units).
    pub dunits: Buffer<E>,
}

/// Memory for the sums over steps and rows, which are the weights' gradients (backward/weights.rs).
#[derive(Default)]
pub(crate) struct SumsMemory<E: Element> {
    /// The number of rows of each group.
    pub groups: Vec<usize>,
    /// Whether the sums of all groups but the first start from zero.
    pub anew: bool,
    /// The sums of all groups but the first, flat.
    pub of_groups: Buffer<E>,
    /// The first step of every block of steps.
    pub blocks: Vec<usize>,
    /// The memory of the tasks that compute the sums.
    pub outer: Vec<OuterMemory<E>>,
}

impl<E: Element> Drawn<E> {
    /// The mask of recurrent dropout, (B, P); none without recurrent dropout.
    pub fn mask(&self, rows: usize, outputs: usize) -> Option<Rows<'_, E>> {
        (!self.mask.is_empty()).then(|| Rows::new(&self.mask, rows, outputs))
    }
}

impl<E: Element> Tape<E> {
    /// A tape for training: forward passes draw dropout and keep what the backward pass needs.
    pub fn new() -> Self {
        Self { mode: Mode { records: true, trains: true, same_weights: false }, ..Self::default() }
    }

    /// A tape for inference: forward passes without dropout, and no backward pass. It only reuses memory.
    pub fn for_inference() -> Self {
        Self::default()
    }

    /// A tape for looking at values: forward passes without dropout, whose values [`Tape::values`] returns.
    pub fn for_looking() -> Self {
        Self { mode: Mode { records: true, trains: false, same_weights: false }, ..Self::default() }
    }

    /// Sets whether later forward passes are training passes, as with [`Tape::new`], or inference, as with
    /// [`Tape::for_inference`].
    pub fn set_recording(&mut self, records: bool) {
        self.mode = Mode { records, trains: records, ..self.mode };
    }

    /// Sets whether later forward passes keep only checkpoints; see [`Tape`].
    pub fn set_checkpoints(&mut self, checkpoints: bool) {
        self.checkpoints = checkpoints;
    }

    /// Sets the seed of the next pass's dropout and zoneout. Every later pass uses a new seed, derived from
    /// this one.
    pub fn set_seed(&mut self, seed: u64) {
        self.seeds.next = seed;
    }

    /// Sets whether the weights of later passes are the same numbers as in the last pass. If so, they stay
    /// packed.
    pub fn set_same_weights(&mut self, same: bool) {
        self.mode.same_weights = same;
    }

    /// About how many numbers the tape holds: the records and the outputs between layers.
    #[allow(clippy::len_without_is_empty)] // a size of memory, not a number of items
    pub fn len(&self) -> usize {
        let records = self.directions.iter().flat_map(|record| &record.tasks).map(TaskMemory::len);
        let between = self.between.iter();
        let between = between
            .map(|layers| layers.output.len() + layers.dropped.len() + layers.gradient.len());
        records.chain(between).sum()
    }

    /// One of the cell's values in the pass that the tape holds, for every step, row and unit (T, B, H).
    /// `slot` is its place in the cell's list (an LSTM's i, f, g, o, c), and `direction` counts the
    /// directions of all layers. None if there is no such value, or the tape holds only checkpoints.
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

    /// Whether the tape holds a forward pass that no backward pass has used yet.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }
}
