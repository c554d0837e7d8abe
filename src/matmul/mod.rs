//! Matrix products in registers: packed right-hand sides, the tiled product, its sinks, sums of outer
//! products.

pub(crate) mod bf16;
pub(crate) mod outer;
pub(crate) mod panel;
pub(crate) mod product;
pub(crate) mod sink;
