//! AVX-512 (F, BW, CD, DQ, VL): 16 `f32` or 8 `f64` per register, 32 registers.

use core::arch::x86_64::*;
use core::mem::transmute;

use super::bf16;
use super::vector::{Element, Kernel, Simd};

/// Proof that the machine has AVX-512; with `BF16`, also that it has AVX512_BF16. Only [`frame`]
/// makes the first, and only [`frame_of_pairs`] makes the second.
#[derive(Clone, Copy)]
pub struct Avx512<const BF16: bool>(());

/// Compiles a kernel for AVX-512 and runs it. It is not inlined, so that its computations stay in the
/// mode of kernels, and so that [`Simd::outline`] compiles a kernel once.
///
/// # Safety
/// The machine has the features named here.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
pub unsafe fn frame<E: Element, T: Kernel<E>>(task: T) -> T::Output
where
    Avx512<false>: Simd<E>,
{
    task.run(Avx512::<false>(()))
}

/// Same as [`frame`], with the instructions for pairs of bf16; see [`Simd::outline_pairs`].
///
/// # Safety
/// As for [`frame`], and the machine has AVX512_BF16.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn frame_of_pairs<E: Element, T: Kernel<E>>(task: T) -> T::Output
where
    Avx512<true>: Simd<E>,
{
    task.run(Avx512::<true>(()))
}

/// Turns columns of 16 rows into vectors; see [`Simd::transpose_ptr`]. Lane `j` of 16 bytes gathers rows
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
                let v = _mm512_castps128_ps512(_mm_loadu_ps(from.add($first * from_stride)));
                let v =
                    _mm512_insertf32x4::<1>(v, _mm_loadu_ps(from.add(($first + 4) * from_stride)));
                let v =
                    _mm512_insertf32x4::<2>(v, _mm_loadu_ps(from.add(($first + 8) * from_stride)));
                let v =
                    _mm512_insertf32x4::<3>(v, _mm_loadu_ps(from.add(($first + 12) * from_stride)));
                v
            }};
        }
        let (a, b, c, d) = (rows!(0), rows!(1), rows!(2), rows!(3));
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        _mm512_storeu_ps(to, _mm512_shuffle_ps::<0x44>(ab, cd));
        _mm512_storeu_ps(to.add(to_stride), _mm512_shuffle_ps::<0xEE>(ab, cd));
        _mm512_storeu_ps(to.add(2 * to_stride), _mm512_shuffle_ps::<0x44>(ab_high, cd_high));
        _mm512_storeu_ps(to.add(3 * to_stride), _mm512_shuffle_ps::<0xEE>(ab_high, cd_high));
    }
}

/// Same as [`transpose_f32`], for 8 rows of `f64`, two per lane of 16 bytes.
///
/// # Safety
/// As for [`transpose_f32`].
#[inline(always)]
unsafe fn transpose_f64(from: *const f64, from_stride: usize, to: *mut f64, to_stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        macro_rules! rows {
            ($first:literal) => {{
                let v = _mm512_castpd128_pd512(_mm_loadu_pd(from.add($first * from_stride)));
                let v =
                    _mm512_insertf64x2::<1>(v, _mm_loadu_pd(from.add(($first + 2) * from_stride)));
                let v =
                    _mm512_insertf64x2::<2>(v, _mm_loadu_pd(from.add(($first + 4) * from_stride)));
                let v =
                    _mm512_insertf64x2::<3>(v, _mm_loadu_pd(from.add(($first + 6) * from_stride)));
                v
            }};
        }
        let (a, b) = (rows!(0), rows!(1));
        _mm512_storeu_pd(to, _mm512_unpacklo_pd(a, b));
        _mm512_storeu_pd(to.add(to_stride), _mm512_unpackhi_pd(a, b));
    }
}

/// Indices of the numbers at even and at odd places of two registers, and of a register's two halves
/// in alternating order.
const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
const IN_TURN: [i16; 32] = [
    0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
    13, 29, 14, 30, 15, 31,
];

/// See [`Simd::pair`].
///
/// # Safety
/// The machine has AVX512_BF16, and the level's features.
#[inline(always)]
unsafe fn pair(first: __m512, second: __m512) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let rounded = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
        let in_turn = transmute::<[i16; 32], __m512i>(IN_TURN);
        _mm512_castsi512_ps(_mm512_permutexvar_epi16(in_turn, rounded))
    }
}

/// Same as [`pair`], without the instructions of AVX512_BF16.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn emulated_pair(first: __m512, second: __m512) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let (first, second) = (emulated_round(first), emulated_round(second));
        // The result takes the bits of `second` where the mask has ones.
        let mask = _mm512_set1_epi32(-0x1_0000);
        let first = _mm512_srli_epi32::<16>(first);
        _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xCA>(mask, second, first))
    }
}

/// Rounds numbers to bf16, in the upper halves of the lanes.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn emulated_round(x: __m512) -> __m512i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm512_castps_si512(x);
        let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let half = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF));
        let rounded = _mm512_add_epi32(half, last);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let quiet = _mm512_set1_epi32(0x0040_0000);
        let rounded = _mm512_mask_or_epi32(rounded, nan, bits, quiet);
        let denormal = _mm512_fpclass_ps_mask::<0x20>(x);
        _mm512_mask_and_epi32(rounded, denormal, bits, _mm512_set1_epi32(i32::MIN))
    }
}

/// See [`Simd::dot_pairs`].
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn emulated_dot(x: __m512, w: __m512, sum: __m512) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let ([x0, x1], [w0, w1]) = (halves(x), halves(w));
        let one = _mm512_fmadd_ps(x1, w1, sum);
        let two = _mm512_fmadd_ps(x0, w0, one);
        if small(one) | small(two) == 0 {
            return two;
        }
        let (mut lanes, mut others) = ([0.0; 16], [[0.0; 16]; 2]);
        _mm512_storeu_ps(lanes.as_mut_ptr(), sum);
        _mm512_storeu_ps(others[0].as_mut_ptr(), x);
        _mm512_storeu_ps(others[1].as_mut_ptr(), w);
        bf16::dot_lanes(&others[0], &others[1], &mut lanes);
        _mm512_loadu_ps(lanes.as_ptr())
    }
}

/// The halves of pairs, as numbers.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn halves(pairs: __m512) -> [__m512; 2] {
    // SAFETY: the caller's.
    unsafe {
        let first = _mm512_slli_epi32::<16>(_mm512_castps_si512(pairs));
        let upper = _mm512_castsi512_ps(_mm512_set1_epi32(-0x1_0000));
        [_mm512_castsi512_ps(first), _mm512_and_ps(pairs, upper)]
    }
}

/// A mask of the lanes where a number is at most the smallest normal number and is not zero. Whether such
/// a number must become zero depends on bits that rounding removed.
///
/// # Safety
/// The machine has the level's features.
#[inline(always)]
unsafe fn small(x: __m512) -> __mmask16 {
    // SAFETY: the caller's.
    unsafe {
        let magnitude = _mm512_castps_si512(_mm512_abs_ps(x));
        let less = _mm512_sub_epi32(magnitude, _mm512_set1_epi32(1));
        _mm512_cmplt_epu32_mask(less, _mm512_set1_epi32(0x0080_0000))
    }
}

macro_rules! avx512 {
    (
        $type:ident, $transpose:ident, $vector:ident, $mask:ident, $lanes:literal,
        $splat:ident, $load:ident, $maskz_load:ident, $store:ident, $mask_store:ident,
        $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident,
        $min:ident, $max:ident, $roundscale:ident, $scalef:ident, $cmp:ident, $maskz_mov:ident;
        $($pairs:item)*
    ) => {
        impl<const BF16: bool> Simd<$type> for Avx512<BF16> {
            type V = $vector;
            const LANES: usize = $lanes;
            // 12 x 2 accumulators and 2 weight vectors: 26 of the 32 registers. The multiply-add
            // itself broadcasts.
            const ROWS: usize = 12;

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
                debug_assert!(from.len() < $lanes);
                let mask = ((1u32 << from.len()) - 1) as $mask;
                // SAFETY: the token; lanes outside the mask are not read.
                unsafe { $maskz_load(mask, from.as_ptr()) }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, to: *mut $type, v: $vector) {
                // SAFETY: the token; the caller vouches for the pointer.
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            fn store_part(self, to: &mut [$type], v: $vector) {
                debug_assert!(to.len() < $lanes);
                let mask = ((1u32 << to.len()) - 1) as $mask;
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
                round(a) = $roundscale::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
                pow2(n) = $scalef($splat(1.0), n);
                zero_unless_positive(x, a) = $maskz_mov($cmp::<_CMP_NLE_UQ>(x, $splat(0.0)), a);
            }

            $($pairs)*
        }
    };
}

avx512!(
    f32,
    transpose_f32,
    __m512,
    __mmask16,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_storeu_ps,
    _mm512_mask_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_fnmadd_ps,
    _mm512_min_ps,
    _mm512_max_ps,
    _mm512_roundscale_ps,
    _mm512_scalef_ps,
    _mm512_cmp_ps_mask,
    _mm512_maskz_mov_ps;

    #[inline(always)]
    fn outline_pairs<T: Kernel<f32>>(self, task: T) -> T::Output {
        match is_x86_feature_detected!("avx512bf16") {
            // SAFETY: the token, and the detection of AVX512_BF16 above.
            true => unsafe { frame_of_pairs(task) },
            // SAFETY: the token.
            false => unsafe { frame(task) },
        }
    }
    #[inline(always)]
    fn pair(self, first: __m512, second: __m512) -> __m512 {
        // SAFETY: the token.
        unsafe { if BF16 { pair(first, second) } else { emulated_pair(first, second) } }
    }
    #[inline(always)]
    fn pair_neighbours(self, low: __m512, high: __m512) -> __m512 {
        // SAFETY: the token.
        unsafe {
            if BF16 {
                transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
            } else {
                let first = _mm512_permutex2var_ps(low, transmute::<[i32; 16], __m512i>(EVEN), high);
                let second = _mm512_permutex2var_ps(low, transmute::<[i32; 16], __m512i>(ODD), high);
                emulated_pair(first, second)
            }
        }
    }
    #[inline(always)]
    fn dot_pairs(self, x: __m512, w: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token.
        unsafe {
            if BF16 {
                let (x, w) = (transmute::<__m512, __m512bh>(x), transmute::<__m512, __m512bh>(w));
                _mm512_dpbf16_ps(sum, x, w)
            } else {
                emulated_dot(x, w, sum)
            }
        }
    }
);
avx512!(
    f64,
    transpose_f64,
    __m512d,
    __mmask8,
    8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_storeu_pd,
    _mm512_mask_storeu_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_fmadd_pd,
    _mm512_fnmadd_pd,
    _mm512_min_pd,
    _mm512_max_pd,
    _mm512_roundscale_pd,
    _mm512_scalef_pd,
    _mm512_cmp_pd_mask,
    _mm512_maskz_mov_pd;
);
