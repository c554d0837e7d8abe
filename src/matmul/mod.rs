//! Matrix products on registers: packed right-hand sides, the tiled product, where its sums go, sums of outer products.

pub(crate) mod bf16;
pub(crate) mod outer;
pub(crate) mod panel;
pub(crate) mod product;
pub(crate) mod sink;
