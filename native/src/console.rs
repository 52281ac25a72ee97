//! Lines to the terminal, which may be gone: `println!` and `eprintln!` panic then, and a run of
//! days must not end because the window it was started from was closed.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use densecl_train::notes;
use densecl_train::watch::{Gauge, Watch};
use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};

/// The bar that is on the screen, if any.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Lets notes appear above `bar` as long as it lives.
pub(crate) fn keep_above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Bars that show how far the libraries are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bars {
    /// Of pictures, with how many there are in a second.
    Pictures,
    /// Of the parts of an evaluation, below which notes do not scroll away.
    Evaluation,
    /// As the crate draws them.
    Plain,
}

impl Watch for Bars {
    fn begin(&self, label: &str, parts: u64) -> Box<dyn Gauge> {
        let bar = ProgressBar::new(parts).with_message(label.to_string());
        let template = match self {
            Self::Pictures => "{bar:24.cyan/dim} {pos}/{len} pictures · {per_sec} · {eta} left",
            Self::Evaluation => "{msg} {bar:30} {pos}/{len} · {eta} left",
            Self::Plain => return Box::new(Shown(bar)),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        keep_above(&bar);
        Box::new(Shown(bar))
    }
}

/// A bar that is cleared when the work ends.
struct Shown(ProgressBar);

impl Gauge for Shown {
    fn advance(&self, parts: u64) {
        self.0.inc(parts);
    }

    fn relabel(&self, label: &str) {
        self.0.set_message(label.to_string());
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
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

/// Shows warnings of ours, and the GPU stack's log only on request (`RUST_LOG`). That a GPU is lost is told by the error
/// that this becomes. The libraries' notes to the user are always shown, as they are.
pub(crate) fn show_log() {
    let quiet = "error,densecl=warn,cubecl_wgpu::compute::device_poison=off";
    let filter = env_logger::Env::default().default_filter_or(quiet);
    env_logger::Builder::from_env(filter)
        .filter_module(notes::TARGET, log::LevelFilter::Info)
        .format(|out, record| {
            let level = match record.level() {
                _ if record.target() == notes::TARGET => {
                    return writeln!(out, "{}", record.args());
                }
                log::Level::Warn => "warning".to_string(),
                level => level.as_str().to_lowercase(),
            };
            writeln!(out, "{level}: {}", record.args())
        })
        .target(env_logger::Target::Pipe(Box::new(LogTarget)))
        .init();
}

/// Where the log goes: each record as a [`note`].
struct LogTarget;

impl Write for LogTarget {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(record).trim_end());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
