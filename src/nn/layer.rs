//! The layers that a model can have, and their properties.

use super::embedding::Embedding;
use super::input::Input;
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use crate::cell::GruResetFirst;
use crate::error::{Result, ensure};
use crate::recurrent::{GRU, LSTM, RNN, Recurrent};

/// One layer of a model.
#[derive(Debug, Clone, Copy)]
pub enum Layer {
    /// Turns tokens into one-hot vectors with this number of classes. It must be the first layer.
    OneHot(usize),
    /// Turns every token into a vector of its own. It must be the first layer.
    Embedding(Embedding),
    /// A vanilla recurrent layer.
    RNN(RNN),
    /// A long short-term memory layer.
    LSTM(LSTM),
    /// A layer of gated recurrent units.
    GRU(GRU),
    /// A layer of the original GRU, which resets h before the product.
    GRUResetFirst(Recurrent<GruResetFirst>),
    /// A linear layer, applied to every step.
    Linear(Linear),
    /// Normalises the features of every step.
    LayerNorm(LayerNorm),
    /// In training passes, zeroes each number with this probability p, in [0, 1), or else divides it by 1 -
    /// p.
    Dropout(f64),
    /// Keeps only the last step of every sequence, so that there is one output, and one target, for each
    /// sequence. After a layer with two directions, the second half of the features is the second direction.
    /// For this half, it keeps the first step, where that direction ends. Only [`Layer::Dropout`] may stand
    /// between the two layers.
    LastStep,
}

/// Runs `$body` with the recurrent layer, of any cell, or `$other`.
macro_rules! recurrent {
    ($layer:expr, $inner:ident => $body:expr, $($other:pat => $result:expr),+) => {
        match $layer {
            Layer::RNN($inner) => $body,
            Layer::LSTM($inner) => $body,
            Layer::GRU($inner) => $body,
            Layer::GRUResetFirst($inner) => $body,
            $($other => $result),+
        }
    };
}
pub(crate) use recurrent;

impl Layer {
    /// The layer's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::OneHot(_) => "OneHot",
            Layer::Embedding(_) => "Embedding",
            Layer::RNN(_) => "RNN",
            Layer::LSTM(_) => "LSTM",
            Layer::GRU(_) | Layer::GRUResetFirst(_) => "GRU",
            Layer::Linear(_) => "Linear",
            Layer::LayerNorm(_) => "LayerNorm",
            Layer::Dropout(_) => "Dropout",
            Layer::LastStep => "LastStep",
        }
    }

    /// The number of different tokens that the layer takes; none if it takes features.
    pub fn tokens(&self) -> Option<usize> {
        match self {
            Layer::OneHot(classes) => Some(*classes),
            Layer::Embedding(embedding) => Some(embedding.num_embeddings()),
            _ => None,
        }
    }

    /// The number of features that the layer takes; none if it takes tokens or any number of features.
    pub fn in_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.input_size()),
            Layer::OneHot(_) | Layer::Embedding(_) | Layer::Dropout(_) | Layer::LastStep => None,
            Layer::LayerNorm(norm) => Some(norm.features()),
            Layer::Linear(linear) => Some(linear.in_features()))
    }

    /// The number of features that the layer gives; none if it gives as many as it takes.
    pub fn out_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.output_size()),
            Layer::OneHot(classes) => Some(*classes),
            Layer::Embedding(embedding) => Some(embedding.embedding_dim()),
            Layer::Linear(linear) => Some(linear.out_features()),
            Layer::LayerNorm(norm) => Some(norm.features()),
            Layer::Dropout(_) | Layer::LastStep => None)
    }

    /// The number of directions of a recurrent layer, 1 or 2; none for other layers, which have no state.
    pub fn directions(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.directions()), _ => None)
    }

    /// The number of layers and directions in a state (L D); none without a state.
    pub(crate) fn state_layers(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.num_layers() * layer.directions()), _ => None)
    }

    /// How many numbers a row has in h and in c, for all layers and directions together; (0, 0) without a
    /// state.
    pub(super) fn state_len(&self) -> (usize, usize) {
        recurrent!(self, layer => {
            let (n, (h, c)) = (layer.num_layers() * layer.directions(), layer.state_sizes());
            (n * h, n * c)
        },
        _ => (0, 0))
    }

    /// The names and shapes of the parameters, in order. The names are torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        recurrent!(self, layer => layer.parameters(),
            Layer::OneHot(_) | Layer::Dropout(_) | Layer::LastStep => Vec::new(),
            Layer::Embedding(embedding) => embedding.parameters(),
            Layer::LayerNorm(norm) => norm.parameters(),
            Layer::Linear(linear) => linear.parameters())
    }

    /// The number of numbers in all parameters.
    pub fn parameter_len(&self) -> usize {
        recurrent!(self, layer => layer.parameter_len(),
            Layer::OneHot(_) | Layer::Dropout(_) | Layer::LastStep => 0,
            Layer::Embedding(embedding) => embedding.parameter_len(),
            Layer::LayerNorm(norm) => norm.parameter_len(),
            Layer::Linear(linear) => linear.parameter_len())
    }

    /// Checks an input of `total` steps, each of `features` features unless the layer takes tokens.
    pub(super) fn check_input<E>(
        &self,
        input: Input<'_, E>,
        features: Option<usize>,
        total: usize,
    ) -> Result<()> {
        let name = self.name();
        match (input, self.tokens(), features) {
            (Input::Tokens(tokens), Some(classes), _) => {
                ensure!(tokens.len() == total, "x must have {total} tokens, got {}", tokens.len());
                if let Some(token) = tokens.iter().find(|&&token| token as usize >= classes) {
                    ensure!(false, "token {token} is out of range; {name} has {classes} classes");
                }
            }
            (Input::Features(x), None, Some(features)) => {
                let want = total.saturating_mul(features);
                ensure!(x.len() == want, "x must have {want} numbers, got {}", x.len());
            }
            (Input::Tokens(_), ..) => ensure!(
                false,
                "tokens need a model that starts with OneHot or Embedding, not {name}; give features"
            ),
            (Input::Features(_), ..) => {
                ensure!(false, "a model that starts with {name} takes tokens, got features");
            }
        }
        Ok(())
    }
}

impl Layer {
    /// For every layer of a model, the number of features that it takes (none for tokens) and the number
    /// that it gives.
    ///
    /// # Examples
    /// ```
    /// use bptt::{Layer, Linear};
    ///
    /// let layers = [Layer::OneHot(3), Layer::Linear(Linear::new(3, 2, true)?)];
    /// assert_eq!(Layer::features(&layers)?, [(None, 3), (Some(3), 2)]);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the layers do not fit together, or no layer says how many features there are.
    pub fn features(layers: &[Layer]) -> Result<Vec<(Option<usize>, usize)>> {
        ensure!(!layers.is_empty(), "a model needs at least one layer");
        ensure!(layers[0].tokens() != Some(0), "OneHot needs at least 1 class, got 0");
        // If the first layers take any number of features, the first other layer decides.
        let mut given = layers.iter().find_map(Layer::in_features);
        let mut all = Vec::with_capacity(layers.len());
        let mut last_step = false;
        for (n, layer) in layers.iter().enumerate() {
            let name = layer.name();
            if let Layer::Dropout(p) = layer {
                ensure!((0.0..1.0).contains(p), "p of Dropout must be in [0, 1), got {p}");
            }
            let takes = if layer.tokens().is_some() {
                ensure!(
                    n == 0,
                    "{name} takes tokens, so it can only be the first layer, not layer {n}"
                );
                None
            } else {
                if let (Some(gives), Some(takes)) = (given, layer.in_features()) {
                    let before = n.saturating_sub(1);
                    ensure!(
                        gives == takes,
                        "layer {before} gives {gives} features, layer {n} takes {takes}"
                    );
                }
                ensure!(
                    given.is_some(),
                    "no layer says how many features there are, because {name} takes any number; add a layer \
                     that does, such as Linear"
                );
                given
            };
            let sequences = layer.directions().is_some() || matches!(layer, Layer::LastStep);
            ensure!(
                !(last_step && sequences),
                "layer {n}, {name}, takes sequences, but LastStep leaves only one step of each; move or \
                 remove it"
            );
            if matches!(layer, Layer::LastStep) {
                Self::directions_before(&layers[..n])?;
                last_step = true;
            }
            let gives = layer.out_features().or(takes).expect("known");
            given = Some(gives);
            all.push((takes, gives));
        }
        Ok(all)
    }

    /// The number of directions of the recurrent layer whose steps LastStep selects, given all layers before
    /// LastStep; 1 if there is no such layer.
    ///
    /// # Errors
    /// If it has two directions, and a layer between them and LastStep mixes their features.
    pub(super) fn directions_before(layers: &[Layer]) -> Result<usize> {
        let recurrent = layers.iter().rposition(|layer| layer.directions().is_some());
        let Some(n) = recurrent.filter(|&n| layers[n].directions() == Some(2)) else {
            return Ok(1);
        };
        let mixing = layers[n + 1..].iter().find(|layer| !matches!(layer, Layer::Dropout(_)));
        if let Some(mixing) = mixing {
            ensure!(
                false,
                "LastStep takes each of the two directions of layer {n} at the step where it ends, but \
                 {mixing} between the two layers mixes both directions; put LastStep right after layer {n}",
                mixing = mixing.name()
            );
        }
        Ok(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_take_any_number_take_what_the_others_say() {
        let linear = Layer::Linear(Linear::new(3, 2, true).unwrap());
        assert_eq!(
            Layer::features(&[Layer::LastStep, linear]).unwrap(),
            [(Some(3), 3), (Some(3), 2)]
        );
        let tokens = Layer::features(&[Layer::OneHot(3), Layer::LastStep, linear]).unwrap();
        assert_eq!(tokens, [(None, 3), (Some(3), 3), (Some(3), 2)]);
    }

    #[test]
    fn a_last_step_knows_of_two_directions() {
        let gru = GRU::new(3, 2, true).unwrap();
        let (one, two) = (Layer::GRU(gru), Layer::GRU(gru.bidirectional()));
        let linear = Layer::Linear(Linear::new(4, 3, true).unwrap());
        for (layers, directions) in [
            (&[][..], 1),
            (&[one], 1),
            (&[two], 2),
            (&[one, Layer::Dropout(0.5), two, Layer::Dropout(0.5)], 2),
            (&[two, linear, one, linear], 1),
        ] {
            assert_eq!(Layer::directions_before(layers).unwrap(), directions, "{layers:?}");
        }
        let norm = Layer::LayerNorm(LayerNorm::new(4, 1e-5, true, true).unwrap());
        for between in [linear, norm] {
            let layers = [two, Layer::Dropout(0.5), between, Layer::LastStep];
            let error = Layer::features(&layers).unwrap_err().to_string();
            assert!(error.contains("put LastStep right after layer 0"), "{error}");
            assert!(error.contains(between.name()), "{error}");
        }
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let linear = Layer::Linear(Linear::new(3, 2, true).unwrap());
        let rnn = Layer::RNN(RNN::new(3, 4, crate::cell::Nonlinearity::Tanh, true).unwrap());
        for (layers, message) in [
            (&[][..], "at least one layer"),
            (&[Layer::OneHot(0)], "at least 1 class"),
            (&[linear, linear], "layer 0 gives 2 features, layer 1 takes 3"),
            (&[linear, Layer::OneHot(2)], "OneHot takes tokens"),
            (&[Layer::LastStep], "no layer says"),
            (&[Layer::Dropout(1.0), linear], "p of Dropout must be in [0, 1), got 1"),
            (&[Layer::LastStep, rnn], "layer 1, RNN, takes sequences"),
            (&[Layer::LastStep, Layer::LastStep, linear], "layer 1, LastStep, takes sequences"),
        ] {
            let error = Layer::features(layers).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
