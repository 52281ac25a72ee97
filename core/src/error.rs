//! The error type of the core, for mistakes in a user's data or settings and for failures of the device.
//!
//! Programming errors, such as wrong tensor shapes, panic instead. Callers add the file or the option that an error
//! belongs to.

/// A mistake in a user's data or settings, or a failure of the device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range, or two settings contradict each other.
    #[error("{key} = {value}: {expected}")]
    Config {
        /// Dotted name of the setting, as in a config file.
        key: String,
        /// The value that was given.
        value: String,
        /// The permitted values, and what to do.
        expected: String,
    },
    /// A file of weights or a checkpoint is damaged, has a newer format version, or is of another kind.
    #[error("{0}")]
    Format(String),
    /// A file of weights or a checkpoint is intact but does not fit the network or the run.
    #[error("{0}")]
    Mismatch(String),
    /// A tensor of the training state contains NaN or infinity; the text is its name.
    #[error("{0} is not finite")]
    NotFinite(String),
    /// The settings need the geometry of the views, and the batch has none.
    #[error(
        "method.matching = \"geometry\" and method.in_view_positives = \"near\" need the geometry of the \
         views: set ViewBatch::geometry, or choose matching = \"backbone\" and in_view_positives = \"match\""
    )]
    NoGeometry,
    /// A request needs more memory than is permitted.
    #[error("{0}")]
    TooLarge(String),
    /// The ranks of a run cannot go on together: one of them has ended, or they disagree.
    #[error("{0}")]
    Ranks(String),
    /// The requested device does not exist, could not be opened, or failed while computing.
    #[error("{0}")]
    Device(String),
}

impl Error {
    /// An [`Error::Config`] for `key`.
    pub fn config(key: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Config {
            key: key.to_string(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// Checks a setting: returns an error unless `ok`.
    ///
    /// # Errors
    /// An [`Error::Config`] for `key` with the text "must be `expected`".
    pub fn ensure(
        key: &str,
        value: impl std::fmt::Display,
        ok: bool,
        expected: &str,
    ) -> Result<()> {
        if ok {
            return Ok(());
        }
        Err(Self::config(key, value, format!("must be {expected}")))
    }
}

/// The most names that an error message lists.
pub(crate) const SHOWN: usize = 4;

/// The first `shown` names of a list as text, such as `first, second and 12 more`; all names if there are no more.
pub fn first_names<T: AsRef<str>>(names: &[T], shown: usize) -> String {
    let first: Vec<&str> = names.iter().take(shown).map(AsRef::as_ref).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(shown) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A result with the error type of the core.
pub type Result<T> = std::result::Result<T, Error>;
