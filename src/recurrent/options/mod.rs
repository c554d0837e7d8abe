//! Options inside the recurrence: layer normalisation, recurrent dropout, zoneout. See
//! [`Regularisation`](super::direction::Regularisation).

pub(crate) mod norm;
pub(crate) mod zoneout;
