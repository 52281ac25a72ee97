//! `densecl match A B`: where a network finds the same thing in two pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor};
use densecl::device::Selected;
use densecl::features::{
    Feature, SIDES, dense_features, image_batch, map_similarity, network_picture,
};
use densecl::matching::{self, best_cell, cell_center, mutual_matches, subcell_peak};
use densecl::model::Encoder;
use densecl::visualize::{
    DrawOptions, HeatOptions, MatchLine, cells_to_image, draw_matches, heat_map, joint_pca,
    mark_point, side_by_side, stack_vertical,
};
use image::{Rgb, RgbImage};
use serde::Serialize;

use crate::console;
use crate::data::decode::{DecodeLimits, decode};
use crate::eval::backbone::Weights;
use crate::files::{ensure_png, write_json, write_png};
use crate::memory::ensure_fits;
use crate::paths;

/// What to match and how.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) a: PathBuf,
    pub(crate) b: PathBuf,
    /// A file, `photos`, or `random:ARCHITECTURE`.
    pub(crate) weights: String,
    pub(crate) out: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) feature: Feature,
    /// Pixels of the longer side at which the network looks.
    pub(crate) size: u32,
    /// Least cosine similarity of a pair.
    pub(crate) threshold: f32,
    /// Output stride; `None` = the one it was trained with.
    pub(crate) stride: Option<usize>,
    /// Matches drawn, the best first.
    pub(crate) max_lines: usize,
    /// Points of A, in its pixels on disk, whose heat maps are drawn.
    pub(crate) at: Vec<[f32; 2]>,
}

/// `--json`: positions in pixels of the pictures as they are on disk.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(serialize_with = "paths::serialize")]
    a: PathBuf,
    #[serde(serialize_with = "paths::serialize")]
    b: PathBuf,
    weights: String,
    feature: Feature,
    threshold: f32,
    /// Rows and columns of the feature grids.
    grid_a: [usize; 2],
    grid_b: [usize; 2],
    /// Width and height of a cell, in pixels of the pictures as the network saw them.
    cell_a: [f32; 2],
    cell_b: [f32; 2],
    matches: Vec<Match>,
}

#[derive(Debug, Serialize)]
struct Match {
    a: [f32; 2],
    b: [f32; 2],
    score: f32,
}

/// Matches and draws.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(request: &Request, selected: &Selected) -> anyhow::Result<()> {
    let device = &selected.device;
    let threshold = request.threshold;
    if !(-1.0..=1.0).contains(&threshold) {
        bail!("--threshold {threshold}: a cosine similarity is between -1 and 1");
    }
    super::check_stride(request.stride)?;
    ensure_png(&request.out)?;
    let weights = Weights::parse(std::slice::from_ref(&request.weights), device)?;
    let network = weights[0].load(request.stride, 0, device)?;
    request
        .feature
        .ensure_in(&network.encoder)
        .with_context(|| {
            let feature = request.feature.name();
            format!("--feature {feature}: {}", request.weights)
        })?;

    let a = Picture::open(&request.a, request.size)?;
    let b = Picture::open(&request.b, request.size)?;
    for &at in &request.at {
        a.ensure_holds(at, &request.a)?;
    }
    if let Some(stride) = network.stride(request.feature) {
        ensure_comparable([&a.resized, &b.resized], stride, request.size)?;
    }
    for picture in [&a, &b] {
        let size = picture.resized.dimensions().into();
        let remedy = "choose a smaller --size, or a larger --stride";
        ensure_fits(selected, &network.model, 1, size, remedy)?;
    }
    let [map_a, map_b] = [&a, &b].map(|p| features(&network.encoder, p, request.feature, device));
    let [grid_a, grid_b] = [&map_a, &map_b].map(|map| {
        let [_, _, rows, columns] = map.dims();
        [rows, columns]
    });
    let (cell_a, cell_b) = (a.cell(grid_a), b.cell(grid_b));

    let similarity: Vec<f32> = map_similarity(map_a.clone(), map_b.clone())
        .try_into_vec_as()
        .context("reading similarities back from the device")?;
    let cells_b = grid_b[0] * grid_b[1];
    let found = mutual_matches(&similarity, cells_b, request.threshold);
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

    let mut rows = pictures(request, &a, &b, &lines, [(map_a, grid_a), (map_b, grid_b)])?;
    for &at in &request.at {
        rows.push(heat(&a, &b, &similarity, [grid_a, grid_b], at));
    }
    let rows: Vec<&RgbImage> = rows.iter().collect();
    let picture = stack_vertical(&rows, GAP, Rgb([255; 3]));
    write_png(&request.out, &picture)?;
    if let Some(json) = &request.json {
        let report = Report {
            a: request.a.clone(),
            b: request.b.clone(),
            weights: request.weights.clone(),
            feature: request.feature,
            cell_a,
            cell_b,
            threshold: request.threshold,
            grid_a,
            grid_b,
            matches: lines
                .iter()
                .map(|line| Match {
                    a: a.on_disk(line.a),
                    b: b.on_disk(line.b),
                    score: line.score,
                })
                .collect(),
        };
        write_json(json, &report)?;
    }
    let trained = network.training.as_ref().map_or_else(
        || "untrained".to_owned(),
        |training| format!("trained {} steps on {}", training.steps, training.data),
    );
    console::note(format_args!(
        "{} mutual matches of {} and {} cells of {} x {} px ({} {trained}): {}",
        lines.len(),
        grid_a[0] * grid_a[1],
        cells_b,
        cell_a[0],
        cell_a[1],
        network.model.backbone.name(),
        request.out.display()
    ));
    Ok(())
}

/// Similarities between the cells of two pictures, at most: 1 GiB.
const MAX_SIMILARITIES: usize = 1 << 28;

/// Whether two pictures, as the network sees them at `--size`, can be compared cell by cell.
///
/// # Errors
/// When there would be too many similarities for the memory; one line for the user.
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

/// Pixels between pictures.
const GAP: u32 = 8;

/// Lines, and joint PCA colours.
fn pictures(
    request: &Request,
    a: &Picture,
    b: &Picture,
    lines: &[MatchLine],
    maps: [(Tensor<4>, [usize; 2]); 2],
) -> anyhow::Result<Vec<RgbImage>> {
    let best = lines.iter().map(|line| line.score).fold(f32::MIN, f32::max);
    let options = DrawOptions {
        scale: 1,
        gap: GAP,
        score_range: [request.threshold.min(best - 1e-3), best],
        ..DrawOptions::default()
    };
    let shown = &lines[..lines.len().min(request.max_lines)];
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

/// The point in A, and how similar every cell of B is to the cell that holds it; the best one is marked.
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

fn features(encoder: &Encoder, picture: &Picture, feature: Feature, device: &Device) -> Tensor<4> {
    dense_features(
        encoder,
        image_batch(std::slice::from_ref(&picture.resized), device),
        feature,
    )
}

/// A picture as the network sees it.
struct Picture {
    resized: RgbImage,
    /// Pixels on disk per pixel shown, along x and y.
    scale: [f32; 2],
}

impl Picture {
    /// Decoded and resized; the longer side about `size` pixels.
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

    /// Width and height of a cell of a grid over the picture. Where the dense head pools, cells need
    /// not be square.
    fn cell(&self, [rows, columns]: [usize; 2]) -> [f32; 2] {
        let (width, height) = self.resized.dimensions();
        [width as f32 / columns as f32, height as f32 / rows as f32]
    }

    /// # Errors
    /// When the point, in pixels on disk, is not inside the picture.
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
