//! Panics that are expected: those of decoders that meet a damaged file, and those by which the GPU's runtime
//! says that the device failed.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, PoisonError};

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

/// For a program's panic hook: what a panic said that is a mistake in the program, in one line. `None` for one that
/// this library catches, and for the failure of a device, which is kept for the error that follows.
pub fn mistake(panic: &PanicHookInfo) -> Option<String> {
    if CAUGHT.get() {
        return None;
    }
    let text = text(panic.payload());
    if let Some(said) = failure_of_device(text) {
        let mut failure = DEVICE_FAILURE
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| said.to_string());
        return None;
    }
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
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
