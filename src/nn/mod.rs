//! What stands around the recurrent layers: linear layers, one-hot inputs, losses, and the
//! [`Sequential`] model that strings layers together.

mod linear;
mod loss;
mod sequential;
mod stepper;

pub use linear::{Linear, LinearMemory};
pub use loss::{Loss, Targets};
#[cfg(feature = "python")]
pub(crate) use sequential::recurrent;
pub use sequential::{Input, Layer, Sequential};
pub use stepper::SequentialStepper;
