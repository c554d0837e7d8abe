//! Embeddings: every token has a vector of its own, a row of W (V, D), as in torch.

use crate::error::{Error, Result, ensure};
use crate::math::sums::AddScaled;
use crate::simd::{Element, Kernel, Level, Simd};

/// A table of vectors for tokens. Its parameter is `weight` (num_embeddings, embedding_dim).
///
/// # Examples
/// ```
/// use bptt::{BatchSizes, Embedding, Input, Layer, Sequential};
///
/// let mut model = Sequential::<f32>::new(vec![Layer::Embedding(Embedding::new(3, 2)?)])?;
/// model.params = vec![0.0, 0.1, 1.0, 1.1, 2.0, 2.1]; // (3, 2)
/// let sizes = BatchSizes::new(1, vec![1, 1])?;
/// assert_eq!(model.forward(Input::Tokens(&[2, 0]), &sizes, false)?, [2.0, 2.1, 0.0, 0.1]);
/// # Ok::<(), bptt::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    num_embeddings: usize,
    embedding_dim: usize,
}

impl Embedding {
    /// A table for `num_embeddings` tokens, with vectors of `embedding_dim` numbers.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Result<Self> {
        ensure!(num_embeddings > 0, "num_embeddings must be at least 1, got 0");
        ensure!(embedding_dim > 0, "embedding_dim must be at least 1, got 0");
        let len = num_embeddings.checked_mul(embedding_dim);
        ensure!(
            len.is_some_and(|len| len < isize::MAX as usize / 64),
            "an embedding with num_embeddings {num_embeddings} and embedding_dim {embedding_dim} does not \
             fit in memory; use smaller sizes"
        );
        Ok(Self { num_embeddings, embedding_dim })
    }

    /// V, the number of different tokens.
    pub fn num_embeddings(&self) -> usize {
        self.num_embeddings
    }

    /// D, the number of output features.
    pub fn embedding_dim(&self) -> usize {
        self.embedding_dim
    }

    /// The names and shapes of the parameters. The names are torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        vec![("weight".into(), vec![self.num_embeddings, self.embedding_dim])]
    }

    /// The number of numbers in the parameters.
    pub fn parameter_len(&self) -> usize {
        self.num_embeddings * self.embedding_dim
    }

    /// Writes the vectors of tokens (N,), each below V, to y (N, D).
    pub(super) fn forward<E: Element>(
        &self,
        params: &[E],
        tokens: &[u32],
        y: &mut [E],
    ) -> Result<()> {
        let size = self.embedding_dim;
        for (y, &token) in y.chunks_exact_mut(size).zip(tokens) {
            let from = params.chunks_exact(size).nth(token as usize);
            y.copy_from_slice(from.ok_or_else(|| changed(token))?);
        }
        Ok(())
    }

    /// Adds the gradient of each token's vector, from dy (N, D), to its row of `dparams`.
    pub(super) fn backward<E: Element>(
        &self,
        tokens: &[u32],
        dy: &[E],
        dparams: &mut [E],
    ) -> Result<()> {
        Level::current()?.run(AddRows { tokens, dy, dparams, size: self.embedding_dim })
    }
}

/// The error of a token that was in range when it was checked. Other code can write to the tokens of a caller
/// while a layer reads them.
pub(super) fn changed(token: u32) -> Error {
    Error::new(format!(
        "token {token} is out of range: the tokens changed while the layer read them; give a copy"
    ))
}

/// Adds every row of dy to the row of `dparams` that belongs to its token.
struct AddRows<'a, E> {
    tokens: &'a [u32],
    dy: &'a [E],
    dparams: &'a mut [E],
    size: usize,
}

impl<E: Element> Kernel<E> for AddRows<'_, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        for (from, &token) in self.dy.chunks_exact(self.size).zip(self.tokens) {
            let Some(to) = self.dparams.chunks_exact_mut(self.size).nth(token as usize) else {
                return Err(changed(token));
            };
            AddScaled { to, from, scale: E::ONE }.run(s);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_changed_after_the_check_are_an_error() {
        let table = Embedding::new(3, 2).unwrap();
        for token in [3, u32::MAX] {
            let (mut y, mut grads) = ([0.0f32; 4], [0.0f32; 6]);
            let forward = table.forward(&[1.0; 6], &[2, token], &mut y).unwrap_err();
            let backward = table.backward(&[2, token], &y, &mut grads).unwrap_err();
            for error in [forward, backward] {
                assert!(error.to_string().contains("the tokens changed"), "{error}");
            }
        }
    }
}
