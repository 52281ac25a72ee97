//! Parses the arguments of the process.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Cli;
use super::eval::presets::expanded;
use densecl_train::paths;

/// Parses the arguments; on an error or a request for help prints the text and ends the program.
pub(crate) fn parse() -> Cli {
    parse_from(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

/// Arguments that become settings or appear in reports must be UTF-8. clap's error does not name the argument that
/// is not, so it is added here.
fn parse_from(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let args = expanded(args);
    Cli::try_parse_from(&args).map_err(|error| {
        let not_text = |arg: &&OsString| arg.to_str().is_none();
        match args.iter().find(not_text) {
            Some(arg) if error.kind() == ErrorKind::InvalidUtf8 => Cli::command().error(
                ErrorKind::InvalidUtf8,
                format!(
                    "{} is not UTF-8, which this argument has to be: rename it, or make a link to it",
                    paths::line(arg)
                ),
            ),
            _ => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_not_utf8_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let folder = OsString::from_vec(b"bilder/\xE9".to_vec());
        let args = ["densecl", "pretrain", "--data"].map(OsString::from);
        let error = parse_from([&args[..], &[folder]].concat()).expect_err("not text");
        let message = error.to_string();
        assert!(
            message.contains(r#""bilder/\xE9" is not UTF-8"#),
            "{message}"
        );
    }
}
