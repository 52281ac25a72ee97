//! `densecl config`: lists the presets, or prints the resolved settings of one.

use densecl_train::presets::{PRESETS, title};
use densecl_train::run::preset_or_file;
use densecl_train::settings;

use crate::cli;
use crate::console;

/// Prints the list or the settings.
///
/// # Errors
/// For settings that cannot be read or do not fit together.
pub(crate) fn run(args: &cli::Config) -> anyhow::Result<()> {
    let Some(name) = &args.name else {
        let lines = PRESETS.map(|(name, text)| format!("{name:27} {}\n", title(text)));
        return console::print(&lines.concat());
    };
    let (_, config) = preset_or_file(Some(name), &args.sets)?;
    config.validate()?;
    console::print(&settings::to_toml(&config)?)
}
