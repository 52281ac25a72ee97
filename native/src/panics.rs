//! Prints unexpected panics as one line.

use std::panic;

use densecl_train::panics::mistake;

use crate::console;

/// Replaces the default panic message, whose several lines do not help a user.
pub(crate) fn install_hook() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let Some(text) = mistake(info) else {
            return;
        };
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            standard(info);
        }
        let place = info.location().map(ToString::to_string);
        console::note(format_args!(
            "error: this is a bug in densecl: {text} ({}); please report it with the command that \
             you gave, and what RUST_BACKTRACE=1 adds",
            place.as_deref().unwrap_or("place unknown")
        ));
    }));
}
