//! One sequence: through the network, its loss, back, and a step of gradient descent. One thread does it with all
//! blocks of units, or two members of a team with one block each. The results are equal.

use std::ops::DerefMut;
use std::sync::atomic::Ordering;

use super::board::Board;
use super::kind::Gradient;
use super::output::Output;
use super::unit_block::UnitBlock;
use crate::error::Result;
use crate::matmul::panel::Panels;
use crate::simd::{Kernel, Simd};
use crate::threads::team::Member;
use crate::train::sum_of_squares;

/// What all members know of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    pub tokens: &'a [u32],
    /// The initial state, (H,).
    pub zero: &'a [f64],
    /// How to learn from the sequence; `None` if it is only evaluated.
    pub descent: Option<Descent>,
}

/// A step of gradient descent.
#[derive(Clone, Copy)]
pub(super) struct Descent {
    pub lr: f64,
    /// The norm of all gradients together is clipped to this.
    pub max_norm: f64,
    pub gradient: Gradient,
}

/// A member's work on a sequence. Returns the loss to the leader, which has the output layer, and 0 to a helper.
pub(super) struct Run<'a, 'm, B> {
    pub sequence: Sequence<'a>,
    /// The member's blocks of units: both if it is alone.
    pub blocks: &'a mut [B],
    pub board: &'a Board,
    pub member: &'a mut Member<'m>,
    /// The output layer and the targets, (T, V).
    pub output: Option<(&'a mut Output, &'a [f64])>,
}

impl<B: DerefMut<Target = UnitBlock>> Kernel<f64> for Run<'_, '_, B> {
    type Output = Result<f64>;

    #[inline(always)]
    fn run<S: Simd<f64>>(mut self, s: S) -> Result<f64> {
        let Sequence { tokens, zero, descent } = self.sequence;
        let steps = tokens.len();
        for block in self.blocks.iter_mut() {
            block.begin(zero, zero);
            for (t, &token) in tokens.iter().enumerate() {
                let x = block.input(t);
                x.fill(0.0);
                x[token as usize] = 1.0;
            }
        }
        for t in 0..steps {
            for block in self.blocks.iter_mut() {
                block.step(s, t);
            }
            self.share_h(t)?;
        }
        let mut loss = 0.0;
        if let Some((output, targets)) = &mut self.output {
            let block = &mut *self.blocks[0];
            output.forward(s, block.later_rows(), steps)?;
            loss = output.loss(targets);
            if descent.is_some() && loss.is_finite() {
                output.back(s, steps, &mut block.dh)?;
            }
        }
        let Some(descent) = descent else { return Ok(loss) };
        if self.share_dh(loss.is_finite())? {
            for block in self.blocks.iter_mut() {
                block.back(s, steps, descent.gradient)?;
            }
            if let Some((output, _)) = &mut self.output {
                output.weight_gradients(s, &self.blocks[0], steps, descent.gradient)?;
            }
            self.descend(descent)?;
        }
        Ok(loss)
    }
}

impl<B: DerefMut<Target = UnitBlock>> Run<'_, '_, B> {
    /// Gives every block the h of step `t` that the other block has computed.
    #[inline(always)]
    fn share_h(&mut self, t: usize) -> Result<()> {
        match &mut *self.blocks {
            [a, b] => {
                let (of_a, of_b) = (a.units.clone(), b.units.clone());
                b.h(t)[of_a.clone()].copy_from_slice(&a.h(t)[of_a]);
                a.h(t)[of_b.clone()].copy_from_slice(&b.h(t)[of_b]);
            }
            [block] if self.member.count > 1 => {
                let (units, first) = (block.units.clone(), t * block.sizes.hidden);
                let (h, board) = (block.h(t), &self.board.h);
                board.write(first + units.start, &h[units.clone()]);
                self.member.meet()?;
                board.read(first, &mut h[..units.start]);
                board.read(first + units.end, &mut h[units.end..]);
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives the second block the gradients of h, which the leader has computed. Returns whether there are any: whether
    /// the leader `learns`.
    #[inline(always)]
    fn share_dh(&mut self, learns: bool) -> Result<bool> {
        let hidden = self.sequence.zero.len();
        let len = self.sequence.tokens.len() * hidden;
        match &mut *self.blocks {
            [a, b] => b.dh[..len].copy_from_slice(&a.dh[..len]),
            [block] if self.member.count > 1 => {
                let (leads, units) = (self.member.index == 0, block.units.clone());
                let Board { dh, learns: told, .. } = self.board;
                let rows = (0..len).step_by(hidden).zip(block.dh[..len].chunks_exact_mut(hidden));
                if leads {
                    rows.for_each(|(first, row)| dh.write(first + units.end, &row[units.end..]));
                    told.store(learns, Ordering::Relaxed);
                    self.member.meet()?;
                } else {
                    self.member.meet()?;
                    rows.for_each(|(first, row)| {
                        dh.read(first + units.start, &mut row[units.clone()])
                    });
                }
                return Ok(told.load(Ordering::Relaxed));
            }
            _ => {}
        }
        Ok(learns)
    }

    /// Gradient descent, with the norm of all gradients together clipped.
    #[inline(always)]
    fn descend(&mut self, descent: Descent) -> Result<()> {
        // Of the first block, the second and the output layer.
        let mut squares = [0.0; 3];
        if let Some((output, _)) = &self.output {
            squares[2] = sum_of_squares(output.gradients.data());
        }
        for (block, squares) in self.blocks.iter().zip(&mut squares[self.member.index..]) {
            *squares = sum_of_squares(block.gradients.data());
        }
        if self.member.count > 1 {
            let (own, board) = (self.member.index, &self.board.squares);
            board.write(own, &squares[own..=own]);
            if own == 0 {
                board.write(2, &squares[2..]);
            }
            self.member.meet()?;
            board.read(0, &mut squares);
        }
        let norm = (squares[0] + squares[1] + squares[2]).sqrt();
        let scale = descent.max_norm / (norm + 1e-6);
        let rate = descent.lr * if scale < 1.0 { scale } else { 1.0 };
        for block in self.blocks.iter_mut() {
            let block = &mut **block;
            descend(&mut block.weights, &block.gradients, rate);
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
