//! Mathematics on vectors, generic over [`Simd`](crate::simd::Simd): elementary functions,
//! normalisation, dropout, sums.

pub(crate) mod dropout;
pub(crate) mod elementary;
pub(crate) mod normalise;
pub(crate) mod sums;
