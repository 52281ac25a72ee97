//! `densecl match A B`: where a network finds the same thing in two pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::{Device, Tensor};
use densecl::features::{
    Feature, SIDES, dense_features, image_batch, map_similarity, network_picture,
};
use densecl::matching::{self, cell_center, mutual_matches, subcell_peak};
use densecl::model::Encoder;
use densecl::visualize::{
    DrawOptions, MatchLine, cells_to_image, draw_matches, joint_pca, side_by_side, stack_vertical,
};
use image::{Rgb, RgbImage};
use serde::Serialize;

use crate::console;
use crate::data::decode::{DecodeLimits, decode};
use crate::files::{ensure_png, write_json, write_png};
use crate::weights;

/// What to match and how.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) a: PathBuf,
    pub(crate) b: PathBuf,
    pub(crate) weights: PathBuf,
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
}

/// `--json`: positions in pixels of the pictures as they are on disk.
#[derive(Debug, Serialize)]
struct Report {
    a: PathBuf,
    b: PathBuf,
    weights: PathBuf,
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
pub(crate) fn run(request: &Request, device: &Device) -> anyhow::Result<()> {
    let threshold = request.threshold;
    if !(-1.0..=1.0).contains(&threshold) {
        bail!("--threshold {threshold}: a cosine similarity is between -1 and 1");
    }
    if let Some(stride) = request.stride
        && !matches!(stride, 8 | 16 | 32)
    {
        bail!("--stride {stride}: must be 8, 16 or 32");
    }
    ensure_png(&request.out)?;
    let (encoder, info) = weights::open(&request.weights, request.stride, device)?;
    request.feature.ensure_in(&encoder).with_context(|| {
        let feature = request.feature.name();
        format!("--feature {feature}: {}", request.weights.display())
    })?;

    let a = Picture::open(&request.a, request.size)?;
    let b = Picture::open(&request.b, request.size)?;
    if let Some(stride) = request.feature.stride(&info.model) {
        ensure_comparable([&a.resized, &b.resized], stride, request.size)?;
    }
    let [map_a, map_b] = [&a, &b].map(|p| features(&encoder, p, request.feature, device));
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

    let picture = picture(request, &a, &b, &lines, [(map_a, grid_a), (map_b, grid_b)])?;
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
    console::note(format_args!(
        "{} mutual matches of {} and {} cells of {} x {} px ({} trained {} steps on {}): {}",
        lines.len(),
        grid_a[0] * grid_a[1],
        cells_b,
        cell_a[0],
        cell_a[1],
        info.model.backbone.name(),
        info.steps,
        info.data,
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

/// Lines above, joint PCA colours below.
fn picture(
    request: &Request,
    a: &Picture,
    b: &Picture,
    lines: &[MatchLine],
    maps: [(Tensor<4>, [usize; 2]); 2],
) -> anyhow::Result<RgbImage> {
    const GAP: u32 = 8;
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
    Ok(stack_vertical(&[&matches, &pca], GAP, Rgb([255; 3])))
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

    fn on_disk(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [x * self.scale[0], y * self.scale[1]]
    }
}
