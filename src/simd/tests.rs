//! Every level's operations against plain arithmetic, whole and partial vectors.

use super::*;

struct Ops;

impl<E: Element> Task<E> for Ops {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        let e = E::from_f64;
        let n = S::LANES;
        let a: Vec<E> = (0..n).map(|i| e(i as f64 - 2.5)).collect();
        let b: Vec<E> = (0..n).map(|i| e(3.0 - 0.75 * i as f64)).collect();
        let check = |name: &str, v: S::V, want: &dyn Fn(f64, f64) -> f64| {
            let mut out = vec![E::ZERO; n];
            s.store(&mut out, v);
            for lane in 0..n {
                let (x, y) = (a[lane].to_f64(), b[lane].to_f64());
                assert_eq!(out[lane].to_f64(), e(want(x, y)).to_f64(), "{name}({x}, {y})");
            }
        };
        let (va, vb) = (s.load(&a), s.load(&b));
        check("add", s.add(va, vb), &|x, y| x + y);
        check("sub", s.sub(va, vb), &|x, y| x - y);
        check("mul", s.mul(va, vb), &|x, y| x * y);
        check("mul_add", s.mul_add(va, vb, va), &|x, y| x * y + x);
        check("neg_mul_add", s.neg_mul_add(va, vb, va), &|x, y| x - x * y);
        check("min", s.min(va, vb), &f64::min);
        check("max", s.max(va, vb), &f64::max);
        check("round", s.round(va), &|x, _| x.round_ties_even());
        check("pow2", s.pow2(s.round(va)), &|x, _| x.round_ties_even().exp2());
        check("zero_unless_positive", s.zero_unless_positive(va, vb), &|x, y| {
            if x <= 0.0 { 0.0 } else { y }
        });
        check("div", s.div(s.splat(E::ONE), vb), &|_, y| 1.0 / y);
        let nan = s.splat(e(f64::NAN));
        for (name, v) in [("min", s.min(va, nan)), ("max", s.max(va, nan))] {
            check_all_nan(s, name, v);
        }
        check("min, NaN first", s.min(nan, va), &|x, _| x);
        check("max, NaN first", s.max(nan, va), &|x, _| x);
        check("positive or NaN", s.zero_unless_positive(nan, va), &|x, _| x);

        let (columns, from_stride, to_stride) = (S::COLUMNS, S::COLUMNS + 3, n + 5);
        let from: Vec<E> = (0..n * from_stride).map(|i| e(i as f64)).collect();
        let mut to = vec![e(-1.0); columns * to_stride];
        // SAFETY: as many rows and columns as the strides above leave room for.
        unsafe { s.transpose_ptr(from.as_ptr(), from_stride, to.as_mut_ptr(), to_stride) };
        for (k, to) in to.chunks(to_stride).enumerate() {
            for (lane, &found) in to.iter().enumerate() {
                let want = if lane < n { from[lane * from_stride + k] } else { e(-1.0) };
                assert_eq!(found, want, "transposing, {k}, {lane}");
            }
        }

        for len in 0..n {
            let mut out = vec![e(9.0); n];
            s.store(&mut out, s.load(&a[..len]));
            for lane in 0..n {
                let want = if lane < len { a[lane] } else { E::ZERO };
                assert_eq!(out[lane], want, "loading {len} of {n}");
            }
            let mut out = vec![e(9.0); n];
            s.store(&mut out[..len], va);
            for lane in 0..n {
                let want = if lane < len { a[lane] } else { e(9.0) };
                assert_eq!(out[lane], want, "storing {len} of {n}");
            }
        }
    }
}

#[inline(always)]
fn check_all_nan<E: Element, S: Simd<E>>(s: S, name: &str, v: S::V) {
    let mut out = vec![E::ZERO; S::LANES];
    s.store(&mut out, v);
    assert!(out.iter().all(|x| x.to_f64().is_nan()), "{name} lost a NaN");
}

#[test]
fn operations_of_every_level() {
    for level in Level::available() {
        level.run::<f32, _>(Ops);
        level.run::<f64, _>(Ops);
    }
}

#[test]
fn no_level_is_skipped() {
    // CI names the best level of its machine, so that a detection that fails is a failure.
    if let Ok(required) = std::env::var("BPTT_REQUIRE_SIMD") {
        let names: Vec<_> = Level::available().into_iter().map(Level::name).collect();
        assert!(names.contains(&required.as_str()), "{required} is not among {names:?}");
    }
}

#[test]
fn a_scope_lowers_the_level_and_ends() {
    let before = Level::current().unwrap();
    Level::PORTABLE.scope(|| assert_eq!(Level::current().unwrap(), Level::PORTABLE));
    assert_eq!(Level::current().unwrap(), before);
}
