//! What stands around the recurrent layers: linear layers, embeddings, dropout, normalisation, last steps, losses, and the
//! [`Sequential`] model that strings layers together.

mod embedding;
mod input;
mod instance;
mod last_step;
mod layer;
mod layer_norm;
mod linear;
mod loss;
mod sequential;
mod stepper;

pub use embedding::Embedding;
pub use input::Input;
pub use layer::Layer;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearMemory};
pub use loss::{IGNORED, Loss, Targets};
pub use sequential::Sequential;
pub use stepper::SequentialStepper;
#[cfg(feature = "python")]
pub(crate) use {
    instance::Instance,
    layer::{features, recurrent},
};
