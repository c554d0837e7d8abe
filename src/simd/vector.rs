//! What kernels are written in: the number types, operations on vectors of them, and the kernel itself.

use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use super::coefficients::Coefficients;
use super::level::Level;

/// The number types of the kernels: `f32` and `f64`. Nobody else can implement it, because
/// `Coefficients` cannot be named outside; `Buffer` relies on all-zero bytes being a number.
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
    /// Whether two of its numbers can be rounded to a pair of bf16, in the bits of one: `f32`.
    const PAIRS: bool;
    /// Rounds a double to this type.
    fn from_f64(value: f64) -> Self;
    /// Widens to a double, exactly.
    fn to_f64(self) -> f64;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Rounds two numbers to a pair of bf16; see [`Simd::pair`].
    #[doc(hidden)]
    fn pair(first: Self, second: Self) -> Self;
    /// A sum and the products of the halves of two pairs.
    #[doc(hidden)]
    fn dot_pairs(x: Self, w: Self, sum: Self) -> Self;
    /// Whether two slices of one length hold the same numbers, bit for bit.
    fn same_bits(a: &[Self], b: &[Self]) -> bool;
    /// Runs a task in the frame of a level; called by [`Level::run`].
    #[doc(hidden)]
    fn run<T: Kernel<Self>>(level: Level, task: T) -> T::Output;
}

/// Vector operations on `LANES` numbers at once.
///
/// `min` and `max` give their second operand when either is NaN, as x86 does: with the value second,
/// clamping lets NaN through.
pub trait Simd<E: Element>: Copy {
    /// One vector register.
    type V: Copy;
    /// How many numbers a register holds.
    const LANES: usize;
    /// How many rows of two vectors the register-tiled product accumulates at once.
    const ROWS: usize;
    /// How many columns [`Simd::transpose_ptr`] takes.
    const COLUMNS: usize = 16 / size_of::<E>();

    /// Runs a part of a task in a frame of its own, compiled once for all who call it: what is large and
    /// called in many places would else be there as often.
    fn outline<T: Kernel<E>>(self, task: T) -> T::Output;
    /// The same for a part that works on pairs of bf16, in a frame with the instructions that the machine has for
    /// these, if it has any.
    #[inline(always)]
    fn outline_pairs<T: Kernel<E>>(self, task: T) -> T::Output {
        self.outline(task)
    }
    /// Asks for the line of memory around `at`, which need not be anybody's, before it is read or written.
    #[inline(always)]
    fn prefetch(self, _at: *const E) {}
    /// All lanes `x`.
    fn splat(self, x: E) -> Self::V;
    /// The first `LANES` numbers at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers.
    unsafe fn load_ptr(self, from: *const E) -> Self::V;
    /// The first numbers of a slice shorter than `LANES`, then zeros.
    fn load_part(self, from: &[E]) -> Self::V;
    /// Writes all lanes.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers.
    unsafe fn store_ptr(self, to: *mut E, v: Self::V);
    /// Writes the first lanes into a slice shorter than `LANES`.
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
                // SAFETY: the caller vouches for both.
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
    /// The lesser of the two; `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The greater of the two; `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole numbers `n` in the normal exponent range; anything for NaN.
    fn pow2(self, n: Self::V) -> Self::V;
    /// `a` where not `x <= 0` (so also where `x` is NaN), else zero.
    fn zero_unless_positive(self, x: Self::V, a: Self::V) -> Self::V;

    /// Rounds numbers to pairs of bf16 in the bits of one number each: `first` in the lower half, `second`, of the
    /// same lane, in the upper. Only for `f32`, as all that has to do with pairs.
    #[inline(always)]
    fn pair(self, first: Self::V, second: Self::V) -> Self::V {
        let (first, second) = (lanes::<E, Self>(self, first), lanes::<E, Self>(self, second));
        let mut pairs = [E::ZERO; 16];
        for lane in 0..Self::LANES {
            pairs[lane] = E::pair(first[lane], second[lane]);
        }
        self.load(&pairs)
    }

    /// Rounds 2 `LANES` numbers to pairs of neighbours.
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

    /// `sum` and the products of both halves of the pairs `x` and `w`: the same bits at every level (bf16.rs),
    /// unless they are NaN. No half and no sum may be below the smallest normal number, but zero; no result is.
    #[inline(always)]
    fn dot_pairs(self, x: Self::V, w: Self::V, sum: Self::V) -> Self::V {
        let (x, w) = (lanes::<E, Self>(self, x), lanes::<E, Self>(self, w));
        let mut sums = lanes::<E, Self>(self, sum);
        for lane in 0..Self::LANES {
            sums[lane] = E::dot_pairs(x[lane], w[lane], sums[lane]);
        }
        self.load(&sums)
    }

    /// The first `LANES` numbers of a slice, zeros where it is shorter.
    #[inline(always)]
    fn load(self, from: &[E]) -> Self::V {
        if from.len() >= Self::LANES {
            // SAFETY: the slice holds at least LANES numbers.
            unsafe { self.load_ptr(from.as_ptr()) }
        } else {
            self.load_part(from)
        }
    }

    /// Makes a slice zero: for rows, which are too short for a call of `memset`.
    #[inline(always)]
    fn clear(self, to: &mut [E]) {
        for p in (0..to.len()).step_by(Self::LANES) {
            self.store(&mut to[p..], self.splat(E::ZERO));
        }
    }

    /// Copies a slice to one of the same length: for rows, which are too short for a call of `memmove`.
    #[inline(always)]
    fn copy(self, from: &[E], to: &mut [E]) {
        assert_eq!(from.len(), to.len());
        for p in (0..from.len()).step_by(Self::LANES) {
            self.store(&mut to[p..], self.load(&from[p..]));
        }
    }

    /// Writes the first `LANES` numbers of a slice, or as many as it has.
    #[inline(always)]
    fn store(self, to: &mut [E], v: Self::V) {
        if to.len() >= Self::LANES {
            // SAFETY: the slice holds at least LANES numbers.
            unsafe { self.store_ptr(to.as_mut_ptr(), v) }
        } else {
            self.store_part(to, v)
        }
    }
}

/// The numbers of a register; zeros behind them.
#[inline(always)]
pub(super) fn lanes<E: Element, S: Simd<E>>(s: S, v: S::V) -> [E; 16] {
    let mut lanes = [E::ZERO; 16];
    s.store(&mut lanes, v);
    lanes
}

/// Work that is compiled once for every level and runs in the level's frame.
pub trait Kernel<E: Element> {
    /// What the work gives.
    type Output;
    /// The work; `#[inline(always)]`, as everything that it calls.
    fn run<S: Simd<E>>(self, s: S) -> Self::Output;
}
