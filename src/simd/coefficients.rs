//! The constants that exp, sigmoid and tanh (math/elementary.rs) need for each number type.

/// The constants of a number type for the elementary functions.
pub trait Coefficients: Sized + 'static {
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// 2
    const TWO: Self;
    /// 1 / ln 2
    const LOG2_E: Self;
    /// The leading bits of ln 2; multiples by whole numbers are exact (Cody and Waite).
    const LN2_HIGH: Self;
    /// ln 2 - `LN2_HIGH`.
    const LN2_LOW: Self;
    /// The argument of exp is clamped to `-EXP_LIMIT` to `EXP_LIMIT`.
    const EXP_LIMIT: Self;
    /// From here on, tanh rounds to 1.
    const TANH_LIMIT: Self;
    /// The coefficients c2, c3, ... of expm1, the highest first.
    const EXPM1: &'static [Self];
}

impl Coefficients for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const TWO: f32 = 2.0;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const EXP_LIMIT: f32 = 88.3;
    const TANH_LIMIT: f32 = 9.1;
    const EXPM1: &'static [f32] =
        &[0.001_388_251_9, 0.008_366_521, 0.041_667_2, 0.166_665_44, 0.499_999_98];
}

impl Coefficients for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const TWO: f64 = 2.0;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const LN2_HIGH: f64 = 6.931_457_519_531_25e-1;
    const LN2_LOW: f64 = 1.428_606_820_309_417_2e-6;
    const EXP_LIMIT: f64 = 709.4;
    const TANH_LIMIT: f64 = 19.1;
    const EXPM1: &'static [f64] = &[
        2.505_377_535_746_571_3e-8,
        2.762_603_823_476_544e-7,
        2.755_740_751_954_252e-6,
        2.480_150_527_282_214e-5,
        1.984_126_971_900_550_3e-4,
        1.388_888_893_156_579_6e-3,
        8.333_333_333_389_554e-3,
        4.166_666_666_657_675e-2,
        1.666_666_666_666_658_9e-1,
        5.000_000_000_000_005e-1,
    ];
}
