//! One typed error for everything a user can get wrong inside the core.
//!
//! Shapes that only a programming error can produce are `assert!`ed instead; the binary adds the file
//! or the option a message belongs to.

/// What the core reports instead of panicking when data or settings of a user do not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is outside its range, or two settings contradict each other.
    #[error("{key} = {value}: {expected}")]
    Config {
        /// Dotted name of the setting, as in a config file.
        key: String,
        /// What was given.
        value: String,
        /// What is permitted, and what to do.
        expected: String,
    },
    /// A weights or checkpoint file is not one, is damaged, or is of another format version.
    #[error("{0}")]
    Format(String),
    /// A weights or checkpoint file is whole but belongs to another network.
    #[error("{0}")]
    Mismatch(String),
    /// A number of the learner is NaN or infinite.
    #[error("{0} is not finite")]
    NotFinite(String),
    /// The settings need to know where in their pictures the views lie, and the views do not say.
    #[error(
        "method.matching = \"geometry\" and method.in_view_positives = \"near\" need the geometry of the \
         views: fill in Views::geometry, or choose matching = \"backbone\" and in_view_positives = \"match\""
    )]
    NoGeometry,
    /// More than is held in memory was asked for.
    #[error("{0}")]
    TooLarge(String),
    /// The requested compute device does not exist or could not be opened.
    #[error("{0}")]
    Device(String),
}

impl Error {
    /// A [`Error::Config`] for `key`.
    pub fn config(key: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Config {
            key: key.to_string(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// Checks a setting.
    ///
    /// # Errors
    /// An [`Error::Config`] for `key`, which "must be `expected`", unless it is `ok`.
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

/// Names that a message lists.
pub(crate) const SHOWN: usize = 4;

/// The first names of a list as `first, second and 12 more`; all of them where they are at most `shown`.
pub fn first_names<T: AsRef<str>>(names: &[T], shown: usize) -> String {
    let first: Vec<&str> = names.iter().take(shown).map(AsRef::as_ref).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(shown) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The core's result.
pub type Result<T> = std::result::Result<T, Error>;
