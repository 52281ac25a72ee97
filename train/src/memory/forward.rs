//! Whether a forward pass without gradients fits in memory.

use anyhow::bail;
use densecl::config::ModelConfig;
use densecl::device::Selected;
use densecl::memory::forward;

use super::bytes::Bytes;
use super::{ESTIMATE_ERROR, PROGRAM, available};

/// Checks, before anything is computed, that a forward pass of this many pictures of this width and height fits.
/// Only for devices that use the host's memory; the memory of others is not known.
///
/// # Errors
/// When it clearly does not fit: one line with the needed and the available memory, ending in `remedy`.
pub fn ensure_fits(
    selected: &Selected,
    model: &ModelConfig,
    pictures: usize,
    size: [u32; 2],
    remedy: &str,
) -> anyhow::Result<()> {
    let had = available::memory().filter(|_| selected.memory.is_the_hosts);
    verdict(model, pictures, size, had, remedy)
}

fn verdict(
    model: &ModelConfig,
    pictures: usize,
    size: [u32; 2],
    had: Option<u64>,
    remedy: &str,
) -> anyhow::Result<()> {
    let needed = PROGRAM.saturating_add(forward(model, pictures, size.map(|n| n as usize)));
    let Some(had) = had.filter(|&had| needed as f64 > had as f64 * ESTIMATE_ERROR) else {
        return Ok(());
    };
    let [width, height] = size;
    let pictures = match pictures {
        1 => "a picture".to_string(),
        pictures => format!("{pictures} pictures at once"),
    };
    bail!(
        "{pictures} of {width} x {height} pixels in this network take about {} of memory, {} are available: \
         {remedy}",
        Bytes(needed),
        Bytes(had)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clearly_does_not_fit_is_refused_with_both_figures() {
        let of = |pictures, side, had| {
            let model = ModelConfig::default();
            verdict(&model, pictures, [side, side], had, "take fewer")
        };
        of(32, 224, Some(8 << 30)).expect("it fits");
        of(32, 4096, None).expect("nobody knows");
        let error = of(32, 4096, Some(8 << 30)).expect_err("it does not fit");
        let error = error.to_string();
        for part in [
            "32 pictures at once of 4096 x 4096",
            " GB of memory",
            "take fewer",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(of(1, 4096, Some(1 << 30)).is_err());
    }
}
