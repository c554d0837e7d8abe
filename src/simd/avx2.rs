//! AVX2 with FMA: 8 `f32` or 4 `f64` per register, 16 registers.

use core::arch::x86_64::*;

use super::bf16;
use super::vector::{Element, Kernel, Simd};

/// Proof that the machine has AVX2 and FMA. Only [`frame`] makes one.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Compiles a kernel for AVX2 and FMA and runs it. It is not inlined, so that its computations stay in the
/// mode of kernels, and so that [`Simd::outline`] compiles a kernel once.
///
/// # Safety
/// The machine has the features named here.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
pub unsafe fn frame<E: Element, T: Kernel<E>>(task: T) -> T::Output
where
    Avx2: Simd<E>,
{
    task.run(Avx2(()))
}

/// Ones followed by zeros. The mask of the first n lanes is a window into this array.
static WINDOW32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static WINDOW64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

impl Avx2 {
    /// All bits set in the first `n < 8` lanes.
    #[inline(always)]
    fn mask32(self, n: usize) -> __m256i {
        let window = &WINDOW32[8 - n..][..8];
        // SAFETY: the token; the window holds one register.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }

    /// All bits set in the first `n < 4` lanes.
    #[inline(always)]
    fn mask64(self, n: usize) -> __m256i {
        let window = &WINDOW64[4 - n..][..4];
        // SAFETY: the token; the window holds one register.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }
}

/// Turns columns of 8 rows into vectors; see [`Simd::transpose_ptr`]. Lane `j` of 16 bytes gathers rows
/// 4 j to 4 j + 3, and a transposition within each such lane does the rest.
///
/// # Safety
/// As for [`Simd::transpose_ptr`], and the machine has the level's features.
#[inline(always)]
unsafe fn transpose_f32(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        macro_rules! rows {
            ($first:literal) => {{
                let v = _mm256_castps128_ps256(_mm_loadu_ps(from.add($first * from_stride)));
                let v = _mm256_insertf128_ps::<1>(
                    v,
                    _mm_loadu_ps(from.add(($first + 4) * from_stride)),
                );
                v
            }};
        }
        let (a, b, c, d) = (rows!(0), rows!(1), rows!(2), rows!(3));
        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(ab, cd));
        _mm256_storeu_ps(to.add(to_stride), _mm256_shuffle_ps::<0xEE>(ab, cd));
        _mm256_storeu_ps(to.add(2 * to_stride), _mm256_shuffle_ps::<0x44>(ab_high, cd_high));
        _mm256_storeu_ps(to.add(3 * to_stride), _mm256_shuffle_ps::<0xEE>(ab_high, cd_high));
    }
}

/// Same as [`transpose_f32`], for 4 rows of `f64`, two per lane of 16 bytes.
///
/// # Safety
/// As for [`transpose_f32`].
#[inline(always)]
unsafe fn transpose_f64(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        macro_rules! rows {
            ($first:literal) => {{
                let v = _mm256_castpd128_pd256(_mm_loadu_pd(from.add($first * from_stride)));
                let v = _mm256_insertf128_pd::<1>(
                    v,
                    _mm_loadu_pd(from.add(($first + 2) * from_stride)),
                );
                v
            }};
        }
        let (a, b) = (rows!(0), rows!(1));
        _mm256_storeu_pd(to, _mm256_unpacklo_pd(a, b));
        _mm256_storeu_pd(to.add(to_stride), _mm256_unpackhi_pd(a, b));
    }
}

/// See [`Simd::pair`].
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn pair(first: __m256, second: __m256) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        let first = _mm256_srli_epi32::<16>(round(first));
        _mm256_castsi256_ps(_mm256_blend_epi16::<0xAA>(first, round(second)))
    }
}

/// See [`Simd::pair_neighbours`].
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn pair_neighbours(low: __m256, high: __m256) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        // Within 16 bytes, pairs of `low` come before pairs of `high`. The permutation sorts them.
        let pairs =
            pair(_mm256_shuffle_ps::<0x88>(low, high), _mm256_shuffle_ps::<0xDD>(low, high));
        _mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(_mm256_castps_pd(pairs)))
    }
}

/// Rounds numbers to bf16, in the upper halves of the lanes.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn round(x: __m256) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let half = _mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF));
        let rounded = _mm256_add_epi32(half, last);
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let rounded = _mm256_blendv_epi8(rounded, quiet, nan);
        let exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7F80_0000));
        let denormal = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
        let zero = _mm256_and_si256(bits, _mm256_set1_epi32(i32::MIN));
        _mm256_blendv_epi8(rounded, zero, denormal)
    }
}

/// See [`Simd::dot_pairs`].
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn dot_pairs(x: __m256, w: __m256, sum: __m256) -> __m256 {
    // SAFETY: the caller's.
    unsafe {
        let ([x0, x1], [w0, w1]) = (halves(x), halves(w));
        let one = _mm256_fmadd_ps(x1, w1, sum);
        let two = _mm256_fmadd_ps(x0, w0, one);
        let small = _mm256_or_si256(small(one), small(two));
        if _mm256_testz_si256(small, small) == 1 {
            return two;
        }
        let (mut lanes, mut others) = ([0.0; 8], [[0.0; 8]; 2]);
        _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
        _mm256_storeu_ps(others[0].as_mut_ptr(), x);
        _mm256_storeu_ps(others[1].as_mut_ptr(), w);
        bf16::dot_lanes(&others[0], &others[1], &mut lanes);
        _mm256_loadu_ps(lanes.as_ptr())
    }
}

/// The halves of pairs, as numbers.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn halves(pairs: __m256) -> [__m256; 2] {
    // SAFETY: the caller's.
    unsafe {
        let first = _mm256_slli_epi32::<16>(_mm256_castps_si256(pairs));
        let upper = _mm256_castsi256_ps(_mm256_set1_epi32(-0x1_0000));
        [_mm256_castsi256_ps(first), _mm256_and_ps(pairs, upper)]
    }
}

/// A mask of all bits where a number is at most the smallest normal number and is not zero. Whether such a
/// number must become zero depends on bits that rounding removed.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn small(x: __m256) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(i32::MAX));
        let less = _mm256_sub_epi32(magnitude, _mm256_set1_epi32(1));
        let most = _mm256_set1_epi32(0x007F_FFFF);
        _mm256_cmpeq_epi32(_mm256_min_epu32(less, most), less)
    }
}

macro_rules! avx2 {
    (
        $type:ident, $transpose:ident, $vector:ident, $lanes:literal, $mask:ident, $magic:literal, $bias:literal,
        $splat:ident, $load:ident, $mask_load:ident, $store:ident, $mask_store:ident,
        $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident,
        $min:ident, $max:ident, $round:ident, $and:ident, $cmp:ident,
        $to_bits:ident, $from_bits:ident, $splat_bits:ident, $add_bits:ident, $shift:ident, $mantissa:literal;
        $($pairs:item)*
    ) => {
        impl Simd<$type> for Avx2 {
            type V = $vector;
            const LANES: usize = $lanes;
            // 6 x 2 accumulators, 2 weight vectors and a broadcast: 15 of the 16 registers.
            const ROWS: usize = 6;

            #[inline(always)]
            fn outline<T: Kernel<$type>>(self, task: T) -> T::Output {
                // SAFETY: the token proves that the machine has the instructions.
                unsafe { frame(task) }
            }

            #[inline(always)]
            fn prefetch(self, at: *const $type) {
                // SAFETY: every x86-64 CPU has this instruction, and it accepts every address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            fn splat(self, x: $type) -> $vector {
                // SAFETY: the token proves that the machine has the instructions.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, from: *const $type) -> $vector {
                // SAFETY: the token; the caller vouches for the pointer.
                unsafe { $load(from) }
            }
            #[inline(always)]
            fn load_part(self, from: &[$type]) -> $vector {
                let mask = self.$mask(from.len());
                // SAFETY: the token; lanes outside the mask are not read.
                unsafe { $mask_load(from.as_ptr(), mask) }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, to: *mut $type, v: $vector) {
                // SAFETY: the token; the caller vouches for the pointer.
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            fn store_part(self, to: &mut [$type], v: $vector) {
                let mask = self.$mask(to.len());
                // SAFETY: the token; lanes outside the mask are not written.
                unsafe { $mask_store(to.as_mut_ptr(), mask, v) }
            }

            #[inline(always)]
            unsafe fn transpose_ptr(
                self,
                from: *const $type,
                from_stride: usize,
                to: *mut $type,
                to_stride: usize,
            ) {
                // SAFETY: the token; the caller vouches for the pointers.
                unsafe { $transpose(from, from_stride, to, to_stride) }
            }

            vector_ops! { $vector;
                add(a, b) = $add(a, b);
                sub(a, b) = $sub(a, b);
                mul(a, b) = $mul(a, b);
                div(a, b) = $div(a, b);
                mul_add(a, b, c) = $fmadd(a, b, c);
                neg_mul_add(a, b, c) = $fnmadd(a, b, c);
                min(a, b) = $min(a, b);
                max(a, b) = $max(a, b);
                round(a) = $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
                // Adding 1.5 * 2^mantissa leaves n in the low bits; shifted up, it is the exponent.
                pow2(n) = $from_bits($shift::<$mantissa>($add_bits(
                    $to_bits($add(n, $splat($magic))),
                    $splat_bits($bias),
                )));
                zero_unless_positive(x, a) = $and($cmp::<_CMP_NLE_UQ>(x, $splat(0.0)), a);
            }

            $($pairs)*
        }
    };
}

avx2!(
    f32,
    transpose_f32,
    __m256,
    8,
    mask32,
    12582912.0,
    127,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_maskload_ps,
    _mm256_storeu_ps,
    _mm256_maskstore_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_fnmadd_ps,
    _mm256_min_ps,
    _mm256_max_ps,
    _mm256_round_ps,
    _mm256_and_ps,
    _mm256_cmp_ps,
    _mm256_castps_si256,
    _mm256_castsi256_ps,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_slli_epi32,
    23;

    #[inline(always)]
    fn pair(self, first: __m256, second: __m256) -> __m256 {
        // SAFETY: the token proves that the machine has the instructions.
        unsafe { pair(first, second) }
    }
    #[inline(always)]
    fn pair_neighbours(self, low: __m256, high: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { pair_neighbours(low, high) }
    }
    #[inline(always)]
    fn dot_pairs(self, x: __m256, w: __m256, sum: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { dot_pairs(x, w, sum) }
    }
);
avx2!(
    f64,
    transpose_f64,
    __m256d,
    4,
    mask64,
    6755399441055744.0,
    1023,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_maskload_pd,
    _mm256_storeu_pd,
    _mm256_maskstore_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_fnmadd_pd,
    _mm256_min_pd,
    _mm256_max_pd,
    _mm256_round_pd,
    _mm256_and_pd,
    _mm256_cmp_pd,
    _mm256_castpd_si256,
    _mm256_castsi256_pd,
    _mm256_set1_epi64x,
    _mm256_add_epi64,
    _mm256_slli_epi64,
    52;
);
