//! The tests of the crate's public API, as one program: a program for every file would be linked,
//! and its kernels compiled, as many times.

mod common;

mod bf16;
mod contracts;
mod kernels;
mod lab;
mod layers;
mod models;
mod modules;
mod regularised;
mod training;
mod truncated;
