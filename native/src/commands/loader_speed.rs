//! `densecl loader-speed`: measures how fast views are made from files, stage by stage. Hidden from the help,
//! because it is a benchmark of this program (docs/performance.md).

use densecl_train::data::{Stages, loader_speed};

use crate::cli;
use crate::console;
use crate::results::write_json;

/// Measures, and prints the figures.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::LoaderSpeed) -> anyhow::Result<()> {
    let speed = loader_speed(&args.data, args.size, args.threads, args.seconds)?;
    if let Some(path) = &args.json {
        return write_json(path, &speed);
    }
    let Stages {
        decode,
        crop_resize,
        colour,
        blur,
        rest,
    } = speed.stages_ms;
    console::print(&format!(
        "{:.0} images/s on {} threads, two views of {} px each; per image on one thread: decode \
         {decode:.3} ms, crop and resize {crop_resize:.3}, colour {colour:.3}, blur {blur:.3}, rest \
         {rest:.3}\n",
        speed.images_per_second, speed.threads, speed.size
    ))
}
