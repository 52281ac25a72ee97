//! Where images come from.

use std::path::PathBuf;

use image::RgbImage;

use super::scan::Dataset;

/// The images of a run.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files, decoded each time they are needed.
    Files(Dataset),
    /// Pictures that are there already: the embedded scenes.
    Memory(Vec<RgbImage>),
}

impl Source {
    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Files(dataset) => dataset.paths().len(),
            Self::Memory(images) => images.len(),
        }
    }

    /// The file of an image; for one in memory, something to call it by.
    pub(crate) fn name(&self, image: usize) -> PathBuf {
        match self {
            Self::Files(dataset) => dataset.paths()[image].clone(),
            Self::Memory(_) => PathBuf::from(format!("image {image}")),
        }
    }
}
