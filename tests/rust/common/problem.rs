//! A recurrent layer with any options on a batch of any lengths: passes, and gradient checks in f64.

use super::{Rng, cast, widen};
use bptt::Compiled;
use bptt::simd::Element;
use bptt::{BatchSizes, Gradients, Recurrent, Seq, SeqMut, Shape, State, Tape};

/// A layer with numbers for all its inputs: one field for each argument of its passes.
pub struct Problem<C> {
    pub layer: Recurrent<C>,
    pub sizes: BatchSizes,
    pub params: Vec<f64>,
    pub x: Vec<f64>,
    pub state: (Vec<f64>, Vec<f64>),
    /// The loss is the sum of `dy * y` and `dstate * (final state)`.
    pub dy: Vec<f64>,
    pub dstate: (Vec<f64>, Vec<f64>),
    pub seed: u64,
    pub checkpoints: bool,
}

/// The results of a forward and backward pass: y, final state, dparams, dx, gradient of the initial state.
pub type Results = [Vec<f64>; 7];

impl<C: Compiled> Problem<C> {
    pub fn new(layer: Recurrent<C>, lengths: &[usize], seed: u64) -> Self {
        let sizes = BatchSizes::of_lengths(lengths).unwrap();
        let mut rng = Rng(seed);
        let rows = sizes.rows() * layer.num_layers() * layer.directions();
        let (h, c) = layer.state_sizes();
        let mut states = || (rng.vec(rows * h, 1.0), rng.vec(rows * c, 1.0));
        let (state, dstate) = (states(), states());
        Self {
            params: rng.vec(layer.parameter_len(), 0.5),
            x: rng.vec(sizes.total() * layer.input_size(), 1.0),
            dy: rng.vec(sizes.total() * layer.output_size(), 1.0),
            state,
            dstate,
            layer,
            sizes,
            seed,
            checkpoints: false,
        }
    }

    pub fn state<E: Element>(&self, (h, c): &(Vec<f64>, Vec<f64>)) -> State<E> {
        let mut state = State::zeros(&self.layer, self.sizes.rows()).unwrap();
        state.h.copy_from_slice(&cast::<E>(h));
        state.c.copy_from_slice(&cast::<E>(c));
        state
    }

    pub fn run(&self) -> Results {
        self.run_in::<f64>()
    }

    /// Runs the layer forward and backward in `E`.
    pub fn run_in<E: Element>(&self) -> Results {
        let [params, x, dy] = [&self.params, &self.x, &self.dy].map(|numbers| cast::<E>(numbers));
        let (layer, sizes) = (&self.layer, &self.sizes);
        let mut tape = Tape::new();
        tape.set_seed(self.seed);
        tape.set_checkpoints(self.checkpoints);
        let (mut state, mut dstate) = (self.state(&self.state), self.state(&self.dstate));
        let x = Seq::packed(&x, sizes, layer.input_size()).unwrap();
        let mut y = vec![E::ZERO; sizes.total() * layer.output_size()];
        let out = SeqMut::packed(&mut y, sizes, layer.output_size()).unwrap();
        layer.forward(&params, x, &mut state, out, &mut tape).unwrap();
        let zeros = |len: usize| vec![E::ZERO; len];
        let (mut dparams, mut dx) = (zeros(params.len()), zeros(self.x.len()));
        let gradients = Gradients {
            params: Some(&mut dparams),
            x: Some(SeqMut::packed(&mut dx, sizes, layer.input_size()).unwrap()),
        };
        let out = Seq::packed(&y, sizes, layer.output_size()).unwrap();
        let dy = Seq::packed(&dy, sizes, layer.output_size()).unwrap();
        layer.backward(&params, x, out, &mut tape, dy, &mut dstate, gradients).unwrap();
        let (h, c, dh, dc) = (&state.h, &state.c, &dstate.h, &dstate.c);
        [&y[..], h, c, &dparams, &dx, dh, dc].map(widen)
    }

    /// Same as `run`, with x, y and their gradients in arrays with padding, (B, T, F) or (T, B, F). The
    /// arrays have one step more than the longest sequence. The padding of arrays that are read is NaN, and
    /// the padding of arrays that are written must become zero.
    pub fn run_padded(&self, batch_major: bool) -> Results {
        let (layer, sizes) = (&self.layer, &self.sizes);
        let (inputs, outputs) = (layer.input_size(), layer.output_size());
        let (steps, rows) = (sizes.steps() + 1, sizes.rows());
        let shape = |features| match batch_major {
            true => Shape::batch_major(steps, rows, features),
            false => Shape::time_major(steps, rows, features),
        };
        // The place of a row's numbers in the array.
        let place = |t: usize, b: usize, features: usize| {
            let row = sizes.place(b);
            let first = if batch_major { row * steps + t } else { t * rows + row };
            first * features..(first + 1) * features
        };
        let steps_of = |b: usize| (0..sizes.steps()).filter(|&t| b < sizes.count(t)).count();
        let pad = |packed: &[f64], features: usize| {
            let mut array = vec![f64::NAN; steps * rows * features];
            for b in 0..rows {
                for t in 0..steps_of(b) {
                    let from = &packed[(sizes.offset(t) + b) * features..][..features];
                    array[place(t, b, features)].copy_from_slice(from);
                }
            }
            array
        };
        let unpad = |mut array: Vec<f64>, features: usize| {
            let mut packed = vec![0.0; sizes.total() * features];
            for b in 0..rows {
                for t in 0..steps_of(b) {
                    let from = &mut array[place(t, b, features)];
                    packed[(sizes.offset(t) + b) * features..][..features].copy_from_slice(from);
                    from.fill(0.0);
                }
            }
            assert!(array.iter().all(|&number| number == 0.0), "padding");
            packed
        };
        let (x, dy) = (pad(&self.x, inputs), pad(&self.dy, outputs));
        let x = Seq::padded(&x, shape(inputs), sizes).unwrap();
        let dy = Seq::padded(&dy, shape(outputs), sizes).unwrap();
        let mut tape = Tape::new();
        tape.set_seed(self.seed);
        tape.set_checkpoints(self.checkpoints);
        let (mut state, mut dstate) = (self.state(&self.state), self.state(&self.dstate));
        let mut y = vec![f64::NAN; steps * rows * outputs];
        let out = SeqMut::padded(&mut y, shape(outputs), sizes).unwrap();
        layer.forward(&self.params, x, &mut state, out, &mut tape).unwrap();
        let mut dparams = vec![0.0; self.params.len()];
        let mut dx = vec![f64::NAN; steps * rows * inputs];
        let gradients = Gradients {
            params: Some(&mut dparams),
            x: Some(SeqMut::padded(&mut dx, shape(inputs), sizes).unwrap()),
        };
        let out = Seq::padded(&y, shape(outputs), sizes).unwrap();
        layer.backward(&self.params, x, out, &mut tape, dy, &mut dstate, gradients).unwrap();
        let vec = |numbers: &[f64]| numbers.to_vec();
        let (y, dx) = (unpad(y, outputs), unpad(dx, inputs));
        [y, vec(&state.h), vec(&state.c), dparams, dx, vec(&dstate.h), vec(&dstate.c)]
    }

    /// y and the final state of an inference pass.
    pub fn infer(&self) -> [Vec<f64>; 3] {
        let (layer, sizes) = (&self.layer, &self.sizes);
        let mut state = self.state::<f64>(&self.state);
        let x = Seq::packed(&self.x, sizes, layer.input_size()).unwrap();
        let mut y = vec![0.0; sizes.total() * layer.output_size()];
        let out = SeqMut::packed(&mut y, sizes, layer.output_size()).unwrap();
        layer.forward(&self.params, x, &mut state, out, &mut Tape::for_inference()).unwrap();
        [y, state.h.to_vec(), state.c.to_vec()]
    }

    pub fn loss(&self) -> f64 {
        let [y, h, c, ..] = self.run();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&y, &self.dy) + dot(&h, &self.dstate.0) + dot(&c, &self.dstate.1)
    }

    /// Compares the gradients with differences: changes some numbers of every input a little.
    pub fn check_gradients(&mut self, what: &str) {
        let [.., dparams, dx, dh, dc] = self.run();
        let mut rng = Rng(7);
        for (which, gradient) in [dparams, dx, dh, dc].iter().enumerate() {
            for _ in 0..gradient.len().min(12) {
                let n = ((rng.uniform() + 1.0) / 2.0 * gradient.len() as f64) as usize;
                let mut shifted = |by: f64| {
                    let numbers =
                        [&mut self.params, &mut self.x, &mut self.state.0, &mut self.state.1];
                    let number = &mut numbers.into_iter().nth(which).unwrap()[n];
                    let kept = std::mem::replace(number, *number + by);
                    let loss = self.loss();
                    let numbers =
                        [&mut self.params, &mut self.x, &mut self.state.0, &mut self.state.1];
                    numbers.into_iter().nth(which).unwrap()[n] = kept;
                    loss
                };
                let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                let error = (slope - gradient[n]).abs() / (1.0 + slope.abs());
                assert!(error < 1e-7, "{what}: input {which}, number {n}: {slope} {}", gradient[n]);
            }
        }
    }
}
