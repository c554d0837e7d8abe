//! The only architecture-specific code: one trait of vector operations, three implementations of
//! it, and the choice between them at run time.
//!
//! A kernel is an `#[inline(always)]` function generic over [`Simd`], wrapped in a [`Kernel`].
//! [`Level::run`] enters the one `#[target_feature]` frame of the level, and the whole kernel is
//! compiled inside that frame for those instructions. Parallelism stays outside: each piece of work
//! enters its frame once and walks all its time steps there.
//!
//! A token (`Avx512`, ...) is the proof that the machine has the instructions: it
//! cannot be made anywhere but in the frame of its level, which only [`Level::run`] enters, and a
//! [`Level`] above portable only comes from detection.

#![allow(unsafe_code)]

/// Methods of an x86 token that are one expression of intrinsics over whole vectors.
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
mod level;
pub mod peak;
pub(crate) mod portable;
mod vector;

pub use level::Level;
pub use vector::{Element, Kernel, Simd};

/// The former name of [`Kernel`].
pub use vector::Kernel as Task;

#[cfg(test)]
mod tests;
