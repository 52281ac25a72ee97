//! Matches the cells of two pictures by dense features of a ResNet that this or another program trained.
//!
//! ```sh
//! cargo run --release --example match_two_pictures -- resnet50.pth a.jpg b.jpg matches.png
//! ```

use anyhow::{Context, bail};
use densecl::device::{DeviceChoice, select};
use densecl::features::{Feature, Fit, dense_features, image_batch, map_similarity, square};
use densecl::matching::{cell_center, mutual_matches};
use densecl::visualize::{DrawOptions, MatchLine, draw_matches};
use densecl::weights;
use image::RgbImage;

/// Side in pixels of the network's input.
const SIZE: u32 = 320;
/// Pixels per cell of the last stage. A smaller stride gives more cells with the same weights.
const STRIDE: usize = 16;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, a, b, out] = arguments.as_slice() else {
        bail!("give a file of weights, two pictures and the picture to write")
    };
    let device = pollster::block_on(select(DeviceChoice::Auto))?.device;
    // Reads files of torchvision, MoCo, lightly, timm and others. Code in a pickle is never executed.
    let bytes = std::fs::read(weights).with_context(|| format!("reading {weights}"))?;
    let (encoder, info) = weights::load_with_stride(&bytes, Some(STRIDE), &device)?;
    println!(
        "{} trained with {}",
        info.model.backbone.name(),
        info.method
    );

    let open = |path: &String| -> anyhow::Result<RgbImage> {
        let picture = image::open(path).with_context(|| format!("reading {path}"))?;
        Ok(square(&picture.to_rgb8(), SIZE, Fit::Crop))
    };
    let [a, b] = [open(a)?, open(b)?];
    let features = |picture: &RgbImage| {
        let batch = image_batch(std::slice::from_ref(picture), &device);
        dense_features(&encoder, batch, Feature::MATCHING)
    };
    let (of_a, of_b) = (features(&a), features(&b));
    let [_, channels, rows, columns] = of_a.dims();
    println!("{rows} x {columns} cells of {channels} numbers");

    // Cosine similarity of every cell of A with every cell of B, row major.
    let similarity: Vec<f32> = map_similarity(of_a, of_b).try_into_vec_as()?;
    let mut matches = mutual_matches(&similarity, rows * columns, 0.5);
    // Cells at the border are similar to each other whatever the pictures show, because the network pads with zeros.
    let grid = [rows, columns];
    matches.retain(|found| !found.at_border(grid, grid));
    println!(
        "{} cells away from the border choose each other with a cosine of 0.5 or more",
        matches.len()
    );
    let place =
        |cell: usize| cell_center(cell, columns).map(|at| at * SIZE as f32 / columns as f32);
    let lines = matches.iter().take(50).map(|found| MatchLine {
        a: place(found.a),
        b: place(found.b),
        score: found.score,
        correct: None,
    });
    let lines: Vec<MatchLine> = lines.collect();
    draw_matches(&a, &b, &lines, &DrawOptions::default()).save(out)?;
    Ok(())
}
