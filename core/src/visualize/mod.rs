//! Visualisation of dense features: match lines, similarity heat maps and joint PCA colourings.
//!
//! Functions take pixels and plain slices and return pixels; they use no models, tensors or files, so
//! the native program and the browser draw the same pictures. Pictures contain no text, which would need
//! a font in the core; the caller adds captions.
//!
//! Positions are continuous pixel coordinates `[x, y]`, x to the right, y down: pixel `(i, j)` covers
//! `[i, i + 1) × [j, j + 1)` and its centre is `(i + 0.5, j + 0.5)`. Grids of features are row-major,
//! `[rows, cols]`, and cover the whole picture, so cell `(r, c)` is sampled at its centre.

mod heat;
mod labels;
mod layout;
mod matches;
mod outline;
mod pca;
mod raster;

pub use heat::{HeatOptions, heat_map, viridis};
pub use labels::{class_color, paint_labels};
pub use layout::{cells_to_image, enlarge, side_by_side, stack_vertical};
pub use matches::{CORRECT, DrawOptions, MatchLine, WRONG, draw_matches};
pub use outline::outline;
pub use pca::joint_pca;
pub use raster::mark_point;

#[cfg(test)]
mod tests;
