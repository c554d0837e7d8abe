//! AVX-512 (F, BW, CD, DQ, VL): 16 `f32` or 8 `f64` a register, 32 registers.

use core::arch::x86_64::*;

use super::{Element, Simd, Task};

/// Proof that the machine has AVX-512; made only in [`frame`].
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Compiles and runs a task for AVX-512.
///
/// # Safety
/// The machine has the features named here.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn frame<E: Element, T: Task<E>>(task: T) -> T::Output
where
    Avx512: Simd<E>,
{
    task.run(Avx512(()))
}

/// The same, never inlined; see [`Simd::outline`].
///
/// # Safety
/// As for [`frame`].
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn outlined<E: Element, T: Task<E>>(task: T) -> T::Output
where
    Avx512: Simd<E>,
{
    task.run(Avx512(()))
}

/// Columns of 16 rows as vectors; see [`Simd::transpose_ptr`]. Lane `j` of 16 bytes gathers rows
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

/// The same for 8 rows of `f64`, two to a lane of 16 bytes.
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

macro_rules! avx512 {
    (
        $type:ident, $transpose:ident, $vector:ident, $mask:ident, $lanes:literal,
        $splat:ident, $load:ident, $maskz_load:ident, $store:ident, $mask_store:ident,
        $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident,
        $min:ident, $max:ident, $roundscale:ident, $scalef:ident, $cmp:ident, $maskz_mov:ident
    ) => {
        impl Simd<$type> for Avx512 {
            type V = $vector;
            const LANES: usize = $lanes;
            // 12 x 2 accumulators and 2 weight vectors of the 32 registers; broadcasts come with the
            // multiply-add.
            const ROWS: usize = 12;

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
    _mm512_maskz_mov_ps
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
    _mm512_maskz_mov_pd
);
