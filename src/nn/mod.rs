//! What stands around the recurrent layers: linear layers, one-hot inputs, losses, and the
//! [`Sequential`] model that strings layers together.

mod cross_entropy;
mod layer;
mod linear;
mod loss;
mod sequential;
mod stepper;

pub use layer::Layer;
#[cfg(feature = "python")]
pub(crate) use layer::recurrent;
pub use linear::{Linear, LinearMemory};
pub use loss::{IGNORED, Loss, Targets};
pub use sequential::{Input, Sequential};
pub use stepper::SequentialStepper;
