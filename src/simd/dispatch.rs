//! From a level to the frame of its instructions. This is the one place that knows all frames.

use super::float_mode::KernelMode;
use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::level::Tier;
use super::vector::{Element, Kernel, PerType, Simd};
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
        E::lanes(self)
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

            fn of<T: PerType>() -> &'static T::Of<$type> {
                T::$type()
            }

            #[cfg(target_arch = "x86_64")]
            fn lanes(level: Level) -> usize {
                match level.0 {
                    Tier::Portable => <portable::Portable as Simd<$type>>::LANES,
                    Tier::Avx2 => <avx2::Avx2 as Simd<$type>>::LANES,
                    Tier::Avx512 => <avx512::Avx512<false> as Simd<$type>>::LANES,
                }
            }

            #[cfg(not(target_arch = "x86_64"))]
            fn lanes(_level: Level) -> usize {
                <portable::Portable as Simd<$type>>::LANES
            }

            #[cfg(target_arch = "x86_64")]
            fn run<T: Kernel<Self>>(level: Level, task: T) -> T::Output {
                let _mode = KernelMode::enter();
                match level.0 {
                    Tier::Portable => portable::frame(task),
                    // SAFETY: a level above portable only comes from detection of its features.
                    Tier::Avx2 => unsafe { avx2::frame(task) },
                    // SAFETY: as above.
                    Tier::Avx512 => unsafe { avx512::frame(task) },
                }
            }

            #[cfg(not(target_arch = "x86_64"))]
            fn run<T: Kernel<Self>>(_level: Level, task: T) -> T::Output {
                let _mode = KernelMode::enter();
                portable::frame(task)
            }
        }
    };
}

element!(f32, "float32", true, bf16::pair, bf16::dot);
element!(f64, "float64", false, |_, _| unreachable!("pairs are of float32"), |_, _, _| {
    unreachable!("pairs are of float32")
});
