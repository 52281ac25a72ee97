//! Expected panics: those of image decoders on damaged files, of kernels that a GPU cannot run, and those by which the GPU
//! runtime reports a device failure.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, PoisonError};

use densecl::ops::choice::is_trying;

thread_local! {
    /// Whether a panic on this thread will be caught by [`catch`].
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; on a panic returns `Err` with the panic's message.
///
/// `work` must not leave shared data half written when it panics.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    result.map_err(|panic| text(panic.as_ref()).to_string())
}

/// The message of the GPU when it ran out of memory or was lost. The runtime panics with it on a thread of its own;
/// a later read from the device fails with an error that no longer contains the cause.
static DEVICE_FAILURE: Mutex<Option<String>> = Mutex::new(None);

/// Prefix of the runtime's panics that pass on an error of wgpu.
const WGPU_SAID: &str = "wgpu error: ";

/// The message of a device failure, if there was one, to be added to the error of the read that failed.
pub(crate) fn device_failure() -> Option<String> {
    DEVICE_FAILURE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The device failure in a panic's message; `None` for a bug in the program.
fn failure_of_device(panic: &str) -> Option<&str> {
    let said = panic.strip_prefix(WGPU_SAID)?;
    let lower = said.to_lowercase();
    let failed = ["out of memory", "lost"]
        .iter()
        .any(|what| lower.contains(what));
    failed.then_some(said)
}

/// For a program's panic hook: the message of an unexpected panic in one line. `None` for a panic that this library or the core
/// catches, and for a device failure, which is kept for the error that follows.
pub fn mistake(panic: &PanicHookInfo) -> Option<String> {
    if CAUGHT.get() || is_trying() {
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
