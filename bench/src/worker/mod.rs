//! The densecl worker: a process that does one piece of work with densecl's public interface and times it.

mod parts;
mod step;

pub(crate) use step::views;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use burn::tensor::{Device, Distribution, Tensor};
use densecl::config::{Backbone, ModelConfig};
use densecl::device::{DeviceChoice, select};
use densecl::features::{Feature, feature_map};
use densecl::loss::info_nce;
use densecl::matching::l2_normalize;
use densecl::model::Encoder;
use densecl::ops::together;
use serde::Serialize;

use crate::machine;
use crate::protocol::{Greeting, Memory, Prepared, Refused, Request, Run};
use crate::work::{DIM, Work};

/// Does one iteration and returns the time of the part that is measured.
pub(crate) type Iteration = Box<dyn FnMut() -> anyhow::Result<Duration>>;

/// Writes the greeting, then answers requests until standard input ends.
///
/// # Errors
/// If the device does not exist, or standard output is closed.
pub(crate) fn serve(device: &str) -> anyhow::Result<()> {
    machine::first_to_be_killed();
    let selected = pollster::block_on(select(device.parse::<DeviceChoice>()?))?;
    let versions = [
        ("densecl", env!("CARGO_PKG_VERSION")),
        ("burn", locked("burn")),
    ];
    reply(&Greeting {
        versions: BTreeMap::from(versions.map(|(name, v)| (name.to_string(), v.to_string()))),
        device: selected.name,
    })?;
    let mut prepared = None;
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).context("not a request")?;
        if let Err(error) = answer(request, &selected.device, &mut prepared) {
            reply(&Refused {
                error: format!("{error:#}"),
            })?;
        }
    }
    Ok(())
}

/// The version of a dependency that this program was built with.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let head = format!("name = \"{name}\"\nversion = \"");
    let version = lock
        .split_once(&head)
        .and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown", |(version, _)| version)
}

fn answer(
    request: Request,
    device: &Device,
    prepared: &mut Option<Iteration>,
) -> anyhow::Result<()> {
    match request {
        Request::Prepare { work, .. } => {
            let mut once = iteration(&work, device)?;
            device.sync()?;
            let resident = machine::resident();
            once()?;
            *prepared = Some(once);
            reply(&Prepared { resident })
        }
        Request::Run { seconds } => {
            let Some(once) = prepared else {
                bail!("nothing is prepared")
            };
            let (mut total, mut iterations) = (0.0, 0);
            while iterations == 0 || total < seconds {
                total += once()?.as_secs_f64();
                iterations += 1;
            }
            reply(&Run {
                seconds: total / iterations as f64,
                iterations,
            })
        }
        Request::Finish => reply(&Memory {
            peak: machine::peak("self"),
            device_peak: None,
        }),
    }
}

fn reply(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

pub(crate) fn iteration(work: &Work, device: &Device) -> anyhow::Result<Iteration> {
    Ok(match work {
        Work::Step { network } => step::iteration(*network, device),
        Work::Part { part, network } => parts::iteration(*part, *network, device)?,
        Work::Loss { queries, keys, dim } => loss(*queries, *keys, *dim, device),
        Work::Inference {
            backbone,
            size,
            batch,
            ..
        } => inference(*backbone, *size, *batch, device),
    })
}

/// Times `action`, which runs as a part of a training step does, until the device has finished all work it was given.
fn clock(device: &Device, action: impl FnOnce()) -> anyhow::Result<Duration> {
    let start = Instant::now();
    together(device, action);
    device.sync()?;
    Ok(start.elapsed())
}

/// An iteration that times `action` as a whole.
fn clocked(device: &Device, mut action: impl FnMut() + 'static) -> Iteration {
    let device = device.clone();
    Box::new(move || clock(&device, &mut action))
}

/// Random vectors of unit length along dimension 1, without gradients.
fn unit<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    l2_normalize(random(shape, device), 1)
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// InfoNCE and its gradient with respect to the queries.
fn loss(queries: usize, keys: usize, dim: usize, device: &Device) -> Iteration {
    let query = unit([queries, dim], device).autodiff().require_grad();
    let positive = unit([queries, dim], device);
    let queue = unit([keys, dim], device);
    clocked(device, move || {
        let loss = info_nce(query.clone(), positive.clone(), queue.clone(), 0.2).loss;
        let gradients = loss.backward();
        query.grad(&gradients).expect("the query has a gradient");
    })
}

/// The paper's model with this backbone, at output stride 32.
pub(crate) fn model(backbone: Backbone) -> ModelConfig {
    ModelConfig {
        backbone,
        dim: DIM,
        ..ModelConfig::default()
    }
}

fn inference(backbone: Backbone, size: usize, batch: usize, device: &Device) -> Iteration {
    let encoder = Encoder::new(&model(backbone), 0, device);
    let images = random([batch, 3, size, size], device);
    clocked(device, move || {
        feature_map(&encoder, images.clone(), Feature::Stage4);
    })
}
