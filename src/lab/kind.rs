//! Which of the two networks, its sizes, and which gradients.

use crate::cell::{Cell, Lstm, Rnn};

/// Which of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part 1.
    Rnn,
    /// Part 2.
    Lstm,
}

/// Which gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// The notebook's formulas; see [`published`](super::published).
    Published,
    /// Those of the cross-entropy summed over the steps, by backpropagation through time.
    Exact,
}

/// A network's kind and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub kind: Kind,
    /// H
    pub hidden: usize,
    /// V
    pub vocab: usize,
}

impl Sizes {
    /// The number of gates.
    pub fn gates(self) -> usize {
        match self.kind {
            Kind::Rnn => Rnn::GATES,
            Kind::Lstm => Lstm::GATES,
        }
    }

    /// How many values of a unit are on the tape.
    pub fn slots(self) -> usize {
        match self.kind {
            Kind::Rnn => Rnn::TAPE,
            Kind::Lstm => Lstm::TAPE,
        }
    }

    /// The length of a row [1, h, x].
    pub fn width(self) -> usize {
        1 + self.hidden + self.vocab
    }

    /// The length of each of the recurrent layer's two biases.
    pub fn bias_len(self) -> usize {
        self.gates() * self.hidden
    }

    /// The number of parameters of the recurrent layer. Those of the output layer follow them.
    pub fn recurrent_len(self) -> usize {
        self.bias_len() * (self.vocab + self.hidden + 2)
    }

    /// The number of all parameters.
    pub fn parameter_len(self) -> usize {
        self.recurrent_len() + self.vocab * (self.hidden + 1)
    }
}
