//! Counts invalid objects. A data set of a million boxes has a few invalid ones, which are left out with a warning;
//! where many are invalid, the data set is probably in another format, which is an error.

use std::path::Path;

use anyhow::bail;

/// Largest permitted share of invalid objects. Up to [`ALWAYS`] invalid objects are permitted whatever their share.
const MAX_SHARE: f64 = 0.1;
const ALWAYS: usize = 3;

/// Number of invalid objects named in a message.
const NAMED: usize = 3;

/// Counts objects, and the invalid ones among them.
#[derive(Debug, Default)]
pub(super) struct Account {
    objects: usize,
    wrong: usize,
    first: Vec<String>,
}

impl Account {
    /// Counts an object of `file`; for an invalid one records the reason and returns `None`.
    pub(super) fn note<T>(&mut self, file: &Path, object: anyhow::Result<T>) -> Option<T> {
        self.objects += 1;
        match object {
            Ok(object) => Some(object),
            Err(error) => {
                self.wrong += 1;
                if self.first.len() < NAMED {
                    self.first.push(format!("{}: {error:#}", file.display()));
                }
                None
            }
        }
    }

    /// Logs one warning about the objects left out; returns their number.
    ///
    /// # Errors
    /// When more than the permitted share is invalid.
    pub(super) fn close(self, folder: &Path) -> anyhow::Result<usize> {
        let Self {
            objects,
            wrong,
            first,
        } = self;
        if wrong == 0 {
            return Ok(0);
        }
        let mut examples = first.join("; ");
        if wrong > NAMED {
            examples += &format!("; and {} more", wrong - NAMED);
        }
        if wrong > ALWAYS && wrong as f64 > MAX_SHARE * objects as f64 {
            bail!(
                "{}: {wrong} of {objects} objects are wrong, more than a tenth: repair or remove them; where \
                 nearly all are, they are written in another way than docs/evaluation.md says ({examples})",
                folder.display()
            );
        }
        log::warn!("left out {wrong} of {objects} objects, which are wrong: {examples}");
        Ok(wrong)
    }
}
