//! The notebook's training: gradient descent on one sequence after the other, with clipped gradients.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::board::Board;
use super::kind::{Gradient, Kind, Sizes};
use super::network::LabNetwork;
use super::output::{Output, UnpackOutput};
use super::published::EPSILON;
use super::step::{Descent, Run, Sequence};
use super::unit_block::{UnitBlock, UnpackUnits};
use crate::buffer::zeros;
use crate::error::{Error, Result, ensure};
use crate::simd::Level;
use crate::threads::backoff;
use crate::threads::team::{self, Member};
use crate::train::Dataset;

/// A network in training.
///
/// ```
/// use bptt::lab::{Gradient, Kind, LabNetwork, Progress, Training};
/// use bptt::{Dataset, Inputs, Targets};
/// use std::time::{Duration, Instant};
///
/// let network = LabNetwork::new(Kind::Lstm, 5, 2)?; // H, V
/// let params = (0..network.parameter_len()).map(|i| 0.3 * (i as f64).sin()).collect();
/// let mut training = Training::new(network, params, 0.1, 0.25, Gradient::Published)?;
/// let data = Dataset::new(Inputs::Tokens(&[0, 1, 1]), Targets::Classes(&[1, 1, 0]), &[0, 3])?;
/// let later = Instant::now() + Duration::from_secs(1);
/// let first = training.train(&data, Progress::default(), later)?;
/// for _ in 0..50 {
///     training.train(&data, Progress::default(), later)?;
/// }
/// let last = training.evaluate(&data, Progress::default(), later)?;
/// assert!(last.loss_sum < first.loss_sum);
/// # Ok::<(), bptt::Error>(())
/// ```
pub struct Training {
    network: LabNetwork,
    level: Level,
    /// One block with all units, or two that two threads can share. In a round of a team each member locks its own.
    blocks: Vec<Mutex<UnitBlock>>,
    output: Output,
    /// The one-hot targets of a sequence, (T, V).
    targets: Vec<f64>,
    descent: Descent,
}

/// How far [`Training`] got in an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Sequences done.
    pub done: usize,
    /// The sum of their losses, as the notebook defines them.
    pub loss_sum: f64,
    /// Whether the last loss was NaN or infinite. Such a sequence changes no parameter.
    pub diverged: bool,
}

/// With fewer units, two threads do not share a sequence: a step takes less time than a meeting.
const TEAM_UNITS: usize = 32;

impl Training {
    /// Gradient descent from `params`, with the norm of all gradients together bounded by `max_norm`.
    ///
    /// # Errors
    /// If the number of parameters is wrong, `lr` negative or `max_norm` not above zero.
    pub fn new(
        network: LabNetwork,
        params: Vec<f64>,
        lr: f64,
        max_norm: f64,
        gradient: Gradient,
    ) -> Result<Self> {
        ensure!(lr >= 0.0 && lr.is_finite(), "lr must be at least 0 and finite, got {lr}");
        ensure!(max_norm > 0.0 && max_norm.is_finite(), "max_norm must be above 0, got {max_norm}");
        let level = Level::current()?;
        // The number of blocks does not depend on the number of threads, so the results do not either. Only the
        // published backward pass of the LSTM needs no other unit: nothing goes back through time.
        let Sizes { kind, hidden, .. } = network.sizes;
        let shares = (kind, gradient) == (Kind::Lstm, Gradient::Published) && hidden >= TEAM_UNITS;
        // Whole vectors of units. The first block is smaller, because the leader also has the output layer.
        let first = hidden / 16 * 8;
        let units = if shares { vec![first, hidden - first] } else { vec![hidden] };
        let (blocks, output) = network.pack(level, &params, &units)?;
        let blocks = blocks.into_iter().map(Mutex::new).collect();
        let descent = Descent { lr, max_norm, gradient };
        Ok(Self { network, level, blocks, output, targets: Vec::new(), descent })
    }

    /// The network.
    pub fn network(&self) -> &LabNetwork {
        &self.network
    }

    /// The parameters, flat, in this library's order.
    pub fn params(&self) -> Vec<f64> {
        let sizes = self.network.sizes;
        let mut flat = vec![EPSILON; sizes.parameter_len()];
        let (recurrent, linear) = flat.split_at_mut(sizes.recurrent_len());
        for block in &self.blocks {
            let block = lock(block);
            self.level.run(UnpackUnits(&block, &block.weights, recurrent));
        }
        // The packed bias is the sum of both.
        let biases = sizes.bias_len();
        let first = recurrent.len() - 2 * biases;
        recurrent[first..][..biases].iter_mut().for_each(|bias| *bias -= EPSILON);
        self.level.run(UnpackOutput(&self.output, &self.output.weights, linear));
        flat
    }

    /// Takes one step for every sequence from `progress.done` on, until all are done, a loss is not finite, or it is
    /// later than `until`.
    ///
    /// # Errors
    /// If the data are not tokens with classes, or one of these is not below V.
    pub fn train(
        &mut self,
        data: &Dataset<'_, f64>,
        progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        self.walk(data, progress, until, true)
    }

    /// Computes the losses of the sequences from `progress.done` on, until all are done or it is later than `until`.
    ///
    /// # Errors
    /// As [`Training::train`].
    pub fn evaluate(
        &mut self,
        data: &Dataset<'_, f64>,
        progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        self.walk(data, progress, until, false)
    }

    fn walk(
        &mut self,
        data: &Dataset<'_, f64>,
        mut progress: Progress,
        until: Instant,
        learn: bool,
    ) -> Result<Progress> {
        let Sizes { hidden, vocab, .. } = self.network.sizes;
        let Self { level, blocks, output, targets, descent, .. } = self;
        let longest = (0..data.len()).map(|n| data.range(n).len()).max().unwrap_or(0);
        for block in &mut *blocks {
            let block = block.get_mut().unwrap_or_else(PoisonError::into_inner);
            block.reserve(longest, level.lanes::<f64>())?;
        }
        let (zero, board) = (zeros(hidden)?, Board::new(longest, hidden)?);
        let (level, blocks, descent) = (*level, &blocks[..], learn.then_some(*descent));
        let sequence = |n| {
            let (tokens, classes) = tokens_and_classes(data, n, vocab)?;
            Ok((Sequence { tokens, zero: &zero, descent }, classes))
        };
        // A member's work on a sequence. Only the leader has the output layer, and the targets.
        let work = |sequence: Sequence<'_>,
                    member: &mut Member<'_>,
                    output: Option<(&mut Output, &[f64])>| {
            let mut blocks: Vec<_> = blocks[member.part(blocks.len())].iter().map(lock).collect();
            level.run(Run { sequence, blocks: &mut blocks, board: &board, member, output })
        };
        let helpers = if backoff::is_now() { 0 } else { blocks.len() - 1 };
        team::run(
            |leader| {
                while progress.done < data.len() && !progress.diverged {
                    let (sequence, classes) = sequence(progress.done)?;
                    one_hot(classes, vocab, targets);
                    let output = Some((&mut *output, &targets[..]));
                    let loss =
                        leader.round(progress.done, |member| work(sequence, member, output))?;
                    progress.done += 1;
                    progress.loss_sum += loss;
                    progress.diverged = learn && !loss.is_finite();
                    if Instant::now() >= until {
                        break;
                    }
                }
                Ok(())
            },
            vec![(); helpers],
            |(), n, member| work(sequence(n)?.0, member, None).map(drop),
        )?;
        Ok(progress)
    }
}

/// The tokens and the classes of sequence `n`.
fn tokens_and_classes<'a>(
    data: &Dataset<'a, f64>,
    n: usize,
    vocab: usize,
) -> Result<(&'a [u32], &'a [u32])> {
    let (tokens, classes) = data.tokens(n).ok_or_else(|| {
        Error::new("the lab's networks take tokens as inputs and classes as targets")
    })?;
    match tokens.iter().chain(classes).find(|&&token| token as usize >= vocab) {
        Some(token) => Err(Error::new(format!(
            "sequence {n} has token {token}; tokens must be below {vocab}, the size of the vocabulary"
        ))),
        None => Ok((tokens, classes)),
    }
}

/// Writes the one-hot vectors (T, V) of tokens.
fn one_hot(tokens: &[u32], vocab: usize, to: &mut Vec<f64>) {
    to.clear();
    to.resize(tokens.len() * vocab, 0.0);
    for (row, &token) in to.chunks_exact_mut(vocab).zip(tokens) {
        row[token as usize] = 1.0;
    }
}

fn lock(block: &Mutex<UnitBlock>) -> MutexGuard<'_, UnitBlock> {
    block.lock().unwrap_or_else(PoisonError::into_inner)
}
