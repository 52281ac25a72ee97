//! The feature and picture size of an evaluation, from its arguments.

use anyhow::bail;
use densecl::features::SIDES;
use densecl_eval::{Look, ensure_stride};

use crate::cli::eval as cli;

/// The feature, stride and size given by `args`, else those of `usual`.
pub(super) fn look(args: &cli::Look, usual: Look) -> anyhow::Result<Look> {
    let stride = args.stride.or(usual.stride);
    ensure_stride(stride)?;
    let size = args.size.unwrap_or(usual.size);
    if !SIDES.contains(&size) {
        bail!(
            "--size {size}: must be between {} and {} pixels",
            SIDES.start(),
            SIDES.end()
        );
    }
    Ok(Look {
        feature: args.feature.unwrap_or(usual.feature),
        stride,
        size,
    })
}
