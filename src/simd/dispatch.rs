//! From a level to the frame of its instructions. This is the one place that knows all frames.

use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::level::Tier;
use super::vector::{Element, Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use super::{bf16, portable};

impl Level {
    /// Runs a kernel, compiled for this level, and returns its output.
    pub fn run<E: Element, T: Kernel<E>>(self, kernel: T) -> T::Output {
        E::run(self, kernel)
    }

    /// How many numbers a vector register holds.
    pub(crate) fn lanes<E: Element>(self) -> usize {
        struct Lanes;
        impl<E: Element> Kernel<E> for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd<E>>(self, _s: S) -> usize {
                S::LANES
            }
        }
        self.run::<E, _>(Lanes)
    }
}

macro_rules! element {
    ($type:ident, $name:literal, $pairs:literal, $pair:expr, $dot:expr) => {
        impl Element for $type {
            const NAME: &'static str = $name;
            const PAIRS: bool = $pairs;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $type
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }

            #[inline(always)]
            fn pair(first: Self, second: Self) -> Self {
                $pair(first, second)
            }

            #[inline(always)]
            fn dot_pairs(x: Self, w: Self, sum: Self) -> Self {
                $dot(x, w, sum)
            }

            fn same_bits(a: &[Self], b: &[Self]) -> bool {
                // In chunks: vectors compare within a chunk, and a difference ends the loop after it.
                a.chunks(1024).zip(b.chunks(1024)).all(|(a, b)| {
                    a.iter().zip(b).fold(0, |d, (a, b)| d | (a.to_bits() ^ b.to_bits())) == 0
                })
            }

            #[cfg(target_arch = "x86_64")]
            fn run<T: Kernel<Self>>(level: Level, task: T) -> T::Output {
                match level.0 {
                    Tier::Portable => task.run(portable::Portable),
                    // SAFETY: a level above portable only comes from detection of its features.
                    Tier::Avx2 => unsafe { avx2::frame(task) },
                    // SAFETY: as above.
                    Tier::Avx512 => unsafe { avx512::frame(task) },
                }
            }

            #[cfg(not(target_arch = "x86_64"))]
            fn run<T: Kernel<Self>>(_level: Level, task: T) -> T::Output {
                task.run(portable::Portable)
            }
        }
    };
}

element!(f32, "float32", true, bf16::pair, bf16::dot);
element!(f64, "float64", false, |_, _| unreachable!("pairs are of float32"), |_, _, _| {
    unreachable!("pairs are of float32")
});
