//! The layers that a model can be made of, and what can be asked of each.

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
    /// Turns tokens into one-hot vectors of this many classes; only as the first layer.
    OneHot(usize),
    /// Turns tokens into vectors of their own; only as the first layer.
    Embedding(Embedding),
    /// A vanilla recurrent layer.
    RNN(RNN),
    /// A long short-term memory layer.
    LSTM(LSTM),
    /// A layer of gated recurrent units.
    GRU(GRU),
    /// One of the original form, with the reset before the product.
    GRUResetFirst(Recurrent<GruResetFirst>),
    /// A linear layer, on every step.
    Linear(Linear),
    /// Normalises the features of every step.
    LayerNorm(LayerNorm),
    /// Zeroes numbers with this probability, in [0, 1), in passes that are recorded, and divides the others
    /// by what is left of 1.
    Dropout(f64),
    /// Keeps the last step of every sequence only, so that there is one output, and one target, for each. After
    /// a layer with two directions, of the second one, whose numbers are the second half, it keeps the step
    /// where that direction ends: the first. Only [`Layer::Dropout`] may stand between the two.
    LastStep,
}

/// Runs `$body` with the recurrent layer, of whichever cell, or `$other`.
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

    /// How many different tokens it takes; none for a layer that takes features.
    pub fn tokens(&self) -> Option<usize> {
        match self {
            Layer::OneHot(classes) => Some(*classes),
            Layer::Embedding(embedding) => Some(embedding.num_embeddings()),
            _ => None,
        }
    }

    /// Features that the layer takes; none for tokens, and where any number will do.
    pub fn in_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.input_size()),
            Layer::OneHot(_) | Layer::Embedding(_) | Layer::Dropout(_) | Layer::LastStep => None,
            Layer::LayerNorm(norm) => Some(norm.features()),
            Layer::Linear(linear) => Some(linear.in_features()))
    }

    /// Features that the layer gives; none where it gives as many as it takes.
    pub fn out_features(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.output_size()),
            Layer::OneHot(classes) => Some(*classes),
            Layer::Embedding(embedding) => Some(embedding.embedding_dim()),
            Layer::Linear(linear) => Some(linear.out_features()),
            Layer::LayerNorm(norm) => Some(norm.features()),
            Layer::Dropout(_) | Layer::LastStep => None)
    }

    /// D of a recurrent layer, 1 or 2; none for the others, which have no state.
    pub fn directions(&self) -> Option<usize> {
        recurrent!(self, layer => Some(layer.directions()), _ => None)
    }

    /// Numbers that a row has in h and in c, of all layers and directions; (0, 0) without a state.
    pub(super) fn state_len(&self) -> (usize, usize) {
        recurrent!(self, layer => {
            let (n, (h, c)) = (layer.num_layers() * layer.directions(), layer.state_sizes());
            (n * h, n * c)
        },
        _ => (0, 0))
    }

    /// Names and shapes of the parameters in their order, the names torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        recurrent!(self, layer => layer.parameters(),
            Layer::OneHot(_) | Layer::Dropout(_) | Layer::LastStep => Vec::new(),
            Layer::Embedding(embedding) => embedding.parameters(),
            Layer::LayerNorm(norm) => norm.parameters(),
            Layer::Linear(linear) => linear.parameters())
    }

    /// How many numbers its parameters are.
    pub fn parameter_len(&self) -> usize {
        recurrent!(self, layer => layer.parameter_len(),
            Layer::OneHot(_) | Layer::Dropout(_) | Layer::LastStep => 0,
            Layer::Embedding(embedding) => embedding.parameter_len(),
            Layer::LayerNorm(norm) => norm.parameter_len(),
            Layer::Linear(linear) => linear.parameter_len())
    }

    /// Whether it takes an input for `total` steps, each of `features` features if it takes any.
    pub(super) fn check_input<E>(
        &self,
        input: Input<'_, E>,
        features: Option<usize>,
        total: usize,
    ) -> Result<()> {
        let name = self.name();
        match (input, self.tokens(), features) {
            (Input::Tokens(tokens), Some(classes), _) => {
                ensure!(tokens.len() == total, "there are {} tokens, not {total}", tokens.len());
                if let Some(token) = tokens.iter().find(|&&token| token as usize >= classes) {
                    ensure!(false, "token {token} is out of range: {name} has {classes} classes");
                }
            }
            (Input::Features(x), None, Some(features)) => {
                let want = total.saturating_mul(features);
                ensure!(x.len() == want, "there are {} input numbers, not {want}", x.len());
            }
            (Input::Tokens(_), ..) => ensure!(
                false,
                "tokens need a model that starts with OneHot or Embedding, not {name}; give features"
            ),
            (Input::Features(_), ..) => {
                ensure!(false, "a model that starts with {name} takes tokens, not features");
            }
        }
        Ok(())
    }
}

impl Layer {
    /// Of every layer of a model, the features that it takes (none for tokens) and gives.
    ///
    /// ```
    /// use bptt::{Layer, Linear};
    ///
    /// let layers = [Layer::OneHot(3), Layer::Linear(Linear::new(3, 2, true)?)];
    /// assert_eq!(Layer::features(&layers)?, [(None, 3), (Some(3), 2)]);
    /// # Ok::<(), bptt::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the layers do not fit together, or none says how many features there are.
    pub fn features(layers: &[Layer]) -> Result<Vec<(Option<usize>, usize)>> {
        ensure!(!layers.is_empty(), "a model needs at least one layer");
        ensure!(layers[0].tokens() != Some(0), "OneHot needs at least 1 class, got 0");
        // A layer that takes any number takes what the first one that does not wants.
        let mut given = layers.iter().find_map(Layer::in_features);
        let mut all = Vec::with_capacity(layers.len());
        let mut last_step = false;
        for (n, layer) in layers.iter().enumerate() {
            let name = layer.name();
            if let Layer::Dropout(p) = layer {
                ensure!((0.0..1.0).contains(p), "p of Dropout must be in [0, 1), got {p}");
            }
            let takes = if layer.tokens().is_some() {
                ensure!(n == 0, "{name} takes tokens: it can only be the first layer");
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
                    "no layer says how many features there are: {name} takes any number; add one that does, as \
                     Linear"
                );
                given
            };
            let sequences = layer.directions().is_some() || matches!(layer, Layer::LastStep);
            ensure!(
                !(last_step && sequences),
                "layer {n}, {name}, takes sequences, but after LastStep there is one step of each"
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

    /// Directions of the layer that a LastStep takes steps of, given all layers before it; 1 without such a layer.
    ///
    /// # Errors
    /// If it has two, and what stands between mixes the numbers of both.
    pub(super) fn directions_before(layers: &[Layer]) -> Result<usize> {
        let recurrent = layers.iter().rposition(|layer| layer.directions().is_some());
        let Some(n) = recurrent.filter(|&n| layers[n].directions() == Some(2)) else {
            return Ok(1);
        };
        let mixing = layers[n + 1..].iter().find(|layer| !matches!(layer, Layer::Dropout(_)));
        if let Some(mixing) = mixing {
            ensure!(
                false,
                "LastStep takes each of the two directions of layer {n} where that direction ends, but {mixing} \
                 between them mixes what they give at one step; put LastStep right after layer {n}",
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
