//! The account of objects that are left out: a data set of a million boxes has a few wrong ones, which
//! are told and counted; where many are wrong, it is the way of writing them that is not understood.

use std::path::Path;

use anyhow::bail;

/// Of all objects, at most this share may be wrong; [`ALWAYS`] may be in any case.
const MAX_SHARE: f64 = 0.1;
const ALWAYS: usize = 3;

/// How many wrong objects a message names.
const NAMED: usize = 3;

/// Counts objects, and those of them that are wrong.
#[derive(Debug, Default)]
pub(super) struct Account {
    objects: usize,
    wrong: usize,
    first: Vec<String>,
}

impl Account {
    /// An object of `file`, or what is wrong with it.
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

    /// Warns, once, of what was left out; the number of objects that were.
    ///
    /// # Errors
    /// When more than the permitted share is wrong.
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
