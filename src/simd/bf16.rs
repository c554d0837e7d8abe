//! bf16 (the upper half of an `f32`) and the arithmetic of x86's VDPBF16PS, in plain loops.
//!
//! Products in bf16 work on pairs. A pair is two neighbours of a sum over k, rounded to nearest even, in the
//! bits of one `f32`, the first in the lower half. A multiply-add of pairs is two multiply-adds of numbers:
//!
//! ```text
//! dot(x, w, sum) = fma(x.first, w.first, fma(x.second, w.second, sum))
//! ```
//!
//! each rounded to `f32` once. Numbers below the smallest normal number become zero: numbers to be rounded to
//! bf16, operands, and each of the two results (if it is below after rounding). The bits of MXCSR do not
//! matter.

/// The two halves of a pair, as numbers.
#[inline(always)]
fn halves(pair: f32) -> [f32; 2] {
    [f32::from_bits(pair.to_bits() << 16), f32::from_bits(pair.to_bits() & 0xFFFF_0000)]
}

/// Rounds a number to bf16, in the upper half.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        bits | 0x0040_0000
    } else if bits & 0x7F80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits + 0x7FFF + (bits >> 16 & 1)
    }
}

/// Rounds two numbers to a pair.
#[inline(always)]
pub fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(round(first) >> 16 | round(second) & 0xFFFF_0000)
}

/// `x`, or zero of the same sign if `x` is below the smallest normal number.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// `a b + c` for bf16 a and b, rounded once.
#[inline(always)]
fn fma(a: f32, b: f32, c: f32) -> f32 {
    // The product has 16 bits, so it is exact. A sum of more than 53 bits is never near the middle of two
    // f32, so rounding it twice gives the same as rounding it once.
    let sum = f64::from(flushed(a)) * f64::from(flushed(b)) + f64::from(flushed(c));
    // A sum that rounds up to the smallest normal number, in 24 bits of any exponent, is not below it.
    const LEAST: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1.0 / (1u64 << 25) as f64);
    if sum.abs() < LEAST { 0.0f32.copysign(sum as f32) } else { sum as f32 }
}

/// Adds the products of the halves of two pairs to `sum`.
#[inline(always)]
pub fn dot(x: f32, w: f32, sum: f32) -> f32 {
    let ([x0, x1], [w0, w1]) = (halves(x), halves(w));
    fma(x0, w0, fma(x1, w1, sum))
}

/// [`dot`] for each lane, for sums where vector instructions would not be exact.
#[cfg(target_arch = "x86_64")]
#[cold]
#[inline(never)]
pub fn dot_lanes(x: &[f32], w: &[f32], sums: &mut [f32]) {
    for ((sum, &x), &w) in sums.iter_mut().zip(x).zip(w) {
        *sum = dot(x, w, *sum);
    }
}
