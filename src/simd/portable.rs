//! The portable level, with the types of `wide`: NEON on aarch64, SSE2 on x86-64, wasm SIMD. It runs
//! wherever the crate compiles. Tests compare the other levels with it.

use wide::bytemuck::cast;
use wide::{f32x4, f64x2, i32x4, i64x2};

use super::vector::{Element, Kernel, Simd};

/// The token of the portable level, which proves nothing.
#[derive(Clone, Copy)]
pub struct Portable;

/// Runs a kernel. It is not inlined, so that its computations stay in the mode of kernels.
#[inline(never)]
pub fn frame<E: Element, T: Kernel<E>>(task: T) -> T::Output
where
    Portable: Simd<E>,
{
    task.run(Portable)
}

macro_rules! portable {
    ($type:ident, $vector:ident, $bits:ident, $lanes:literal, $magic:literal, $bias:literal, $mantissa:literal) => {
        impl Simd<$type> for Portable {
            type V = $vector;
            const LANES: usize = $lanes;
            // SSE2 has 16 registers. NEON has 32, so more rows may be faster there (not measured).
            const ROWS: usize = 6;

            #[inline(always)]
            fn outline<T: Kernel<$type>>(self, task: T) -> T::Output {
                frame(task)
            }

            #[inline(always)]
            fn splat(self, x: $type) -> $vector {
                $vector::splat(x)
            }
            #[inline(always)]
            unsafe fn load_ptr(self, from: *const $type) -> $vector {
                // SAFETY: the caller vouches for the pointer; an array is as aligned as its numbers.
                $vector::new(unsafe { *from.cast::<[$type; $lanes]>() })
            }
            #[inline(always)]
            fn load_part(self, from: &[$type]) -> $vector {
                let mut lanes = [0.0; $lanes];
                lanes[..from.len()].copy_from_slice(from);
                $vector::new(lanes)
            }
            #[inline(always)]
            unsafe fn store_ptr(self, to: *mut $type, v: $vector) {
                // SAFETY: as in load_ptr.
                unsafe { *to.cast::<[$type; $lanes]>() = v.to_array() }
            }
            #[inline(always)]
            fn store_part(self, to: &mut [$type], v: $vector) {
                to.copy_from_slice(&v.to_array()[..to.len()]);
            }
            #[inline(always)]
            fn add(self, a: $vector, b: $vector) -> $vector {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $vector, b: $vector) -> $vector {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $vector, b: $vector) -> $vector {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $vector, b: $vector) -> $vector {
                a / b
            }
            #[inline(always)]
            fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                a.mul_add(b, c)
            }
            #[inline(always)]
            fn neg_mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                a.mul_neg_add(b, c)
            }
            #[inline(always)]
            fn min(self, a: $vector, b: $vector) -> $vector {
                a.simd_lt(b).select(a, b)
            }
            #[inline(always)]
            fn max(self, a: $vector, b: $vector) -> $vector {
                a.simd_gt(b).select(a, b)
            }
            #[inline(always)]
            fn round(self, a: $vector) -> $vector {
                a.round_ties_even()
            }
            #[inline(always)]
            fn pow2(self, n: $vector) -> $vector {
                // Adding 1.5 * 2^mantissa leaves n in the low bits; shifted up, it is the exponent.
                let bits: $bits = cast(n + $vector::splat($magic));
                cast((bits + $bits::splat($bias)) << $mantissa)
            }
            #[inline(always)]
            fn zero_unless_positive(self, x: $vector, a: $vector) -> $vector {
                x.simd_le($vector::splat(0.0)).select($vector::splat(0.0), a)
            }
        }
    };
}

portable!(f32, f32x4, i32x4, 4, 12582912.0, 127, 23);
portable!(f64, f64x2, i64x2, 2, 6755399441055744.0, 1023, 52);
