//! The one error type of the crate. Every message says what was given, what is accepted and, where it
//! is not obvious, how to fix it.

use std::fmt;

/// A shape, value or state that a function does not accept. The call changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    out_of_memory: bool,
}

impl Error {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), out_of_memory: false }
    }

    /// The error that there is no memory for `len` numbers of the type `name`.
    pub(crate) fn out_of_memory(len: usize, name: &str) -> Self {
        let message = format!("there is not enough memory for {len} numbers of {name}");
        Self { message, out_of_memory: true }
    }

    /// Whether the error is a lack of memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Returns an [`Error`] with the formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::error::Error::new(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
