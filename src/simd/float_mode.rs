//! The floating-point mode of kernels: denormal operands and results count as zero.
//!
//! A denormal number costs many CPUs more than a hundred cycles in every operation, and gradients that halve
//! at every step become denormal. Without this mode, the time of a pass depends on its values. The mode of
//! the calling thread does not matter to a kernel and comes back after it, so results do not depend on the
//! mode that a thread was born with. docs/decisions/0027-denormal-numbers.md says why this is sound.

/// While this exists, the thread computes in the mode of kernels. Computations must be in a function that is
/// not inlined beside it, or the compiler may move them out.
pub(super) struct KernelMode {
    /// The mode before, if it is another one.
    before: Option<Register>,
}

impl KernelMode {
    #[inline(always)]
    pub fn enter() -> Self {
        let before = read();
        let mode = (before & KEPT) | MODE;
        Self {
            before: (mode != before).then(|| {
                write(mode);
                before
            }),
        }
    }
}

impl Drop for KernelMode {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            write(before);
        }
    }
}

#[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse", not(miri)))]
mod register {
    use core::arch::asm;

    /// MXCSR.
    pub type Register = u32;
    /// Flush-to-zero, denormals-are-zero, all exceptions masked, and rounding to the nearest number.
    pub const MODE: Register = 1 << 15 | 1 << 6 | 0x1f80;
    /// The flags of exceptions that have occurred.
    pub const KEPT: Register = 0x3f;

    #[inline(always)]
    pub fn read() -> Register {
        let mut mode: Register = 0;
        // SAFETY: it writes one number to `mode`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack, preserves_flags)) };
        mode
    }

    #[inline(always)]
    pub fn write(mode: Register) {
        // SAFETY: it reads one number from `mode`, whose reserved bits are those that the CPU gave. The compiler expects
        // the mode that the thread had; `KernelMode` brings it back, and says where computations may be.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack, preserves_flags, readonly)) };
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod register {
    use core::arch::asm;

    /// FPCR.
    pub type Register = u64;
    /// FZ, and rounding to the nearest number.
    pub const MODE: Register = 1 << 24;
    pub const KEPT: Register = 0;

    #[inline(always)]
    pub fn read() -> Register {
        let mode: Register;
        // SAFETY: it only reads the register.
        unsafe { asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
        mode
    }

    #[inline(always)]
    pub fn write(mode: Register) {
        // SAFETY: all other bits are 0, the default. As on x86, `KernelMode` brings back the mode before.
        unsafe { asm!("msr fpcr, {}", in(reg) mode, options(nomem, nostack, preserves_flags)) };
    }
}

/// Other CPUs have one mode, in which denormal numbers are what IEEE 754 says.
#[cfg(any(
    miri,
    not(any(
        all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse"),
        target_arch = "aarch64"
    ))
))]
mod register {
    pub type Register = u32;
    pub const MODE: Register = 0;
    pub const KEPT: Register = 0;

    #[inline(always)]
    pub fn read() -> Register {
        MODE
    }

    #[inline(always)]
    pub fn write(_mode: Register) {}
}

use register::{KEPT, MODE, Register, read, write};

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests {
    use super::*;
    use crate::simd::{Element, Kernel, Level, Simd};

    /// Halves the smallest normal number, and adds a denormal number to itself.
    struct Denormal<E>(E, E);

    impl<E: Element> Kernel<E> for Denormal<E> {
        type Output = [E; 2];

        #[inline(always)]
        fn run<S: Simd<E>>(self, s: S) -> [E; 2] {
            let mut lanes = [E::ZERO; 16];
            let half = s.splat(E::from_f64(0.5));
            s.store(&mut lanes, s.mul(s.splat(std::hint::black_box(self.0)), half));
            let first = lanes[0];
            let x = s.splat(std::hint::black_box(self.1));
            s.store(&mut lanes, s.add(x, x));
            [first, lanes[0]]
        }
    }

    #[test]
    fn denormal_numbers_count_as_zero_in_kernels_and_nowhere_else() {
        let smallest = std::hint::black_box(f32::MIN_POSITIVE);
        for level in Level::available() {
            for mode in [0x1f80, 0x1f80 | 1 << 15, 0x1f80 | 1 << 6, 0x1f80 | 1 << 13, 0x1fa0] {
                let own = read();
                write(mode);
                let single = level.run(Denormal(f32::MIN_POSITIVE, 1e-40));
                let double = level.run(Denormal(f64::MIN_POSITIVE, 1e-310));
                let after = read();
                write(own);
                assert_eq!((single, double), ([0.0; 2], [0.0; 2]), "{level:?} {mode:x}");
                assert_eq!(after, mode, "the caller's mode");
            }
            assert!(smallest / 2.0 > 0.0);
        }
    }

    #[test]
    fn a_panic_in_a_kernel_brings_the_mode_back() {
        struct Panics;
        impl Kernel<f32> for Panics {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd<f32>>(self, _s: S) {
                panic!("a kernel that panics");
            }
        }
        let before = read() & !KEPT;
        let level = *Level::available().last().unwrap();
        assert!(std::panic::catch_unwind(|| level.run(Panics)).is_err());
        assert_eq!(read() & !KEPT, before);
    }
}
