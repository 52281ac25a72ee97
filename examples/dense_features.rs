//! Computes the dense features of a picture: a vector for each of its cells.
//!
//! ```sh
//! cargo run --release --example dense_features -- weights.safetensors a.jpg
//! ```

use anyhow::{Context, bail};
use densecl::device::{DeviceChoice, select};
use densecl::features::{Feature, dense_features, image_batch, network_picture};
use densecl::weights;

/// Longer side in pixels of the network's input, and pixels per cell.
const SIZE: u32 = 320;
const STRIDE: usize = 16;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, picture] = arguments.as_slice() else {
        bail!("give a file of weights and a picture")
    };
    let device = pollster::block_on(select(DeviceChoice::Auto))?.device;
    let bytes = std::fs::read(file).with_context(|| format!("reading {file}"))?;
    let (encoder, _) = weights::load_with_stride(&bytes, Some(STRIDE), &device)?;

    let picture = image::open(picture).with_context(|| format!("reading {picture}"))?;
    let pixels = network_picture(&picture.to_rgb8(), SIZE);
    let features = dense_features(&encoder, image_batch(&[pixels], &device), Feature::Stage4);
    let [_, channels, rows, columns] = features.dims();
    println!("{rows} x {columns} cells of {channels} numbers");

    // The values in the order [1, channels, rows, columns]; each cell's vector has length 1.
    let values: Vec<f32> = features.try_into_vec_as()?;
    let upper_left: Vec<f32> = values.iter().copied().step_by(rows * columns).collect();
    let squares: f32 = upper_left.iter().map(|value| value * value).sum();
    println!("the upper left cell has length {:.3}", squares.sqrt());
    Ok(())
}
