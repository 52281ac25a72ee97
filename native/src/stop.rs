//! Handles the signals that stop the program: Ctrl-C, SIGTERM from a service manager, SIGHUP from a closed terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::console;

/// Returns a flag. On the first signal the flag is set and the text `stopping` printed; the second ends the program.
///
/// Signals that the process was started to ignore stay ignored: `nohup` relies on this, and so do shells for
/// background jobs of scripts.
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

/// Calls `asked` on a separate thread for every signal that stops the program.
///
/// The signals are blocked here and in all threads started later, and the separate thread waits for them. So no
/// signal handler is needed, which would require `unsafe`.
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

/// Calls `asked` for every signal that stops the program. Outside Unix no ignored signals are inherited.
#[cfg(not(unix))]
fn listen(asked: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(asked)
}

/// The signals that this process was started to ignore, as a bit mask: bit 0 is signal 1. 0 where the system does
/// not report them.
#[cfg(target_os = "linux")]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.map_or(0, hexadecimal)
}

/// The signals that this process was started to ignore, as a bit mask: bit 0 is signal 1. 0 where the system does
/// not report them. There is no safe function for it, so `ps` of macOS and the BSDs is called.
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
        // SIGHUP is ignored, as under nohup.
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
