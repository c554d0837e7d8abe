//! One sequence: through the network, its loss, back, and a step of gradient descent. All of it runs in
//! one frame, by one thread with all parts of the units or by two with one each, with equal results.

use std::ops::DerefMut;

use super::Gradient;
use super::board::{Team, Who};
use super::output::Output;
use super::part::Part;
use crate::error::Result;
use crate::matmul::panel::Panels;
use crate::simd::{Kernel, Simd};
use crate::train::sum_of_squares;

/// What both threads know of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    pub tokens: &'a [u32],
    /// The initial state, (H,).
    pub zero: &'a [f64],
    /// How to learn from it, if it is not only evaluated.
    pub descent: Option<Descent>,
}

#[derive(Clone, Copy)]
pub(super) struct Descent {
    pub lr: f64,
    pub max_norm: f64,
    pub gradient: Gradient,
}

impl Sequence<'_> {
    /// The numbers of a board: every h, its gradient, whether there is one, and three norms.
    pub fn board(steps: usize, hidden: usize) -> usize {
        2 * steps * hidden + 4
    }
}

/// A thread's work on a sequence; gives the loss to the one that has the output layer.
pub(super) struct Run<'a, P> {
    pub sequence: Sequence<'a>,
    /// The thread's part, or all of them if there is no team.
    pub parts: &'a mut [P],
    pub team: Option<(&'a Team, Who)>,
    /// The output layer and the targets, (T, V).
    pub output: Option<(&'a mut Output, &'a [f64])>,
}

impl<P: DerefMut<Target = Part>> Kernel<f64> for Run<'_, P> {
    type Output = Result<f64>;

    #[inline(always)]
    fn run<S: Simd<f64>>(mut self, s: S) -> Result<f64> {
        let Sequence { tokens, zero, descent } = self.sequence;
        let steps = tokens.len();
        for part in self.parts.iter_mut() {
            part.begin(zero, zero);
            for (t, &token) in tokens.iter().enumerate() {
                let x = part.input(t);
                x.fill(0.0);
                x[token as usize] = 1.0;
            }
        }
        for t in 0..steps {
            for part in self.parts.iter_mut() {
                part.step(s, t);
            }
            self.share_h(t)?;
        }
        let mut loss = 0.0;
        if let Some((output, targets)) = &mut self.output {
            let part = &mut *self.parts[0];
            let width = part.width();
            output.forward(s, &part.rows[width..], width, steps)?;
            loss = output.loss(part.kind, targets);
            if descent.is_some() && loss.is_finite() {
                output.back(s, steps, &mut part.dh)?;
            }
        }
        let learn = self.share_dh(descent.is_some() && loss.is_finite())?;
        if let Some(descent) = descent.filter(|_| learn) {
            for part in self.parts.iter_mut() {
                part.back(s, steps, descent.gradient)?;
            }
            if let Some((output, _)) = &mut self.output {
                output.weight_gradients(s, &self.parts[0], steps, descent.gradient)?;
            }
            self.descend(descent)?;
        }
        Ok(loss)
    }
}

impl<P: DerefMut<Target = Part>> Run<'_, P> {
    /// Tells every part the h of step `t` that others computed.
    #[inline(always)]
    fn share_h(&mut self, t: usize) -> Result<()> {
        match (&mut *self.parts, self.team) {
            ([part], Some((team, who))) => {
                let (units, first) = (part.units.clone(), t * part.hidden);
                let h = part.h(t);
                team.write(first + units.start, &h[units.clone()]);
                team.meet(who)?;
                team.read(first, &mut h[..units.start]);
                team.read(first + units.end, &mut h[units.end..]);
            }
            ([a, b], None) => {
                let (of_a, of_b) = (a.units.clone(), b.units.clone());
                b.h(t)[of_a.clone()].copy_from_slice(&a.h(t)[of_a]);
                a.h(t)[of_b.clone()].copy_from_slice(&b.h(t)[of_b]);
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells the part without the output layer the gradients of h, and whether to learn.
    #[inline(always)]
    fn share_dh(&mut self, learn: bool) -> Result<bool> {
        let len = self.sequence.tokens.len() * self.sequence.zero.len();
        match (&mut *self.parts, self.team) {
            ([part], Some((team, who))) => {
                if who == Who::Leader {
                    if learn {
                        team.write(len, &part.dh[..len]);
                    }
                    team.write(2 * len, &[f64::from(learn)]);
                }
                // Also where nothing is learnt: the next sequence writes over this one's board.
                team.meet(who)?;
                let mut told = [0.0];
                team.read(2 * len, &mut told);
                if who == Who::Helper && told[0] > 0.0 {
                    team.read(len, &mut part.dh[..len]);
                }
                Ok(told[0] > 0.0)
            }
            ([a, b], None) => {
                b.dh[..len].copy_from_slice(&a.dh[..len]);
                Ok(learn)
            }
            _ => Ok(learn),
        }
    }

    /// Gradient descent, with the norm of all gradients together bounded.
    #[inline(always)]
    fn descend(&mut self, descent: Descent) -> Result<()> {
        // Of the first part, the second and the output layer.
        let mut squares = [0.0; 3];
        if let Some((output, _)) = &self.output {
            squares[2] = sum_of_squares(output.gradients.data());
        }
        for (part, squares) in self.parts.iter().zip(&mut squares) {
            *squares = sum_of_squares(part.gradients.data());
        }
        if let Some((team, who)) = self.team {
            let first = Sequence::board(self.sequence.tokens.len(), self.sequence.zero.len()) - 3;
            match who {
                Who::Leader => {
                    team.write(first, &squares[..1]);
                    team.write(first + 2, &squares[2..]);
                }
                Who::Helper => team.write(first + 1, &squares[..1]),
            }
            team.meet(who)?;
            team.read(first, &mut squares);
        }
        let norm = (squares[0] + squares[1] + squares[2]).sqrt();
        let scale = descent.max_norm / (norm + 1e-6);
        let rate = descent.lr * if scale < 1.0 { scale } else { 1.0 };
        for part in self.parts.iter_mut() {
            let part = &mut **part;
            descend(&mut part.weights, &part.gradients, rate);
        }
        if let Some((output, _)) = &mut self.output {
            descend(&mut output.weights, &output.gradients, rate);
        }
        Ok(())
    }
}

#[inline(always)]
fn descend(weights: &mut Panels<f64>, gradients: &Panels<f64>, rate: f64) {
    for (w, g) in weights.data_mut().iter_mut().zip(gradients.data()) {
        *w -= rate * g;
    }
}
