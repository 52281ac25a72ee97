//! Training steps and the dense loss in this process: their agreement with the CPU, their times, their kernels.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use densecl::config::{Backbone, MethodConfig, ModelConfig, OptimConfig, Precision};
use densecl::device;
use densecl::memory::{StepMemory, StepShape};
use densecl::method::{DenseCl, Method, MicroBatch, StepSettings};
use densecl::model::Tensors;
use densecl::ops::choice::{self, Mode};
use densecl::world::Alone;

use super::Parts;
use crate::gpu::launches::observed;
use crate::gpu::report::{Report, Step};
use crate::work::{DIM, Network, Work};
use crate::worker;

impl Parts<'_> {
    /// Two steps of a small network: figures, and all tensors of the trained encoder.
    pub(super) fn agreement(&self, report: &mut Report) -> anyhow::Result<()> {
        let network = Network {
            backbone: Backbone::ResNet10,
            size: 65,
            batch: 4,
            queue: 64,
        };
        let run = |device: &Device| {
            let (mut learner, batch) = learner(network, Precision::F32, device);
            let batch = with_equal_pixels(batch, device);
            let mut found: Vec<(String, Vec<f32>)> = Vec::new();
            for step in 0..2 {
                for (name, value) in once(&mut learner, &batch, step)? {
                    found.push((format!("{name}, step {step}"), vec![value as f32]));
                }
            }
            for tensor in learner.encoder().named() {
                let values = tensor.values.try_into_vec_as::<f32>();
                let values =
                    values.map_err(|e| anyhow::anyhow!("reading {}: {e:?}", tensor.name))?;
                found.push((tensor.name, values));
            }
            anyhow::Ok(found)
        };
        let (ours, cpu) = (run(&self.selected.device)?, run(&Device::flex())?);
        for ((name, ours), (_, cpu)) in ours.iter().zip(&cpu) {
            let scale = cpu.iter().fold(1e-6_f32, |most, x| most.max(x.abs()));
            let difference = ours.iter().zip(cpu).fold(0.0_f32, |most, (a, b)| {
                let d = (a - b).abs();
                if d.is_nan() {
                    f32::INFINITY
                } else {
                    most.max(d)
                }
            });
            report
                .agreement
                .push((name.clone(), f64::from(difference / scale)));
        }
        Ok(())
    }

    pub(super) fn steps(
        &self,
        network: Network,
        precision: Precision,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        if !self.selected.computes_in(precision) {
            report.note(format!(
                "{} does not compute in {}",
                self.selected.name,
                precision.name()
            ));
            return Ok(());
        }
        let device = &self.selected.device;
        let (mut learner, batch) = learner(network, precision, device);
        // The first step measures the kernels, the second finds the memory that a step needs.
        once(&mut learner, &batch, 0)?;
        once(&mut learner, &batch, 1)?;
        let seconds = time(&self.at_least(), |step| {
            once(&mut learner, &batch, step + 2).map(drop)
        })?;
        let model = worker::model(network.backbone);
        let method = MethodConfig::default();
        let estimate = StepMemory::estimate(&StepShape {
            model: &model,
            method: &method,
            batch: network.batch,
            accumulate: 1,
            ranks: 1,
            size: network.size,
            queue: network.queue,
            device,
            precision,
        });
        report.steps.push(Step {
            name: Self::name_of(network, precision),
            contender: "densecl".to_string(),
            seconds,
            images_per_second: Some(network.batch as f64 / seconds),
            memory: device::reserved(device).map(|bytes| bytes as f64),
            estimate: Some(estimate.device() as f64),
        });
        Ok(())
    }

    pub(super) fn stock(&self, network: Network, report: &mut Report) -> anyhow::Result<()> {
        let mode = choice::mode();
        choice::set_mode(Mode::Stock);
        let timed = (|| {
            let device = &self.selected.device;
            let (mut learner, batch) = learner(network, Precision::F32, device);
            once(&mut learner, &batch, 0)?;
            time(&self.at_least(), |step| {
                once(&mut learner, &batch, step + 1).map(drop)
            })
        })();
        choice::set_mode(mode);
        let seconds = timed?;
        report.steps.push(Step {
            name: Self::name_of(network, Precision::F32),
            contender: "Burn's operations".to_string(),
            seconds,
            images_per_second: Some(network.batch as f64 / seconds),
            memory: None,
            estimate: None,
        });
        Ok(())
    }

    pub(super) fn dense_loss(&self, report: &mut Report) -> anyhow::Result<()> {
        let (queries, keys) = if self.options.quick {
            (32, 128)
        } else {
            (256 * 49, 65_536)
        };
        let work = Work::Loss {
            queries,
            keys,
            dim: DIM,
        };
        let mut iteration = worker::iteration(&work, &self.selected.device)?;
        iteration()?;
        let (mut total, mut count) = (Duration::ZERO, 0);
        while count == 0 || total < self.at_least() {
            total += iteration()?;
            count += 1;
        }
        report.steps.push(Step {
            name: format!("dense loss, {queries} queries, {keys} keys"),
            contender: "densecl".to_string(),
            seconds: total.as_secs_f64() / f64::from(count),
            images_per_second: None,
            memory: None,
            estimate: None,
        });
        Ok(())
    }

    pub(super) fn kernels(&self, network: Network, report: &mut Report) -> anyhow::Result<()> {
        let (mut learner, batch) = learner(network, Precision::F32, &self.selected.device);
        once(&mut learner, &batch, 0)?;
        report.kernels = observed(true, || once(&mut learner, &batch, 1).map(drop))?;
        Ok(())
    }
}

/// A learner before its first step with normalisation over the whole batch, and a batch of random views.
pub(super) fn learner(
    network: Network,
    precision: Precision,
    device: &Device,
) -> (DenseCl, MicroBatch) {
    let method = MethodConfig {
        bn_groups: 1,
        ..MethodConfig::default()
    };
    let optim = OptimConfig {
        precision,
        ..OptimConfig::default()
    };
    let model: ModelConfig = worker::model(network.backbone);
    let learner = DenseCl::new(&model, &method, &optim, network.queue, 0, device);
    (learner, worker::views(network, device))
}

/// The same views with other pixels, which are equal on every device.
fn with_equal_pixels(mut batch: MicroBatch, device: &Device) -> MicroBatch {
    for (index, view) in batch.views.iter_mut().enumerate() {
        let shape = view.pixels.dims();
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| ((i * (index + 3)) as f32 * 0.37).sin());
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
        view.pixels = Tensor::from_data(data, device);
    }
    batch
}

/// One step; its figures, which waits for the device.
pub(super) fn once(
    learner: &mut DenseCl,
    batch: &MicroBatch,
    step: u64,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let settings = StepSettings {
        step,
        total_steps: u64::MAX,
        learning_rate: 0.01,
    };
    let output = learner.step(vec![batch.clone()], &settings, &mut Alone)?;
    Ok(output.figures()?.iter().collect())
}

/// Seconds per call of `once` over at least this time.
fn time(least: &Duration, mut once: impl FnMut(u64) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut count = 0;
    while count == 0 || start.elapsed() < *least {
        once(count)?;
        count += 1;
    }
    Ok(start.elapsed().as_secs_f64() / count as f64)
}
