//! Which instructions kernels run on: those that the machine has, unless `BPTT_SIMD` or [`Level::scope`]
//! lowers the level.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// The instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub(super) Tier);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Portable,
    Avx2,
    Avx512,
}

impl Level {
    /// The instructions that every machine of the target has: SSE2, NEON, wasm SIMD.
    pub const PORTABLE: Level = Level(Tier::Portable);

    /// The levels that this machine supports, the lowest first.
    pub fn available() -> Vec<Level> {
        [Tier::Portable, Tier::Avx2, Tier::Avx512]
            .into_iter()
            .filter(|tier| tier.detected())
            .map(Level)
            .collect()
    }

    /// The level that kernels run at: the best one of the machine, unless `BPTT_SIMD` or
    /// [`Level::scope`] lowers it.
    ///
    /// # Errors
    /// If `BPTT_SIMD` is not `portable`, `avx2` or `avx512`.
    pub fn current() -> Result<Level> {
        if let Some(level) = SCOPED.get() {
            return Ok(level);
        }
        static CHOSEN: OnceLock<Result<Level>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| {
                let best = *Level::available().last().expect("portable is always there");
                match std::env::var("BPTT_SIMD") {
                    Ok(name) => Ok(best.min(Level(Tier::from_name(&name)?))),
                    Err(_) => Ok(best),
                }
            })
            .clone()
    }

    /// Runs `work` and returns its result. Meanwhile [`Level::current`] is this level on the calling
    /// thread. Kernels that `work` calls pass the level on to their own threads. Meant for tests and
    /// benchmarks that compare levels.
    pub fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Level>);
        impl Drop for Restore {
            fn drop(&mut self) {
                SCOPED.set(self.0);
            }
        }
        let _restore = Restore(SCOPED.replace(Some(self)));
        work()
    }

    /// Whether the machine has instructions for pairs of bf16 at this level. If not, they are emulated.
    pub fn has_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Tier::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// `"portable"`, `"avx2"` or `"avx512"`: the names that `BPTT_SIMD` accepts.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

thread_local! {
    static SCOPED: Cell<Option<Level>> = const { Cell::new(None) };
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }

    fn from_name(name: &str) -> Result<Tier> {
        [Tier::Portable, Tier::Avx2, Tier::Avx512]
            .into_iter()
            .find(|tier| tier.name() == name)
            .ok_or_else(|| {
                Error::new(format!("BPTT_SIMD is {name:?}; it takes portable, avx2 or avx512"))
            })
    }

    #[cfg(target_arch = "x86_64")]
    fn detected(self) -> bool {
        match self {
            Tier::Portable => true,
            Tier::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            // Skylake-X and later, Zen 4 and later.
            Tier::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && Tier::Avx2.detected()
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detected(self) -> bool {
        self == Tier::Portable
    }
}
