//! Panics as one line: those that are caught on purpose are told by whoever caught them, any other
//! is a bug and says so.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

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

/// Replaces the standard report, which is several lines long and no help to a user.
pub(crate) fn install_hook() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CAUGHT.get() {
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
    fn what_was_said_is_caught() {
        assert_eq!(catch(|| 3), Ok(3));
        assert_eq!(catch(|| panic!("no")), Err::<(), _>("no".to_string()));
        assert_eq!(catch(|| panic!("{}", 4)), Err::<(), _>("4".to_string()));
        assert!(!CAUGHT.get());
    }
}
