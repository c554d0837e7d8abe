//! The input of a model.

/// A batch of sequences without padding, in the layout that its [`BatchSizes`](crate::BatchSizes) describe.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a, E> {
    /// Numbers, (sum of T, F). If all sequences have the same length, this is (T, B, F).
    Features(&'a [E]),
    /// Tokens, (sum of T,), for a model that starts with [`Layer::OneHot`](crate::Layer::OneHot) or
    /// [`Layer::Embedding`](crate::Layer::Embedding).
    Tokens(&'a [u32]),
}
