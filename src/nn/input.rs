//! What a model is given.

/// A batch of sequences without padding, as its [`BatchSizes`](crate::BatchSizes) say.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a, E> {
    /// Numbers (sum of T, F); (T, B, F) where all sequences have one length.
    Features(&'a [E]),
    /// Tokens (sum of T,), for a model that starts with [`Layer::OneHot`](crate::Layer::OneHot).
    Tokens(&'a [u32]),
}
