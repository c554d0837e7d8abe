//! What each token counts in a loss.

/// The class of a token that has no target: it counts in no loss (torch's `ignore_index`).
pub const IGNORED: u32 = u32::MAX;

/// What the loss of each token is multiplied with in the sum.
pub(super) struct Factors<'a> {
    pub given: Option<&'a [f64]>,
    /// What all tokens count together.
    pub total: f64,
}

impl Factors<'_> {
    #[inline(always)]
    pub fn of(&self, row: usize) -> f64 {
        match self.given {
            Some(factors) => factors[row],
            None if self.total > 0.0 => 1.0 / self.total,
            None => 0.0,
        }
    }

    /// The sum of `of(row) * loss`, given that of `relative(row) * loss`: a mean is divided once.
    #[inline(always)]
    pub fn of_sum(&self, sum: f64) -> f64 {
        match self.given {
            Some(_) => sum,
            None if self.total > 0.0 => sum / self.total,
            None => 0.0,
        }
    }

    #[inline(always)]
    pub fn relative(&self, row: usize) -> f64 {
        self.given.map_or(1.0, |factors| factors[row])
    }
}
