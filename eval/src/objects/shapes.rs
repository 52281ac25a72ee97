//! Masks in COCO's JSON: polygons, or run lengths as numbers or as COCO's compressed text.

use anyhow::{Context, bail};
use densecl::mask::Mask;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is read of an annotation's `segmentation`: nothing where only boxes are needed, because the polygons are most of
/// the file.
pub(super) trait Segmentation: Default + for<'de> Deserialize<'de> {
    /// The mask in a picture of `size` pixels; `None` where it is not read. `what` names the object in messages.
    ///
    /// # Errors
    /// When it is no mask of this picture, or has no pixels.
    fn mask(&self, size: [u32; 2], what: &str) -> anyhow::Result<Option<Mask>>;
}

impl Segmentation for IgnoredAny {
    fn mask(&self, _: [u32; 2], _: &str) -> anyhow::Result<Option<Mask>> {
        Ok(None)
    }
}

/// The forms of COCO's `segmentation`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Shape {
    Polygons(Vec<Vec<f64>>),
    Runs {
        /// Height and width.
        size: [u32; 2],
        counts: Vec<u32>,
    },
    Compressed {
        size: [u32; 2],
        counts: String,
    },
    Other(IgnoredAny),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl Segmentation for Shape {
    fn mask(&self, size: [u32; 2], what: &str) -> anyhow::Result<Option<Mask>> {
        let for_picture = |[height, width]: [u32; 2]| {
            if [width, height] != size {
                bail!(
                    "{what}: its RLE is for {width} x {height} pixels, but the picture has {} x {}",
                    size[0],
                    size[1]
                );
            }
            Ok(())
        };
        let mask = match self {
            Self::Polygons(polygons) => Mask::from_polygons(polygons, size),
            Self::Runs { size: own, counts } => {
                for_picture(*own)?;
                Mask::from_runs(counts.clone(), size)
            }
            Self::Compressed { size: own, counts } => {
                for_picture(*own)?;
                Mask::from_compressed(counts, size)
            }
            Self::Other(_) => bail!(
                "{what}: its `segmentation` is neither a list of polygons nor RLE with `size` and `counts`"
            ),
        };
        let mask = mask.with_context(|| what.to_string())?;
        if mask.area() == 0 {
            bail!("{what}: its mask has no pixels");
        }
        Ok(Some(mask))
    }
}
