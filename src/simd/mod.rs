//! The only architecture-specific code: one trait of vector operations, its three implementations, and the
//! choice between them at run time.
//!
//! A kernel is an `#[inline(always)]` function generic over [`Simd`], wrapped in a [`Kernel`].
//! [`Level::run`] enters the one `#[target_feature]` frame of the level, and the compiler compiles the whole
//! kernel inside that frame for those instructions. Parallelism stays outside: each task enters its frame
//! once and computes all its time steps there.
//!
//! A token (`Avx512`, ...) is the proof that the machine has the instructions. Only a frame of its level can
//! make one. Only [`Level::run`] enters the first frame, code in it enters the others, and a [`Level`] above
//! portable only comes from detection.

#![allow(unsafe_code)]

/// Methods of an x86 token, each one expression of intrinsics over whole vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_ops {
    ($vector:ty; $($name:ident($($arg:ident),+) = $body:expr;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $vector),+) -> $vector {
                // SAFETY: the token proves that the machine has the instructions.
                unsafe { $body }
            }
        )+
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod bf16;
mod coefficients;
mod dispatch;
mod float_mode;
mod level;
pub mod peak;
pub(crate) mod portable;
mod vector;

pub use level::Level;
pub use vector::{Element, Kernel, PerType, Simd};

/// The former name of [`Kernel`].
pub use vector::Kernel as Task;

#[cfg(test)]
mod tests;
