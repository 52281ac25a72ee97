//! Panics as one line: those that are caught on purpose are told by whoever caught them, any other
//! is a bug and says so.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::console;

thread_local! {
    /// Whether a panic on this thread will be caught by [`catch`].
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `Err` with what it said when it panicked.
///
/// `work` must leave nothing half done behind that outlives it.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    result.map_err(|panic| text(panic.as_ref()).to_string())
}

/// What the GPU said when it ran out of memory or was lost. The runtime makes that a panic on a thread of
/// its own; whoever reads from the device later gets an error that no longer knows why.
static DEVICE_FAILURE: Mutex<Option<String>> = Mutex::new(None);

/// How the runtime's panics begin that pass on what wgpu said.
const WGPU_SAID: &str = "wgpu error: ";

/// What the device said when it failed, if it did: to be told with the error of the read that followed.
pub(crate) fn device_failure() -> Option<String> {
    DEVICE_FAILURE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The failure of a device in what a panic said; none where it is a mistake in the program.
fn failure_of_device(panic: &str) -> Option<&str> {
    let said = panic.strip_prefix(WGPU_SAID)?;
    let lower = said.to_lowercase();
    let failed = ["out of memory", "lost"]
        .iter()
        .any(|what| lower.contains(what));
    failed.then_some(said)
}

/// Replaces the standard report, which is several lines long and no help to a user.
pub(crate) fn install_hook() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CAUGHT.get() {
            return;
        }
        if let Some(said) = failure_of_device(text(info.payload())) {
            let mut failure = DEVICE_FAILURE
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| said.to_string());
            return;
        }
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            standard(info);
        }
        let place = info.location().map(ToString::to_string);
        let text = text(info.payload())
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        console::note(format_args!(
            "error: this is a bug in densecl: {text} ({}); please report it with the command that \
             you gave, and what RUST_BACKTRACE=1 adds",
            place.as_deref().unwrap_or("place unknown")
        ));
    }));
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_fails_is_no_bug_and_a_call_it_refuses_is() {
        let oom = failure_of_device("wgpu error: Out of Memory");
        assert_eq!(oom, Some("Out of Memory"));
        assert_eq!(failure_of_device("wgpu error: Validation Error"), None);
        assert_eq!(
            failure_of_device("attempt to add with overflow: lost"),
            None
        );
    }

    #[test]
    fn what_was_said_is_caught() {
        assert_eq!(catch(|| 3), Ok(3));
        assert_eq!(catch(|| panic!("no")), Err::<(), _>("no".to_string()));
        assert_eq!(catch(|| panic!("{}", 4)), Err::<(), _>("4".to_string()));
        assert!(!CAUGHT.get());
    }
}
