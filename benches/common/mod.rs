//! Code that all benchmarks use: a recurrent layer with memory for its passes.

use bptt::Compiled;
use bptt::simd::Element;
use bptt::{Gradients, Recurrent, Seq, SeqMut, Shape, State, Tape};

/// T, B, I, H
#[derive(Clone, Copy)]
pub struct Size(pub usize, pub usize, pub usize, pub usize);

impl Size {
    /// The number of operations in a forward pass of a layer of this cell. Training takes three times as
    /// many.
    pub fn flops<C: Compiled>(self) -> u64 {
        let Size(t, b, i, h) = self;
        (2 * t * b * (i + h) * C::GATES * h) as u64
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{},{},{},{}", self.0, self.1, self.2, self.3))
    }
}

/// A recurrent layer with inputs, outputs and gradients: one field for each argument of its passes.
pub struct Layer<C, E: Element> {
    layer: Recurrent<C>,
    shapes: (Shape, Shape),
    params: Vec<E>,
    dparams: Vec<E>,
    x: Vec<E>,
    dx: Vec<E>,
    y: Vec<E>,
    dy: Vec<E>,
    state: State<E>,
    tape: Tape<E>,
    inference: Tape<E>,
}

impl<C: Compiled, E: Element> Layer<C, E> {
    pub fn new(cell: C, Size(steps, rows, input, hidden): Size) -> Self {
        let layer = Recurrent::with_cell(cell, input, hidden, true).unwrap();
        let wave = |len: usize| -> Vec<E> {
            (0..len).map(|i| E::from_f64(0.1 * (i as f64 * 0.7).sin())).collect()
        };
        Self {
            shapes: (Shape::time_major(steps, rows, input), Shape::time_major(steps, rows, hidden)),
            params: wave(layer.parameter_len()),
            dparams: wave(layer.parameter_len()),
            x: wave(steps * rows * input),
            dx: wave(steps * rows * input),
            y: wave(steps * rows * hidden),
            dy: wave(steps * rows * hidden),
            state: State::zeros(&layer, rows).unwrap(),
            tape: Tape::new(),
            inference: Tape::for_inference(),
            layer,
        }
    }

    pub fn infer(&mut self) {
        self.run(false);
    }

    fn run(&mut self, record: bool) {
        let tape = if record { &mut self.tape } else { &mut self.inference };
        self.state.reset(&self.layer, self.shapes.0.rows).unwrap();
        let x = Seq::new(&self.x, self.shapes.0).unwrap();
        let y = SeqMut::new(&mut self.y, self.shapes.1).unwrap();
        self.layer.forward(&self.params, x, &mut self.state, y, tape).unwrap();
    }

    /// Runs a forward and a backward pass, with all gradients.
    pub fn train(&mut self) {
        self.run(true);
        let rows = self.shapes.0.rows;
        self.state.reset(&self.layer, rows).unwrap();
        self.dparams.fill(E::ZERO);
        let gradients = Gradients {
            params: Some(&mut self.dparams),
            x: Some(SeqMut::new(&mut self.dx, self.shapes.0).unwrap()),
        };
        let x = Seq::new(&self.x, self.shapes.0).unwrap();
        let y = Seq::new(&self.y, self.shapes.1).unwrap();
        let dy = Seq::new(&self.dy, self.shapes.1).unwrap();
        let (tape, state) = (&mut self.tape, &mut self.state);
        self.layer.backward(&self.params, x, y, tape, dy, state, gradients).unwrap();
    }
}
