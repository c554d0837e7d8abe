//! exp, sigmoid and tanh from one polynomial, generic over [`Simd`].
//!
//! ```text
//! x = n ln 2 + r,  n whole, |r| <= ln 2 / 2          ln 2 is a sum of two numbers, so r is exact
//! p = expm1(r) = r + r^2 (c2 + c3 r + c4 r^2 + ...)  relative error below a quarter ulp
//! exp(x)     = 2^n + 2^n p
//! sigmoid(x) = 1 / (1 + exp(-x))                     full relative accuracy in the left tail
//! tanh(x)    = e / (e + 2),  e = expm1(2x) = 2^n p + (2^n - 1)      and near zero
//! ```
//!
//! Arguments are clamped so that no intermediate result overflows, and far enough out that the results are
//! those of infinity: at the lower end exp(x) and sigmoid(x) are below the smallest normal number, which is 0
//! in a frame. So a saturated gate has the slope 0. NaN stays NaN. The coefficients are those of minimax polynomials of degree 6 (f32, error
//! 1.3e-8) and 11 (f64, error 1.8e-17), found with Lawson's iteration in 60 digits.

use crate::simd::{Element, Simd};

/// `(2^n, expm1(r))` of `x = n ln 2 + r`.
#[inline(always)]
fn reduce<E: Element, S: Simd<E>>(s: S, x: S::V) -> (S::V, S::V) {
    let n = s.round(s.mul(x, s.splat(E::LOG2_E)));
    let r = s.neg_mul_add(n, s.splat(E::LN2_HIGH), x);
    let r = s.neg_mul_add(n, s.splat(E::LN2_LOW), r);
    let mut c = s.splat(E::EXPM1[0]);
    for &coefficient in &E::EXPM1[1..] {
        c = s.mul_add(c, r, s.splat(coefficient));
    }
    (s.pow2(n), s.mul_add(s.mul(r, r), c, r))
}

/// Clamps `x` to `-limit` to `limit`; NaN stays NaN.
#[inline(always)]
fn clamp<E: Element, S: Simd<E>>(s: S, x: S::V, limit: E) -> S::V {
    let limit = s.splat(limit);
    s.max(s.sub(s.splat(E::ZERO), limit), s.min(limit, x))
}

/// `e^x` for `|x|` up to `Coefficients::EXP_LIMIT`; constant beyond.
#[inline(always)]
pub fn exp<E: Element, S: Simd<E>>(s: S, x: S::V) -> S::V {
    let (scale, p) = reduce::<E, S>(s, clamp(s, x, E::EXP_LIMIT));
    s.mul_add(scale, p, scale)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid<E: Element, S: Simd<E>>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.splat(E::ZERO), x));
    s.div(s.splat(E::ONE), s.add(s.splat(E::ONE), e))
}

/// `tanh x`
#[inline(always)]
pub fn tanh<E: Element, S: Simd<E>>(s: S, x: S::V) -> S::V {
    let x = clamp(s, x, E::TANH_LIMIT);
    let (scale, p) = reduce::<E, S>(s, s.add(x, x));
    let e = s.mul_add(scale, p, s.sub(scale, s.splat(E::ONE)));
    s.div(e, s.add(e, s.splat(E::TWO)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Level};

    struct Map<'a, E>(&'a [E], &'a mut [E], u8);

    impl<E: Element> Kernel<E> for Map<'_, E> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd<E>>(self, s: S) {
            for (x, y) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
                let v = s.load(x);
                let v = match self.2 {
                    0 => exp(s, v),
                    1 => sigmoid(s, v),
                    _ => tanh(s, v),
                };
                s.store(y, v);
            }
        }
    }

    /// Largest relative error of the three functions over a grid, in units of the type's epsilon. An error
    /// below the smallest normal number does not count: kernels take smaller products for zero.
    fn worst<E: Element>(level: Level, epsilon: f64, smallest: f64, limit: f64) -> [f64; 3] {
        let functions: [fn(f64) -> f64; 3] = [f64::exp, |x| 1.0 / (1.0 + (-x).exp()), f64::tanh];
        let mut grid: Vec<E> =
            (-40_000..=40_000).map(|i| E::from_f64(f64::from(i) / 40_000.0 * limit)).collect();
        grid.extend((-300..0).map(|e| E::from_f64(1.1 * 2f64.powi(e).max(1e-30))));
        let mut out = vec![E::ZERO; grid.len()];
        let mut errors = [0.0; 3];
        for (which, exact) in functions.into_iter().enumerate() {
            level.run(Map(&grid, &mut out, which as u8));
            for (&x, &y) in grid.iter().zip(&out) {
                let want = exact(x.to_f64());
                let error = ((y.to_f64() - want).abs() - smallest) / want.abs() / epsilon;
                errors[which] = f64::max(errors[which], error);
            }
        }
        errors
    }

    #[test]
    fn relative_error_is_a_few_ulps_everywhere() {
        for level in Level::available() {
            let single = worst::<f32>(level, f32::EPSILON.into(), f32::MIN_POSITIVE.into(), 80.0);
            let double = worst::<f64>(level, f64::EPSILON, f64::MIN_POSITIVE, 700.0);
            for error in single.into_iter().chain(double) {
                assert!(error < 3.0, "{level:?}: f32 {single:?}, f64 {double:?}");
            }
        }
    }

    #[test]
    fn special_values() {
        fn check<E: Element>(level: Level) {
            let x: Vec<E> = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1e30, -1e30]
                .map(E::from_f64)
                .to_vec();
            let mut y = vec![E::ZERO; x.len()];
            level.run(Map(&x, &mut y, 1));
            let y1: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
            assert!(y1[0].is_nan());
            assert_eq!((y1[1], y1[3], y1[4]), (1.0, 0.5, 1.0), "{level:?}");
            assert_eq!((y1[2], y1[5]), (0.0, 0.0), "{level:?}");
            level.run(Map(&x, &mut y, 0));
            let y0: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
            assert!(y0[0].is_nan() && y0[1].is_finite() && y0[1] > 1e38, "{level:?}: {y0:?}");
            assert_eq!((y0[2], y0[3], y0[5]), (0.0, 1.0, 0.0), "{level:?}");
            level.run(Map(&x, &mut y, 2));
            let y2: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
            assert!(y2[0].is_nan());
            assert_eq!(y2[1..], [1.0, -1.0, 0.0, 1.0, -1.0], "{level:?}");
        }
        for level in Level::available() {
            check::<f32>(level);
            check::<f64>(level);
        }
    }
}
