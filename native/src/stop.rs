//! The signals that ask the program to stop: Ctrl-C, a service manager's SIGTERM, a terminal that closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::console;

/// The flag that the first signal sets, saying what happens then; the second one ends the program at once.
///
/// A signal that the program was started to ignore stays ignored: that is how `nohup`, and a shell that starts a
/// job in the background of a script, protect it.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn stop_on_signal(stopping: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    listen(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        console::note(format_args!(
            "\n{stopping}; press Ctrl-C again to stop at once"
        ));
    })
    .context("installing the Ctrl-C handler")?;
    Ok(stop)
}

/// Calls `asked` on a thread of its own for every signal that asks to stop.
///
/// They are blocked here, and so in every thread that is started later, and taken by the one that waits for them:
/// without a handler nothing has to be unsafe.
#[cfg(unix)]
fn listen(mut asked: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    let ignored = ignored_signals();
    let wanted = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
        .into_iter()
        .filter(|&signal| ignored & (1 << (signal as i32 - 1)) == 0);
    let wanted: SigSet = wanted.collect();
    wanted.thread_block()?;
    let wait = move || {
        while wanted.wait().is_ok() {
            asked();
        }
    };
    let named = std::thread::Builder::new().name("signals".to_string());
    named.spawn(wait).map(|_| ())
}

/// Calls `asked` for every signal that asks to stop; other systems have none that is inherited.
#[cfg(not(unix))]
fn listen(asked: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(asked)
}

/// The signals that this process was started to ignore, a bit each: bit 0 is signal 1. None where the system does
/// not say.
#[cfg(target_os = "linux")]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, hexadecimal)
}

/// The signals that this process was started to ignore, a bit each: bit 0 is signal 1. None where the system does
/// not say. There is no safe function to ask; `ps` of macOS and the BSDs knows.
#[cfg(all(unix, not(target_os = "linux")))]
fn ignored_signals() -> u64 {
    let process = std::process::id().to_string();
    let asked = std::process::Command::new("ps")
        .args(["-o", "sigignore=", "-p", &process])
        .output();
    asked.map_or(0, |said| {
        hexadecimal(&String::from_utf8_lossy(&said.stdout))
    })
}

#[cfg(unix)]
fn hexadecimal(text: &str) -> u64 {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_as_the_systems_write_them() {
        // SIGHUP, as under nohup.
        assert_eq!(hexadecimal("\t0000000000000001"), 1);
        assert_eq!(hexadecimal("0x1003\n"), 0x1003);
        assert_eq!(hexadecimal("-"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_ignores_sigpipe_as_every_program_in_rust() {
        assert_ne!(ignored_signals() & (1 << 12), 0);
    }
}
