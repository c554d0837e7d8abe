//! What stands around the recurrent layers: linear layers, one-hot inputs, last steps, losses, and the
//! [`Sequential`] model that strings layers together.

mod cross_entropy;
mod instance;
mod last_step;
mod layer;
mod linear;
mod loss;
mod sequential;
mod stepper;

pub use layer::Layer;
pub use linear::{Linear, LinearMemory};
pub use loss::{IGNORED, Loss, Targets};
pub use sequential::{Input, Sequential};
pub use stepper::SequentialStepper;
#[cfg(feature = "python")]
pub(crate) use {
    instance::Instance,
    layer::{features, recurrent},
};
