//! Models: linear layers, embeddings, dropout, normalisation, last steps, losses, and the [`Sequential`]
//! model of these and the recurrent layers, one after the other.

mod embedding;
mod input;
mod instance;
mod last_step;
mod layer;
mod layer_norm;
mod linear;
mod loss;
mod network;
mod sequential;
mod stateless;
mod stepper;

pub use embedding::Embedding;
pub use input::Input;
pub use layer::Layer;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearMemory};
pub use loss::{IGNORED, Loss, Targets};
pub use network::Network;
pub use sequential::Sequential;
pub use stateless::Stateless;
pub use stepper::SequentialStepper;
