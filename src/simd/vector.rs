//! The traits that kernels are written with: number types, operations on vectors of them, and kernels.

use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use super::coefficients::Coefficients;
use super::level::Level;

/// The number types of the kernels: `f32` and `f64`. Other crates cannot implement the trait, because they
/// cannot name `Coefficients`. `Buffer` relies on all-zero bytes being a number.
pub trait Element:
    Coefficients
    + Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Send
    + Sync
    + fmt::Debug
    + fmt::Display
    + 'static
{
    /// The type's name in NumPy: `"float32"` or `"float64"`.
    const NAME: &'static str;
    /// Whether two numbers can be rounded to a pair of bf16 in the bits of one. True for `f32` only.
    const PAIRS: bool;
    /// Rounds an `f64` to this type.
    fn from_f64(value: f64) -> Self;
    /// Widens to `f64`, exactly.
    fn to_f64(self) -> f64;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Rounds two numbers to a pair of bf16; see [`Simd::pair`].
    #[doc(hidden)]
    fn pair(first: Self, second: Self) -> Self;
    /// Adds the products of the halves of two pairs to `sum`; see [`Simd::dot_pairs`].
    #[doc(hidden)]
    fn dot_pairs(x: Self, w: Self, sum: Self) -> Self;
    /// Whether two slices of the same length hold the same numbers, bit by bit.
    fn same_bits(a: &[Self], b: &[Self]) -> bool;
    /// How many numbers a vector register of a level holds.
    #[doc(hidden)]
    fn lanes(level: Level) -> usize;
    /// Runs a kernel in the frame of a level. [`Level::run`] calls it.
    #[doc(hidden)]
    fn run<T: Kernel<Self>>(level: Level, task: T) -> T::Output;
    /// What `T` is for this number type.
    #[doc(hidden)]
    fn of<T: PerType>() -> &'static T::Of<Self>;
}

/// Something that there is once for each number type, such as a table of compiled functions.
#[doc(hidden)]
pub trait PerType {
    /// Its type for `E`.
    type Of<E: Element>: 'static;
    /// What there is for `f32`.
    fn f32() -> &'static Self::Of<f32>;
    /// What there is for `f64`.
    fn f64() -> &'static Self::Of<f64>;
}

/// Vector operations on `LANES` numbers at once.
///
/// `min` and `max` return their second operand if either is NaN, as x86 does. So a clamp that passes the
/// value second keeps NaN.
pub trait Simd<E: Element>: Copy {
    /// One vector register.
    type V: Copy;
    /// How many numbers a register holds.
    const LANES: usize;
    /// How many rows of two vectors the register-tiled product accumulates at once.
    const ROWS: usize;
    /// How many columns [`Simd::transpose_ptr`] transposes.
    const COLUMNS: usize = 16 / size_of::<E>();

    /// Runs a kernel in a frame of its own, which is compiled once for all callers. This keeps code that is
    /// large and called from many places from being copied to each of them.
    fn outline<T: Kernel<E>>(self, task: T) -> T::Output;
    /// Same as [`Simd::outline`], for a kernel that works on pairs of bf16. The frame has the machine's
    /// instructions for pairs, if there are any.
    #[inline(always)]
    fn outline_pairs<T: Kernel<E>>(self, task: T) -> T::Output {
        self.outline(task)
    }
    /// Prefetches the cache line around `at`. The address need not be valid.
    #[inline(always)]
    fn prefetch(self, _at: *const E) {}
    /// A vector whose lanes are all `x`.
    fn splat(self, x: E) -> Self::V;
    /// Loads `LANES` numbers from `from`.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers.
    unsafe fn load_ptr(self, from: *const E) -> Self::V;
    /// Loads a slice that is shorter than `LANES` and not empty; the other lanes are zero.
    fn load_part(self, from: &[E]) -> Self::V;
    /// Writes all lanes to `to`.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers.
    unsafe fn store_ptr(self, to: *mut E, v: Self::V);
    /// Writes the first lanes to a slice that is shorter than `LANES` and not empty.
    fn store_part(self, to: &mut [E], v: Self::V);
    /// Turns columns of `LANES` rows into vectors: `to[k * to_stride + lane]` becomes
    /// `from[lane * from_stride + k]`, for k below `COLUMNS`.
    ///
    /// # Safety
    /// `from` is valid for reading `COLUMNS` numbers of every row, `to` for writing `LANES` of every k.
    #[inline(always)]
    unsafe fn transpose_ptr(
        self,
        from: *const E,
        from_stride: usize,
        to: *mut E,
        to_stride: usize,
    ) {
        for k in 0..Self::COLUMNS {
            for lane in 0..Self::LANES {
                // SAFETY: the caller vouches for both pointers.
                unsafe { *to.add(k * to_stride + lane) = *from.add(lane * from_stride + k) }
            }
        }
    }
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once where the machine can.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller of the two; `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The greater of the two; `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest whole number, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole numbers `n` in the normal exponent range; unspecified for NaN.
    fn pow2(self, n: Self::V) -> Self::V;
    /// Zero where `x <= 0`, else `a`; so `a` also where `x` is NaN.
    fn zero_unless_positive(self, x: Self::V, a: Self::V) -> Self::V;

    /// Rounds numbers to pairs of bf16, each in the bits of one number: `first` in the lower half and
    /// `second` of the same lane in the upper half. Pairs exist only for `f32`.
    #[inline(always)]
    fn pair(self, first: Self::V, second: Self::V) -> Self::V {
        let (first, second) = (lanes::<E, Self>(self, first), lanes::<E, Self>(self, second));
        let mut pairs = [E::ZERO; 16];
        for lane in 0..Self::LANES {
            pairs[lane] = E::pair(first[lane], second[lane]);
        }
        self.load(&pairs)
    }

    /// Rounds 2 `LANES` numbers, `low` and then `high`, to pairs of neighbours.
    #[inline(always)]
    fn pair_neighbours(self, low: Self::V, high: Self::V) -> Self::V {
        let (low, high) = (lanes::<E, Self>(self, low), lanes::<E, Self>(self, high));
        let mut pairs = [E::ZERO; 16];
        for lane in 0..Self::LANES / 2 {
            pairs[lane] = E::pair(low[2 * lane], low[2 * lane + 1]);
            pairs[Self::LANES / 2 + lane] = E::pair(high[2 * lane], high[2 * lane + 1]);
        }
        self.load(&pairs)
    }

    /// Adds the products of both halves of the pairs `x` and `w` to `sum`. Every level gives the same bits
    /// (bf16.rs), except for NaN. Each half and each sum must be zero or at least the smallest normal number;
    /// so is each result.
    #[inline(always)]
    fn dot_pairs(self, x: Self::V, w: Self::V, sum: Self::V) -> Self::V {
        let (x, w) = (lanes::<E, Self>(self, x), lanes::<E, Self>(self, w));
        let mut sums = lanes::<E, Self>(self, sum);
        for lane in 0..Self::LANES {
            sums[lane] = E::dot_pairs(x[lane], w[lane], sums[lane]);
        }
        self.load(&sums)
    }

    /// Loads the first `LANES` numbers of a slice; if it is shorter, the other lanes are zero.
    #[inline(always)]
    fn load(self, from: &[E]) -> Self::V {
        if from.len() >= Self::LANES {
            // SAFETY: the slice holds at least LANES numbers.
            unsafe { self.load_ptr(from.as_ptr()) }
        } else if from.is_empty() {
            // A masked load from a dangling pointer reads nothing, but emulators of CPUs do not know that.
            self.splat(E::ZERO)
        } else {
            self.load_part(from)
        }
    }

    /// Fills a slice with zeros. It is meant for rows, which are too short for a call of `memset`.
    #[inline(always)]
    fn clear(self, to: &mut [E]) {
        for p in (0..to.len()).step_by(Self::LANES) {
            self.store(&mut to[p..], self.splat(E::ZERO));
        }
    }

    /// Copies a slice to one of the same length. It is meant for rows, which are too short for a call of
    /// `memmove`.
    #[inline(always)]
    fn copy(self, from: &[E], to: &mut [E]) {
        assert_eq!(from.len(), to.len());
        for p in (0..from.len()).step_by(Self::LANES) {
            self.store(&mut to[p..], self.load(&from[p..]));
        }
    }

    /// Writes the first `LANES` numbers of a slice, or all of them if it is shorter.
    #[inline(always)]
    fn store(self, to: &mut [E], v: Self::V) {
        if to.len() >= Self::LANES {
            // SAFETY: the slice holds at least LANES numbers.
            unsafe { self.store_ptr(to.as_mut_ptr(), v) }
        } else if !to.is_empty() {
            self.store_part(to, v)
        }
    }
}

/// The numbers of a register, followed by zeros.
#[inline(always)]
pub(super) fn lanes<E: Element, S: Simd<E>>(s: S, v: S::V) -> [E; 16] {
    let mut lanes = [E::ZERO; 16];
    s.store(&mut lanes, v);
    lanes
}

/// Work that is compiled once for every level and runs in the level's frame.
pub trait Kernel<E: Element> {
    /// The result of the work.
    type Output;
    /// Does the work. It must be `#[inline(always)]`, like everything that it calls.
    fn run<S: Simd<E>>(self, s: S) -> Self::Output;
}
