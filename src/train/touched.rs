//! The parameters that a step changes. An [`Embedding`](crate::Embedding) has gradients only for the tokens
//! of the batch, and some rules leave parameters without a gradient as they are. Then a step costs nothing
//! for the other rows of the table.

use std::iter;
use std::ops::Range;

use crate::error::Result;
use crate::nn::{Input, Layer};
use crate::room::{copied, make_room};

/// The ranges of the flat parameters that have gradients after a pass over `input`, in order.
pub(super) fn with_gradients<'a, E>(
    mut layers: impl Iterator<Item = &'a Layer>,
    parameters: usize,
    input: Input<'_, E>,
) -> Result<Vec<Range<usize>>> {
    let (Some(Layer::Embedding(table)), Input::Tokens(tokens)) = (layers.next(), input) else {
        return Ok(vec![Range { start: 0, end: parameters }]);
    };
    let mut tokens = copied(tokens)?;
    tokens.sort_unstable();
    tokens.dedup();
    let size = table.embedding_dim();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    make_room(&mut ranges, tokens.len() + 1)?;
    let rows = tokens.into_iter().map(|token| token as usize * size..(token as usize + 1) * size);
    for range in rows.chain(iter::once(table.parameter_len()..parameters)) {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Embedding;

    #[test]
    fn a_table_has_gradients_for_the_tokens_of_the_batch() {
        let layers = [Layer::Embedding(Embedding::new(5, 3).unwrap())];
        let of = |tokens: &[u32], parameters| {
            with_gradients::<f32>(layers.iter(), parameters, Input::Tokens(tokens)).unwrap()
        };
        assert_eq!(of(&[3, 1, 3], 20), [3..6, 9..12, 15..20]);
        assert_eq!(of(&[1, 0, 4], 20), [0..6, 12..20]);
        assert_eq!(of(&[], 20), [Range { start: 15, end: 20 }]);
        let whole = with_gradients(layers[1..].iter(), 20, Input::Features(&[1.0f32]));
        assert_eq!(whole.unwrap(), [Range { start: 0, end: 20 }]);
    }
}
