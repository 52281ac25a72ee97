//! Draws what UniVIP sees: two scenes of a picture, the instances that both show, and the transport plan between them,
//! for the first three pictures of a run.
//!
//! ```sh
//! densecl pretrain --config univip_scenes --out runs/univip
//! cargo run --release --example boxes_and_plan -- runs/univip plan.png
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use densecl::augment::{CropBox, ScenesAndInstances, Stage, ViewMaker, draw_instances, upload};
use densecl::checkpoint::Checkpoint;
use densecl::method::{MicroBatch, UniVip, ViewBatch};
use densecl::synthetic::scene_image;
use densecl::visualize::{class_color, outline, side_by_side, stack_vertical, viridis};
use densecl_train::config::{RunConfig, SCENES};
use densecl_train::run::RunDir;
use densecl_train::settings;
use image::{Rgb, RgbImage, imageops};

/// Pictures that go through the networks together, and those of them that are drawn.
const BATCH: usize = 16;
const DRAWN: usize = 3;
/// Height in pixels of a row of the drawing, and of the gaps in it.
const ROW: u32 = 320;
const GAP: u32 = 8;
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// A line of the run's `boxes.jsonl`.
struct Line {
    image: String,
    boxes: Vec<CropBox>,
}

impl Line {
    fn read(text: &str) -> anyhow::Result<Self> {
        let line: serde_json::Value = serde_json::from_str(text)?;
        let boxes: Vec<[u32; 4]> = serde_json::from_value(line["boxes"].clone())?;
        let boxes = boxes.into_iter().map(|[left, top, width, height]| CropBox {
            left,
            top,
            width,
            height,
        });
        Ok(Self {
            image: line["image"].as_str().unwrap_or_default().to_string(),
            boxes: boxes.collect(),
        })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = arguments.as_slice() else {
        bail!("give the folder of a run of UniVIP and the picture to write")
    };
    let run = RunDir::at(Path::new(folder));
    let config: RunConfig = settings::resolve_file(&run.config(), &[])?;
    let text = fs::read_to_string(run.boxes()).context("the run has no boxes.jsonl")?;
    let lines = text.lines().take(BATCH).map(Line::read);
    let lines: Vec<Line> = lines.collect::<anyhow::Result<_>>()?;
    ensure!(
        lines.len() == BATCH,
        "the run has fewer than {BATCH} pictures"
    );
    let numbered = lines.iter().enumerate();
    let pictures = numbered.map(|(number, line)| picture(&config, number, &line.image));
    let pictures: Vec<RgbImage> = pictures.collect::<anyhow::Result<_>>()?;

    let samples = pictures.iter().zip(&lines).enumerate();
    let samples = samples.map(|(number, (picture, line))| {
        let stage = Stage::whole(config.views.size);
        let stream = [config.train.seed, number as u64];
        let (size, count) = (picture.dimensions().into(), config.method.instances);
        draw_instances(size, &line.boxes, &config.views, stage, stream, count)
    });
    let samples: Vec<ScenesAndInstances> = samples.collect();

    let device = Device::flex();
    let RunConfig {
        model,
        method,
        optim,
        train,
        ..
    } = &config;
    let mut learner = UniVip::new(model, method, optim, train.seed, &device);
    let (_, newest) = run
        .checkpoints()?
        .pop()
        .context("the run has no checkpoint")?;
    Checkpoint::read(&fs::read(newest)?, model)?.restore(&mut learner)?;
    let plans = learner
        .plans(&views(&config, &pictures, &samples, &device))
        .plan;
    let plans: Vec<f32> = plans.try_into_vec_as()?;

    let count = config.method.instances;
    let drawn = pictures
        .iter()
        .zip(&samples)
        .zip(plans.chunks(count * count));
    let rows: Vec<RgbImage> = drawn
        .take(DRAWN)
        .map(|((picture, sample), plan)| {
            let plan = draw_plan(plan, count);
            side_by_side(&draw_boxes(picture, sample), &plan, GAP).0
        })
        .collect();
    let rows: Vec<&RgbImage> = rows.iter().collect();
    stack_vertical(&rows, GAP, WHITE).save(out)?;
    Ok(())
}

/// Training picture `number`, whose name is `name`.
fn picture(config: &RunConfig, number: usize, name: &str) -> anyhow::Result<RgbImage> {
    if config.data.source == SCENES {
        return Ok(scene_image(
            config.train.seed,
            number as u64,
            &config.scenes,
        ));
    }
    let path = Path::new(&config.data.source).join(name);
    let picture = image::open(&path).with_context(|| path.display().to_string())?;
    Ok(picture.to_rgb8())
}

/// The views of the samples, in the order in which UniVIP wants them.
fn views(
    config: &RunConfig,
    pictures: &[RgbImage],
    samples: &[ScenesAndInstances],
    device: &Device,
) -> MicroBatch {
    let mut maker = ViewMaker::default();
    let count = config.method.instances;
    let mut view = |number: usize| {
        let size = if number < 2 {
            config.views.size
        } else {
            config.method.instance_size
        };
        let mut bytes = Vec::new();
        for (picture, sample) in pictures.iter().zip(samples) {
            let params = match number.checked_sub(2) {
                None => &sample.scenes[number],
                Some(instance) => &sample.instances[instance % count][instance / count],
            };
            bytes.extend_from_slice(maker.make(picture, params, size).as_bytes());
        }
        ViewBatch {
            pixels: upload(&bytes, size as usize, device),
            geometry: None,
        }
    };
    MicroBatch {
        views: (0..2 + 2 * count).map(&mut view).collect(),
    }
}

/// The picture with its scenes in white and its instances in colours.
fn draw_boxes(picture: &RgbImage, sample: &ScenesAndInstances) -> RgbImage {
    let scale = f64::from(ROW) / f64::from(picture.height());
    let width = (f64::from(picture.width()) * scale) as u32;
    let mut drawn = imageops::resize(picture, width, ROW, imageops::FilterType::Triangle);
    for scene in &sample.scenes {
        outline(
            &mut drawn,
            &scene.crop.rect().scaled(scale, scale),
            WHITE,
            1,
        );
    }
    for (number, [instance, _]) in sample.instances.iter().enumerate() {
        let rect = instance.crop.rect().scaled(scale, scale);
        outline(&mut drawn, &rect, color(number), 3);
    }
    drawn
}

/// The plan as a grid: a row for each online instance, a column for each of the target; the brighter, the more is moved.
fn draw_plan(plan: &[f32], count: usize) -> RgbImage {
    let cell = ROW / (count as u32 + 1);
    let side = cell * (count as u32 + 1);
    let greatest = plan.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut drawn = RgbImage::from_pixel(side, ROW, WHITE);
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let (column, row) = ((x / cell) as usize, (y / cell) as usize);
        *pixel = match (row.checked_sub(1), column.checked_sub(1)) {
            (Some(row), Some(column)) if row < count && column < count => {
                Rgb(viridis(plan[row * count + column] / greatest))
            }
            (Some(number), None) | (None, Some(number)) if number < count => color(number),
            _ => WHITE,
        };
    }
    drawn
}

fn color(number: usize) -> Rgb<u8> {
    class_color(number as u8 + 1)
}
