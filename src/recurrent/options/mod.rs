//! What regularises a recurrent layer inside its steps. See [`Regularisation`](super::direction::Regularisation).

pub(crate) mod norm;
pub(crate) mod zoneout;
