//! AVX2 with FMA: 8 `f32` or 4 `f64` a register, 16 registers.

use core::arch::x86_64::*;

use super::{Element, Simd, Task};

/// Proof that the machine has AVX2 and FMA; made only in [`frame`].
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Compiles and runs a task for AVX2 and FMA.
///
/// # Safety
/// The machine has the features named here.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn frame<E: Element, T: Task<E>>(task: T) -> T::Output
where
    Avx2: Simd<E>,
{
    task.run(Avx2(()))
}

/// The same, never inlined; see [`Simd::outline`].
///
/// # Safety
/// As for [`frame`].
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn outlined<E: Element, T: Task<E>>(task: T) -> T::Output
where
    Avx2: Simd<E>,
{
    task.run(Avx2(()))
}

/// Ones followed by zeros; a mask of the first n lanes is a window into it.
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

/// Columns of 8 rows as vectors; see [`Simd::transpose_ptr`]. Lane `j` of 16 bytes gathers rows
/// 4 j to 4 j + 3, and a transposition within such lanes does the rest.
///
/// # Safety
/// As there, and the machine has the level's features.
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

/// The same for 4 rows of `f64`, two to a lane of 16 bytes.
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

macro_rules! avx2 {
    (
        $type:ident, $transpose:ident, $vector:ident, $lanes:literal, $mask:ident, $magic:literal, $bias:literal,
        $splat:ident, $load:ident, $mask_load:ident, $store:ident, $mask_store:ident,
        $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident,
        $min:ident, $max:ident, $round:ident, $and:ident, $cmp:ident,
        $to_bits:ident, $from_bits:ident, $splat_bits:ident, $add_bits:ident, $shift:ident, $mantissa:literal
    ) => {
        impl Simd<$type> for Avx2 {
            type V = $vector;
            const LANES: usize = $lanes;
            // 6 x 2 accumulators, 2 weight vectors and a broadcast: 15 of the 16 registers.
            const ROWS: usize = 6;

            #[inline(always)]
            fn outline<T: Task<$type>>(self, task: T) -> T::Output {
                // SAFETY: the token proves that the machine has the instructions.
                unsafe { outlined(task) }
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
    23
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
    52
);
