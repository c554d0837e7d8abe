//! The operations of every level, compared with plain arithmetic, on whole and partial vectors.

use super::vector::lanes;
use super::*;

struct Ops;

impl<E: Element> Kernel<E> for Ops {
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
        // SAFETY: both arrays have room for all rows and columns, by the strides above.
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
    // CI names the best level of its machine, so the test fails if detection misses it.
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

/// Numbers of random bits, with exponents from `least` to below `limit`.
fn numbers(seed: &mut u64, count: usize, least: u32, limit: u32) -> Vec<f32> {
    let mut next = || {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 32) as u32
    };
    let mut number = || {
        let (bits, exponent) = (next(), least + next() % (limit - least));
        f32::from_bits(bits & 0x807F_FFFF | exponent << 23)
    };
    (0..count).map(|_| number()).collect()
}

/// Compares pairs, and sums with their products, with the loops of bf16.rs, bit by bit; any NaN equals
/// any other.
struct PairOps<'a> {
    /// The first and second halves of x, those of w, and the sums.
    numbers: [&'a [f32]; 5],
}

impl Kernel<f32> for PairOps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) {
        let n = S::LANES;
        for at in (0..self.numbers[0].len() - n).step_by(n) {
            let [x0, x1, w0, w1, sums] = self.numbers.map(|numbers| &numbers[at..][..n]);
            let (x, w) = (s.pair(s.load(x0), s.load(x1)), s.pair(s.load(w0), s.load(w1)));
            let neighbours = lanes::<f32, S>(s, s.pair_neighbours(s.load(x0), s.load(x1)));
            let both = [x0, x1].concat();
            let got = lanes::<f32, S>(s, s.dot_pairs(x, w, s.load(sums)));
            let (x, w) = (lanes::<f32, S>(s, x), lanes::<f32, S>(s, w));
            for lane in 0..n {
                let want = bf16::pair(both[2 * lane], both[2 * lane + 1]);
                assert_eq!(neighbours[lane].to_bits(), want.to_bits(), "{:e}", both[2 * lane]);
                let want = [bf16::pair(x0[lane], x1[lane]), bf16::pair(w0[lane], w1[lane])];
                assert_eq!([x[lane], w[lane]].map(f32::to_bits), want.map(f32::to_bits));
                let (got, want) = (got[lane], bf16::dot(x[lane], w[lane], sums[lane]));
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{got:e} for {want:e} = {:e} + {:08x} . {:08x}",
                    sums[lane],
                    x[lane].to_bits(),
                    w[lane].to_bits()
                );
            }
        }
    }
}

/// [`PairOps`] in the frame for pairs.
struct Outlined<'a>(PairOps<'a>);

impl Kernel<f32> for Outlined<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) {
        s.outline_pairs(self.0);
    }
}

#[test]
fn pairs_of_bf16_have_the_same_bits_at_every_level() {
    let mut seed = 1;
    // Exponents of x, w and sums: all; similar, so that all three count; products near the smallest normal
    // number; products near the largest.
    let all = (0, 256);
    for [x, w, sum] in [
        [all, all, (1, 256)],
        [(120, 130), (120, 130), (110, 140)],
        [(1, 60), (60, 90), (1, 4)],
        [(190, 200), (180, 190), (245, 255)],
    ] {
        let mut draw = |(least, limit)| numbers(&mut seed, 1 << 16, least, limit);
        let (x, w) = ([draw(x), draw(x)], [draw(w), draw(w)]);
        let mut sums = draw(sum);
        // Some sums start at zero, and some numbers are ties between two bf16.
        sums.iter_mut().step_by(5).for_each(|sum| *sum = 0.0);
        let tie = |x: &f32| f32::from_bits(x.to_bits() & 0xFFFF_0000 | 0x8000);
        let x = x.map(|x| x.iter().map(tie).chain(x.iter().copied()).collect::<Vec<_>>());
        let (w, sums) = (w.map(|w| w.repeat(2)), sums.repeat(2));
        for level in Level::available() {
            let ops = || PairOps { numbers: [&x[0], &x[1], &w[0], &w[1], &sums] };
            level.run(ops());
            level.run(Outlined(ops()));
        }
    }
    // Results just below the smallest normal number round up to it or become zero.
    for power in 148..156 {
        let x = vec![2f32.powi(-80); 64];
        let w: Vec<_> = (0..64).map(|n| -2f32.powi(80 - power) * (1.0 + n as f32 / 64.0)).collect();
        let (zeros, sums) = (vec![0.0; 64], vec![f32::MIN_POSITIVE; 64]);
        for level in Level::available() {
            for numbers in [[&x, &zeros, &w, &zeros, &sums], [&zeros, &x, &zeros, &w, &sums]] {
                let ops = || PairOps { numbers: numbers.map(|numbers| &numbers[..]) };
                level.run(ops());
                level.run(Outlined(ops()));
            }
        }
    }
}
