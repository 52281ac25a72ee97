//! Matches between two pictures, and a picture of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use densecl::device::Selected;
use densecl::features::{
    Feature, SIDES, dense_features, image_batch, map_similarity, network_picture,
};
use densecl::matching::{self, best_cell, cell_center, mutual_matches, subcell_peak};
use densecl::visualize::{
    DrawOptions, HeatOptions, MatchLine, cells_to_image, draw_matches, heat_map, joint_pca,
    mark_point, side_by_side, stack_vertical,
};
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::memory::ensure_fits;
use densecl_train::paths;
use image::{Rgb, RgbImage};
use serde::Serialize;

use crate::backbone::Backbone;

/// How two pictures are matched, and what is drawn.
#[derive(Debug, Clone)]
pub struct MatchSettings {
    /// The feature by which cells are matched.
    pub feature: Feature,
    /// Longer side in pixels of the network's input.
    pub size: u32,
    /// Smallest cosine similarity of a match, in [-1, 1].
    pub threshold: f32,
    /// Largest number of matches drawn, the best first.
    pub max_lines: usize,
    /// Whether matches [at the border](matching::at_border) of a picture are kept.
    pub border_matches: bool,
    /// Points of the first picture, in pixels on disk, for which heat maps are drawn.
    pub at: Vec<[f32; 2]>,
}

/// The matches of two pictures. Positions are in pixels of the pictures on disk.
#[derive(Debug, Serialize)]
pub struct Matches {
    #[serde(serialize_with = "paths::serialize")]
    a: PathBuf,
    #[serde(serialize_with = "paths::serialize")]
    b: PathBuf,
    weights: String,
    feature: Feature,
    threshold: f32,
    border_matches: bool,
    /// Rows and columns of the first picture's feature map.
    pub grid_a: [usize; 2],
    /// Rows and columns of the second picture's feature map.
    pub grid_b: [usize; 2],
    /// Width and height of a cell of the first picture, in pixels of the network's input.
    pub cell_a: [f32; 2],
    /// Width and height of a cell of the second picture, likewise.
    pub cell_b: [f32; 2],
    /// Mutual nearest neighbours among the cells.
    pub matches: Vec<Match>,
    /// Number of mutual nearest neighbours that were left out because they are at the border.
    pub left_out_at_border: usize,
    /// The matches as lines, both pictures coloured by their features, and a row per heat map.
    #[serde(skip)]
    pub picture: RgbImage,
}

/// A position in each picture, and the similarity of the features there.
#[derive(Debug, Serialize)]
pub struct Match {
    /// (x, y) in the first picture.
    pub a: [f32; 2],
    /// (x, y) in the second picture.
    pub b: [f32; 2],
    /// Cosine similarity.
    pub score: f32,
}

/// Matches two picture files. `weights` is the name of the network in messages and reports.
///
/// # Errors
/// One line for the user: for a picture that cannot be used, for settings that do not fit the pictures or the
/// network, and when the device fails.
pub fn match_files(
    [path_a, path_b]: [&Path; 2],
    network: &Backbone,
    weights: &str,
    settings: &MatchSettings,
    selected: &Selected,
) -> anyhow::Result<Matches> {
    let has_feature = settings.feature.ensure_in(&network.encoder);
    has_feature.with_context(|| {
        let feature = settings.feature.name();
        format!("--feature {feature}: {weights}")
    })?;
    let a = Picture::open(path_a, settings.size)?;
    let b = Picture::open(path_b, settings.size)?;
    for &at in &settings.at {
        a.ensure_holds(at, path_a)?;
    }
    if let Some(stride) = network.stride(settings.feature) {
        ensure_comparable([&a.resized, &b.resized], stride, settings.size)?;
    }
    for picture in [&a, &b] {
        let size = picture.resized.dimensions().into();
        let remedy = "choose a smaller --size, or a larger --stride";
        ensure_fits(selected, &network.model, 1, size, remedy)?;
    }
    let [map_a, map_b] = [&a, &b].map(|picture| features(network, picture, settings.feature));
    let [grid_a, grid_b] = [&map_a, &map_b].map(|map| {
        let [_, _, rows, columns] = map.dims();
        [rows, columns]
    });
    let (cell_a, cell_b) = (a.cell(grid_a), b.cell(grid_b));

    let similarity: Vec<f32> = map_similarity(map_a.clone(), map_b.clone())
        .try_into_vec_as()
        .context("reading similarities back from the device")?;
    let cells_b = grid_b[0] * grid_b[1];
    let mut found = mutual_matches(&similarity, cells_b, settings.threshold);
    let all = found.len();
    found.retain(|m| settings.border_matches || !m.at_border(grid_a, grid_b));
    let left_out_at_border = all - found.len();
    let lines: Vec<MatchLine> = found
        .iter()
        .map(|m| {
            let row = &similarity[m.a * cells_b..][..cells_b];
            let scaled = |[x, y]: [f32; 2], [width, height]: [f32; 2]| [x * width, y * height];
            MatchLine {
                a: scaled(cell_center(m.a, grid_a[1]), cell_a),
                b: scaled(subcell_peak(row, m.b, grid_b), cell_b),
                score: m.score,
                correct: None,
            }
        })
        .collect();

    let mut rows = pictures(settings, &a, &b, &lines, [(map_a, grid_a), (map_b, grid_b)])?;
    for &at in &settings.at {
        rows.push(heat(&a, &b, &similarity, [grid_a, grid_b], at));
    }
    let rows: Vec<&RgbImage> = rows.iter().collect();
    let found = lines.iter().map(|line| Match {
        a: a.on_disk(line.a),
        b: b.on_disk(line.b),
        score: line.score,
    });
    Ok(Matches {
        a: path_a.to_path_buf(),
        b: path_b.to_path_buf(),
        weights: weights.to_string(),
        feature: settings.feature,
        threshold: settings.threshold,
        border_matches: settings.border_matches,
        grid_a,
        grid_b,
        cell_a,
        cell_b,
        matches: found.collect(),
        left_out_at_border,
        picture: stack_vertical(&rows, GAP, Rgb([255; 3])),
    })
}

/// Largest number of similarities between the cells of two pictures; they take 1 GiB.
const MAX_SIMILARITIES: usize = 1 << 28;

/// Checks that the similarities of all cells of two pictures, resized to `--size`, fit into memory.
///
/// # Errors
/// When they do not; one line for the user.
pub(crate) fn ensure_comparable(
    pictures: [&RgbImage; 2],
    stride: usize,
    size: u32,
) -> anyhow::Result<()> {
    let cells = pictures.map(|picture| {
        let (width, height) = picture.dimensions();
        (width as usize / stride) * (height as usize / stride)
    });
    matching::ensure_comparable(cells, MAX_SIMILARITIES).with_context(|| format!("--size {size}"))
}

/// Pixels of space between pictures.
const GAP: u32 = 8;

/// Draws the matches, and both pictures in joint PCA colours.
fn pictures(
    settings: &MatchSettings,
    a: &Picture,
    b: &Picture,
    lines: &[MatchLine],
    maps: [(Tensor<4>, [usize; 2]); 2],
) -> anyhow::Result<Vec<RgbImage>> {
    let best = lines.iter().map(|line| line.score).fold(f32::MIN, f32::max);
    let options = DrawOptions {
        scale: 1,
        gap: GAP,
        score_range: [settings.threshold.min(best - 1e-3), best],
        ..DrawOptions::default()
    };
    let shown = &lines[..lines.len().min(settings.max_lines)];
    let matches = draw_matches(&a.resized, &b.resized, shown, &options);

    let [(map_a, grid_a), (map_b, grid_b)] = maps;
    let [_, channels, ..] = map_a.dims();
    let cells = |map: Tensor<4>| -> anyhow::Result<Vec<f32>> {
        map.permute([0, 2, 3, 1])
            .try_into_vec_as()
            .context("reading features back from the device")
    };
    let (colors_a, colors_b) = joint_pca(&cells(map_a)?, &cells(map_b)?, channels);
    let [pca_a, pca_b] = [(colors_a, grid_a, a), (colors_b, grid_b, b)].map(|(colors, grid, p)| {
        cells_to_image(&colors, grid, p.resized.width(), p.resized.height(), false)
    });
    let (pca, _) = side_by_side(&pca_a, &pca_b, GAP);
    Ok(vec![matches, pca])
}

/// Draws the point in A, and over B the similarity of every cell to the point's cell, with the best one marked.
fn heat(
    a: &Picture,
    b: &Picture,
    similarity: &[f32],
    [grid_a, grid_b]: [[usize; 2]; 2],
    at: [f32; 2],
) -> RgbImage {
    const RADIUS: f32 = 6.0;
    let at = [at[0] / a.scale[0], at[1] / a.scale[1]];
    let (cell_a, cell_b) = (a.cell(grid_a), b.cell(grid_b));
    let [row, column] = [1, 0].map(|axis| {
        let last = grid_a[1 - axis] - 1;
        ((at[axis] / cell_a[axis]) as usize).min(last)
    });
    let cells_b = grid_b[0] * grid_b[1];
    let row = &similarity[(row * grid_a[1] + column) * cells_b..][..cells_b];

    let mut query = a.resized.clone();
    mark_point(&mut query, at, RADIUS);
    let mut heat = heat_map(&b.resized, row, grid_b, &HeatOptions::default());
    if let Some(best) = best_cell(row) {
        let [x, y] = subcell_peak(row, best, grid_b);
        mark_point(&mut heat, [x * cell_b[0], y * cell_b[1]], RADIUS);
    }
    side_by_side(&query, &heat, GAP).0
}

fn features(network: &Backbone, picture: &Picture, feature: Feature) -> Tensor<4> {
    let batch = image_batch(std::slice::from_ref(&picture.resized), &network.device);
    dense_features(&network.encoder, batch, feature)
}

/// A picture resized for the network.
struct Picture {
    resized: RgbImage,
    /// Pixels on disk per resized pixel, along x and y.
    scale: [f32; 2],
}

impl Picture {
    /// Decodes a picture and resizes it to a longer side of about `size` pixels.
    fn open(path: &Path, size: u32) -> anyhow::Result<Self> {
        if !SIDES.contains(&size) {
            bail!(
                "--size {size}: must be between {} and {} pixels",
                SIDES.start(),
                SIDES.end()
            );
        }
        let image = decode(path, &DecodeLimits::default())
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
        let resized = network_picture(&image, size);
        Ok(Self {
            scale: [
                image.width() as f32 / resized.width() as f32,
                image.height() as f32 / resized.height() as f32,
            ],
            resized,
        })
    }

    /// Width and height in pixels of a cell in a grid over the picture. Cells are not square where the dense head
    /// pools to a fixed grid.
    fn cell(&self, [rows, columns]: [usize; 2]) -> [f32; 2] {
        let (width, height) = self.resized.dimensions();
        [width as f32 / columns as f32, height as f32 / rows as f32]
    }

    /// # Errors
    /// When the point, in pixels on disk, is outside the picture.
    fn ensure_holds(&self, [x, y]: [f32; 2], path: &Path) -> anyhow::Result<()> {
        let [width, height] =
            self.on_disk([self.resized.width() as f32, self.resized.height() as f32]);
        if !((0.0..width).contains(&x) && (0.0..height).contains(&y)) {
            bail!(
                "--at {x},{y}: outside of {}, which is {width:.0} x {height:.0} pixels",
                path.display()
            );
        }
        Ok(())
    }

    fn on_disk(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [x * self.scale[0], y * self.scale[1]]
    }
}
