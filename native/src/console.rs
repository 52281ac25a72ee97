//! Output to the terminal that still works when the terminal has been closed. `println!` and `eprintln!` panic then,
//! and the panic would end a run of days.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use densecl_train::notes;
use densecl_train::watch::{Gauge, Watch};
use indicatif::{ProgressBar, ProgressStyle, WeakProgressBar};

/// The progress bar that is shown, if any.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Makes notes appear above `bar` until it is dropped.
pub(crate) fn keep_above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Progress bars for work in the libraries.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bars {
    /// A bar of pictures, with pictures per second.
    Pictures,
    /// A bar of the parts of an evaluation, with a label.
    Evaluation,
    /// A bar in indicatif's default style.
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

/// A progress bar that is removed when it is dropped.
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

/// Writes one line to standard error; errors are ignored, because the terminal may be closed.
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

/// Writes `text` to standard output. A closed pipe, as left by `head`, is no error.
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

/// Starts the log: shows warnings of this program, and those of the GPU stack only on request (`RUST_LOG`). The GPU
/// stack's message about a lost device is hidden, because an error reports it. Notes of the libraries are always
/// shown, without a level.
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

/// The target of the log, which writes each record by [`note`].
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
