//! The tests of the crate's public API, as one program. With a program for every file, the compiler would
//! compile the kernels again for each.

mod common;

mod allocations;
mod bf16;
mod contracts;
mod float_mode;
mod kernels;
mod lab;
mod layers;
mod models;
mod modules;
mod regularised;
mod training;
mod truncated;
