//! `densecl synth`: writes scenes of the embedded generator as files.

use densecl::synthetic::SceneConfig;
use densecl_train::data::write_scenes;

use crate::cli;
use crate::console::{self, Bars};

/// Renders the scenes and writes them.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::Synth) -> anyhow::Result<()> {
    let scenes = SceneConfig {
        size: args.size,
        baseline: args.baseline,
        ..SceneConfig::default()
    };
    write_scenes(&args.out, args.count, args.seed, &scenes, &Bars::Plain)?;
    let out = args.out.display();
    let pairs = if args.count == 1 { "pair" } else { "pairs" };
    console::print(&format!("{} scene {pairs} in {out}\n", args.count))
}
