//! The notebook's loop: gradient descent on one sequence after the other, gradients clipped.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::board::{Team, Who};
use super::output::{Output, UnpackOutput};
use super::part::{Part, UnpackPart};
use super::step::{Descent, Run, Sequence};
use super::{EPSILON, Gradient, Kind, LabNetwork};
use crate::buffer::zeros;
use crate::error::{Error, Result, ensure};
use crate::simd::Level;
use crate::threads;
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
    parts: Vec<Mutex<Part>>,
    output: Output,
    targets: Vec<f64>,
    descent: Descent,
}

/// How far [`Training`] came through the sequences of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Sequences done.
    pub done: usize,
    /// The sum of their losses as the notebook has them.
    pub loss_sum: f64,
    /// The sum of each sequence's mean cross-entropy a token.
    pub token_loss_sum: f64,
    /// The last loss was NaN or infinite; the step was not taken.
    pub diverged: bool,
}

/// From so many units on, two threads share a sequence: a step of fewer takes less time than a meeting.
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
        // Results do not depend on the number of threads, so the parts do not either. What goes back
        // through time needs all units at every step.
        let apart = (network.kind, gradient) == (Kind::Lstm, Gradient::Published);
        let hidden = network.hidden;
        let units = match apart && hidden >= TEAM_UNITS {
            // Whole vectors; the leader has the output layer besides.
            true => vec![hidden / 16 * 8, hidden - hidden / 16 * 8],
            false => vec![hidden],
        };
        let (parts, output) = network.pack(level, &params, &units)?;
        let parts = parts.into_iter().map(Mutex::new).collect();
        let descent = Descent { lr, max_norm, gradient };
        Ok(Self { network, level, parts, output, targets: Vec::new(), descent })
    }

    /// The network.
    pub fn network(&self) -> &LabNetwork {
        &self.network
    }

    /// The parameters, flat, in this library's order.
    pub fn params(&self) -> Vec<f64> {
        let mut flat = vec![EPSILON; self.network.parameter_len()];
        let (recurrent, linear) = flat.split_at_mut(self.network.recurrent_len());
        for part in &self.parts {
            let part = lock(part);
            self.level.run(UnpackPart(&part, &part.weights, recurrent));
        }
        // The packed bias has the second one in it.
        let biases = self.network.second_bias_len();
        let first = recurrent.len() - 2 * biases;
        recurrent[first..][..biases].iter_mut().for_each(|bias| *bias -= EPSILON);
        self.level.run(UnpackOutput(&self.output, &self.output.weights, linear));
        flat
    }

    /// One step for every sequence from `progress.done` on, until they are done, a loss is not finite,
    /// or the time is up.
    ///
    /// # Errors
    /// If the data are not tokens with classes, or one is out of range.
    pub fn train(
        &mut self,
        data: &Dataset<'_, f64>,
        progress: Progress,
        until: Instant,
    ) -> Result<Progress> {
        self.walk(data, progress, until, true)
    }

    /// The losses of the sequences from `progress.done` on, until they are done or the time is up.
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
        let LabNetwork { hidden, vocab, .. } = self.network;
        let (level, descent) = (self.level, self.descent);
        let longest = (0..data.len()).map(|n| data.range(n).len()).max().unwrap_or(0);
        for part in &mut self.parts {
            let part = part.get_mut().unwrap_or_else(PoisonError::into_inner);
            part.reserve(longest, level.lanes::<f64>())?;
        }
        let zero = zeros(hidden)?;
        let steps_of = |n| {
            let (tokens, classes) = data
                .tokens(n)
                .ok_or_else(|| Error::new("the lab's networks read tokens and predict classes"))?;
            match tokens.iter().chain(classes).find(|&&token| token as usize >= vocab) {
                Some(token) => Err(Error::new(format!("token {token} is not below {vocab}"))),
                None => Ok((tokens, classes)),
            }
        };
        let team = Team::new(Sequence::board(longest, hidden))?;
        let (team, parts, zero) = (&team, &self.parts[..], &zero[..]);
        let sequence = |tokens| Sequence { tokens, zero, descent: learn.then_some(descent) };
        let leader = Leader { output: &mut self.output, targets: &mut self.targets };
        let lead = |leader: Leader<'_>, progress: &mut Progress| {
            while progress.done < data.len() && !progress.diverged {
                let (tokens, classes) = steps_of(progress.done)?;
                one_hot(classes, vocab, leader.targets);
                let output = Some((&mut *leader.output, &leader.targets[..]));
                let loss = if parts.len() == 2 && team.begin(progress.done) {
                    let team = Some((team, Who::Leader));
                    let parts = &mut [lock(&parts[0])];
                    level.run(Run { sequence: sequence(tokens), parts, team, output })?
                } else {
                    let mut parts: Vec<_> = parts.iter().map(lock).collect();
                    let parts = &mut parts;
                    level.run(Run { sequence: sequence(tokens), parts, team: None, output })?
                };
                progress.done += 1;
                progress.loss_sum += loss;
                progress.token_loss_sum += loss * vocab as f64 / tokens.len() as f64;
                progress.diverged = learn && !loss.is_finite();
                if Instant::now() >= until {
                    break;
                }
            }
            Ok(())
        };
        let help = |n| {
            let (tokens, _) = steps_of(n)?;
            let (parts, team) = (&mut [lock(&parts[1])], Some((team, Who::Helper)));
            level.run(Run { sequence: sequence(tokens), parts, team, output: None })?;
            Ok(())
        };
        // Whichever thread takes the second task helps.
        let mut tasks = vec![Some((leader, &mut progress))];
        tasks.extend((parts.len() == 2).then_some(None));
        threads::run(tasks, |task| match task {
            Some((leader, progress)) => team.lead(|| lead(leader, progress)),
            None => team.help(help),
        })?;
        Ok(progress)
    }
}

/// What only the leader has.
struct Leader<'a> {
    output: &'a mut Output,
    targets: &'a mut Vec<f64>,
}

/// Writes the one-hot vectors (T, V) of tokens.
fn one_hot(tokens: &[u32], vocab: usize, to: &mut Vec<f64>) {
    to.clear();
    to.resize(tokens.len() * vocab, 0.0);
    for (row, &token) in to.chunks_exact_mut(vocab).zip(tokens) {
        row[token as usize] = 1.0;
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
