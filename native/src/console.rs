//! Lines to the terminal, which may be gone: `println!` and `eprintln!` panic then, and a run of
//! days must not end because the window it was started from was closed.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};

/// The bar that is on the screen, if any.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Lets notes appear above `bar` as long as it lives.
pub(crate) fn keep_above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// A bar that counts pictures.
pub(crate) fn picture_bar(pictures: usize) -> ProgressBar {
    let bar = ProgressBar::new(pictures as u64);
    let template = "{bar:24.cyan/dim} {pos}/{len} pictures · {per_sec} · {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    keep_above(&bar);
    bar
}

/// One line to standard error; dropped when nobody listens.
pub(crate) fn note(line: impl Display) {
    let write = || {
        let _ = writeln!(io::stderr(), "{line}");
    };
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar.and_then(|bar| bar.upgrade()) {
        Some(bar) if !bar.is_finished() => bar.suspend(write),
        _ => write(),
    }
}

/// Where the log goes: each record as a [`note`].
pub(crate) struct LogTarget;

impl Write for LogTarget {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(record).trim_end());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `text` to standard output. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// When standard output cannot be written to for another reason, such as a full disk.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}
