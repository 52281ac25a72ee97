//! Measures how well frozen features predict the class of each pixel, beside those of an untrained network.
//!
//! ```sh
//! densecl synth --out scenes --count 24 --size 128
//! cargo run --release --example evaluate_a_backbone -- weights.safetensors scenes
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use densecl::device::{DeviceChoice, select};
use densecl_eval::backbone::NamedWeights;
use densecl_eval::segmentation::{KnnSeg, KnnSettings, Splits};
use densecl_eval::{Contest, Look, evaluate};
use densecl_train::watch::Unwatched;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, folder] = arguments.as_slice() else {
        bail!("give a file of weights and a folder of labelled pictures")
    };
    let device = pollster::block_on(select(DeviceChoice::Auto))?.device;
    // `random` is an untrained network of the same architecture.
    let given = [format!("trained={file}"), "random".to_string()];
    let contest = Contest {
        weights: NamedWeights::parse(&given, &device)?,
        seeds: vec![0],
        device,
        watch: Arc::new(Unwatched),
    };
    let (splits, settings) = (Splits::default(), KnnSettings::default());
    let task = KnnSeg::new(Path::new(folder), &splits, Look::AT_CELLS, settings)?;
    print!("{}", evaluate(&task, &contest)?.table());
    Ok(())
}
