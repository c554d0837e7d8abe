//! The factors of the tokens' losses in the sum.

/// The class of a token that has no target. Losses and metrics leave it out (torch's `ignore_index`).
pub const IGNORED: u32 = u32::MAX;

/// The factor of each token's loss in the sum: the given factor, or 1 / (sum of the tokens' weights) for the
/// mean.
pub(super) struct Factors<'a> {
    pub given: Option<&'a [f64]>,
    /// The sum of the tokens' weights.
    pub total: f64,
}

impl Factors<'_> {
    /// Whether the token's factor is 0. Its output and its target are then not read: 0 times NaN is NaN.
    #[inline(always)]
    pub fn leaves_out(&self, row: usize) -> bool {
        self.given.map_or(self.total, |factors| factors[row]) == 0.0
    }

    /// The factor of a token.
    #[inline(always)]
    pub fn of(&self, row: usize) -> f64 {
        match self.given {
            Some(factors) => factors[row],
            None if self.total > 0.0 => 1.0 / self.total,
            None => 0.0,
        }
    }

    /// The sum of `of(row) * loss`, from the sum of `relative(row) * loss`. So a mean is divided only once.
    #[inline(always)]
    pub fn of_sum(&self, sum: f64) -> f64 {
        match self.given {
            Some(_) => sum,
            None if self.total > 0.0 => sum / self.total,
            None => 0.0,
        }
    }

    /// The given factor of a token; 1 for the mean.
    #[inline(always)]
    pub fn relative(&self, row: usize) -> f64 {
        self.given.map_or(1.0, |factors| factors[row])
    }
}

/// `weight * value`, and 0 if the weight is 0, also where the value is NaN or infinite.
#[inline(always)]
pub(super) fn weighed(weight: f64, value: f64) -> f64 {
    if weight == 0.0 { 0.0 } else { weight * value }
}
