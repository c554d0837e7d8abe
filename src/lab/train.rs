//! The notebook's training: one sequence at a time, clipped gradients, plain gradient descent.

use std::time::Instant;

use super::{Gradient, LabNetwork};
use crate::buffer::zeros;
use crate::error::{Error, Result, ensure};
use crate::train::{Dataset, Moments, Optimizer, clip_by_global_norm};

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
    /// Flat parameters, in this library's order.
    pub params: Vec<f64>,
    grads: Vec<f64>,
    descent: Moments<f64>,
    max_norm: f64,
    gradient: Gradient,
    targets: Vec<f64>,
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
        network.check_params(params.len())?;
        let descent = Moments::new(Optimizer::sgd(lr, 0.0)?, params.len())?;
        ensure!(max_norm > 0.0 && max_norm.is_finite(), "max_norm must be above 0, got {max_norm}");
        let grads = zeros(params.len())?;
        Ok(Self { network, params, grads, descent, max_norm, gradient, targets: Vec::new() })
    }

    /// The network.
    pub fn network(&self) -> &LabNetwork {
        &self.network
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
        while progress.done < data.len() && !progress.diverged {
            let loss = self.sequence(data, progress.done, learn)?;
            let vocab = self.network.vocab as f64;
            progress.done += 1;
            progress.loss_sum += loss;
            progress.token_loss_sum += loss * vocab / self.network.pass.steps as f64;
            progress.diverged = learn && !loss.is_finite();
            if Instant::now() >= until {
                break;
            }
        }
        Ok(progress)
    }

    /// The loss of a sequence, and a step if the network is to learn from it.
    fn sequence(&mut self, data: &Dataset<'_, f64>, n: usize, learn: bool) -> Result<f64> {
        let Self { network, params, grads, targets, .. } = self;
        let (inputs, classes) = data
            .tokens(n)
            .ok_or_else(|| Error::new("the lab's networks read tokens and predict classes"))?;
        one_hot(inputs, network.vocab, &mut network.pass.x)?;
        one_hot(classes, network.vocab, targets)?;
        let zero = vec![0.0; network.hidden];
        let c0 = if network.kind == super::Kind::Lstm { &zero[..] } else { &[] };
        network.forward(params, &zero, c0)?;
        if !learn {
            return Ok(network.loss(targets));
        }
        grads.fill(0.0);
        let loss = network.backward(params, targets, self.gradient, grads)?;
        if loss.is_finite() {
            clip_by_global_norm(grads, self.max_norm);
            self.descent.update(params, grads);
        }
        Ok(loss)
    }
}

/// Writes the one-hot vectors (T, V) of tokens.
fn one_hot(tokens: &[u32], vocab: usize, to: &mut Vec<f64>) -> Result<()> {
    to.clear();
    to.resize(tokens.len() * vocab, 0.0);
    for (row, &token) in to.chunks_exact_mut(vocab).zip(tokens) {
        let place = row.get_mut(token as usize);
        *place.ok_or_else(|| Error::new(format!("token {token} is not below {vocab}")))? = 1.0;
    }
    Ok(())
}
