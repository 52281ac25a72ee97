//! The parts of `densecl-bench gpu`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use burn::tensor::Device;
use densecl::config::{Backbone, MethodConfig, ModelConfig, OptimConfig, Precision};
use densecl::device::{self, Selected};
use densecl::memory::{StepMemory, StepShape};
use densecl::method::{DenseCl, Method, MicroBatch, StepSettings};
use densecl::model::Tensors;
use densecl::ops::choice::{self, Mode};
use densecl::self_test;
use densecl::world::Alone;

use super::Gpu;
use super::launches::{counted, observed};
use super::report::{Launches, Report, Roofline, Step, Training};
use super::roofline::{CARDS, Needs};
use crate::contender::Asked;
use crate::inputs::script;
use crate::work::{DIM, Network, Work};
use crate::worker;

/// A part of the command.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// What is needed and launched, counted without running anything.
    Count,
    /// The self-test of the browser.
    SelfTest,
    /// A training step against the CPU.
    Agreement,
    /// Steps of one network in one precision.
    Steps(Network, Precision),
    /// The same by Burn's operations, where that does not take minutes.
    Stock(Network),
    /// The same by PyTorch.
    PyTorch(Network),
    /// The dense loss of the paper's batch.
    DenseLoss,
    /// The kernels of a step with their times.
    Kernels(Network),
    /// The quick start.
    Training,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "counting",
            Self::SelfTest => "self-test",
            Self::Agreement => "agreement with the CPU",
            Self::Steps(..) => "training steps",
            Self::Stock(_) => "training steps by Burn's operations",
            Self::PyTorch(_) => "training steps by PyTorch",
            Self::DenseLoss => "dense loss",
            Self::Kernels(_) => "kernels of a step",
            Self::Training => "training",
        }
    }

    /// Whether it computes on the device in this process.
    pub(super) fn uses_device(self) -> bool {
        !matches!(self, Self::PyTorch(_) | Self::Training)
    }
}

/// Runs parts on a device.
pub(super) struct Parts<'a> {
    options: &'a Gpu,
    selected: &'a Selected,
    /// When all parts should have ended.
    deadline: Instant,
}

impl<'a> Parts<'a> {
    pub(super) fn new(options: &'a Gpu, selected: &'a Selected, deadline: Instant) -> Self {
        Self {
            options,
            selected,
            deadline,
        }
    }

    /// The parts in the order of their worth.
    pub(super) fn list(&self) -> Vec<Part> {
        let mut parts = vec![Part::Count];
        if self.options.count {
            return parts;
        }
        if let Some(of) = self.options.step {
            return vec![Part::Steps(of.0, Precision::F32), Part::Stock(of.0)];
        }
        parts.extend([Part::SelfTest, Part::Agreement]);
        let networks = self.networks();
        for network in &networks {
            // The largest may not fit into the device's memory, so it comes last.
            parts.push(Part::Steps(*network, Precision::F32));
            parts.push(Part::PyTorch(*network));
            parts.push(Part::Steps(*network, Precision::F16));
            if network.batch < 256 {
                parts.push(Part::Kernels(*network));
                parts.push(Part::DenseLoss);
            }
        }
        if self.options.training_seconds > 0.0 {
            parts.push(Part::Training);
        }
        parts.push(Part::Stock(networks[0]));
        parts
    }

    fn networks(&self) -> Vec<Network> {
        let network = |backbone, size, batch, queue| Network {
            backbone,
            size,
            batch,
            queue,
        };
        if self.options.quick {
            return vec![network(Backbone::ResNet10, 32, 2, 64)];
        }
        vec![
            network(Backbone::ResNet18, 96, 256, 4096),
            network(Backbone::ResNet50, 224, 64, 65_536),
            network(Backbone::ResNet50, 224, 256, 65_536),
        ]
    }

    /// Runs one part.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn run(&self, part: Part, report: &mut Report) -> anyhow::Result<()> {
        match part {
            Part::Count => self.count(report),
            Part::SelfTest => {
                let found = pollster::block_on(self_test::deviation(&self.selected.device))?;
                report.self_test = Some([f64::from(found), f64::from(self_test::TOLERANCE)]);
                if found > self_test::TOLERANCE {
                    bail!("the device computes wrong values: {found}");
                }
                Ok(())
            }
            Part::Agreement => self.agreement(report),
            Part::Steps(network, precision) => self.steps(network, precision, report),
            Part::Stock(network) => self.stock(network, report),
            Part::PyTorch(network) => self.pytorch(network, report),
            Part::DenseLoss => self.dense_loss(report),
            Part::Kernels(network) => {
                let (mut learner, batch) = learner(network, Precision::F32, &self.selected.device);
                once(&mut learner, &batch, 0)?;
                report.kernels = observed(true, || once(&mut learner, &batch, 1).map(drop))?;
                Ok(())
            }
            Part::Training => self.training(report),
        }
    }

    /// Launches do not depend on the sizes of maps, so small ones are counted.
    fn count(&self, report: &mut Report) -> anyhow::Result<()> {
        let mode = choice::mode();
        let backbones = if self.options.quick {
            vec![Backbone::ResNet10]
        } else {
            vec![Backbone::ResNet18, Backbone::ResNet50]
        };
        for backbone in backbones {
            let network = Network {
                backbone,
                size: 64,
                batch: 2,
                queue: 256,
            };
            let launches = |mode| {
                choice::set_mode(mode);
                let (mut learner, batch) = learner(network, Precision::F32, &self.selected.device);
                // The second step is like all that follow: parameters lie in one buffer, and there is a velocity.
                counted(|| once(&mut learner, &batch, 0).map(drop))?;
                let kernels = counted(|| once(&mut learner, &batch, 1).map(drop))?;
                anyhow::Ok(kernels.iter().map(|kernel| kernel.launches).sum())
            };
            let (ours, burns) = (launches(Mode::Fixed)?, launches(Mode::Stock)?);
            report.launches.push(Launches {
                name: format!("a step of {}", backbone.name()),
                ours,
                burns,
            });
        }
        choice::set_mode(mode);
        let (size, images, queue) = (224, 256, 65_536);
        for backbone in [Backbone::ResNet18, Backbone::ResNet50] {
            let needs = Needs::of(&worker::model(backbone), size, images, queue, 4.0);
            report.roofline.push(Roofline {
                name: format!(
                    "A step of {}, {size} px, {images} images, f32",
                    backbone.name()
                ),
                images,
                needs,
                cards: CARDS
                    .map(|card| (card, needs.least_seconds(&card)))
                    .to_vec(),
            });
        }
        Ok(())
    }

    /// Two steps of a small network: figures, and all tensors of the trained encoder.
    fn agreement(&self, report: &mut Report) -> anyhow::Result<()> {
        let network = Network {
            backbone: Backbone::ResNet10,
            size: 65,
            batch: 4,
            queue: 64,
        };
        let run = |device: &Device| {
            let (mut learner, batch) = learner(network, Precision::F32, device);
            // The same views on both devices.
            let batch = on(batch, &Device::flex(), device);
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

    fn name(network: Network, precision: Precision) -> String {
        format!(
            "{}, {} px, {} images, {}",
            network.backbone.name(),
            network.size,
            network.batch,
            precision.name()
        )
    }

    fn steps(
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
            name: Self::name(network, precision),
            contender: "densecl".to_string(),
            seconds,
            images_per_second: Some(network.batch as f64 / seconds),
            memory: device::reserved(device).map(|bytes| bytes as f64),
            estimate: Some(estimate.device() as f64),
        });
        Ok(())
    }

    /// The shortest time that is measured.
    fn at_least(&self) -> Duration {
        Duration::from_secs_f64(if self.options.quick { 0.0 } else { 3.0 })
    }

    fn stock(&self, network: Network, report: &mut Report) -> anyhow::Result<()> {
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
            name: Self::name(network, Precision::F32),
            contender: "Burn's operations".to_string(),
            seconds,
            images_per_second: Some(network.batch as f64 / seconds),
            memory: None,
            estimate: None,
        });
        Ok(())
    }

    fn pytorch(&self, network: Network, report: &mut Report) -> anyhow::Result<()> {
        if self.options.python == "none" {
            return Ok(());
        }
        let mut variants = vec![
            "eager",
            "channels_last",
            "channels_last+tf32",
            "channels_last+f16",
        ];
        if !self.options.quick {
            variants.push("channels_last+f16+compile");
        }
        for variant in variants {
            if Instant::now() >= self.deadline {
                report.note(format!(
                    "PyTorch, {variant}: left out, the time was used up"
                ));
                continue;
            }
            let mut command = Command::new(&self.options.python);
            let device = if self.options.quick { "cpu" } else { "cuda" };
            command
                .arg(script("pytorch.py"))
                .args(["--threads", "2", "--device", device]);
            let mut asked = match Asked::start(command) {
                Ok(asked) => asked,
                Err(error) => {
                    report.note(format!("PyTorch is left out: {error:#}"));
                    return Ok(());
                }
            };
            let work = Work::Step { network };
            let timed = asked
                .prepare(&work, variant)
                .and_then(|_| asked.run(self.at_least().as_secs_f64()));
            match timed {
                Ok(run) => report.steps.push(Step {
                    name: Self::name(network, Precision::F32),
                    contender: format!("PyTorch, {variant}"),
                    seconds: run.seconds,
                    images_per_second: Some(network.batch as f64 / run.seconds),
                    memory: asked.finish().ok().and_then(|memory| memory.device_peak),
                    estimate: None,
                }),
                Err(error) => report.note(format!("PyTorch, {variant}: {error:#}")),
            }
        }
        Ok(())
    }

    fn dense_loss(&self, report: &mut Report) -> anyhow::Result<()> {
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

    /// Runs the program's quick start on the device, at most for the seconds that were asked for.
    fn training(&self, report: &mut Report) -> anyhow::Result<()> {
        let here = std::env::current_exe().context("where this program is")?;
        let program: PathBuf = here.with_file_name("densecl");
        if !program.is_file() {
            report.note(format!("no training: {} is not there", program.display()));
            return Ok(());
        }
        let folder = tempfile::tempdir().context("a folder for the run")?;
        let run = folder.path().join("run");
        let start = Instant::now();
        let mut command = Command::new(program);
        command.args([
            "pretrain",
            "--config",
            "quickstart",
            "--device",
            &self.options.device,
        ]);
        command.arg("--out").arg(&run);
        if self.options.quick {
            let sets = [
                "train.steps=4",
                "train.batch_size=4",
                "eval.pairs=2",
                "log.every_steps=1",
            ];
            for set in sets {
                command.args(["--set", set]);
            }
        }
        let errors = tempfile::NamedTempFile::new().context("a file for what goes wrong")?;
        command.stdout(Stdio::null()).stderr(errors.reopen()?);
        let mut child = command.spawn().context("starting densecl")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed().as_secs_f64() >= self.options.training_seconds {
                // Each logged step is in the file already.
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let seconds = start.elapsed().as_secs_f64();
        if status.is_some_and(|status| !status.success()) {
            let text = std::fs::read_to_string(errors.path())?;
            bail!("{}", text.lines().last().unwrap_or("densecl failed"));
        }
        let log = std::fs::read_to_string(run.join("metrics.jsonl")).context("reading the log")?;
        let rows: Vec<serde_json::Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            bail!("the run has written no figures")
        };
        let number = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        report.training = Some(Training {
            steps: number(last, "step") as u64,
            seconds,
            images_per_second: number(last, "images_per_second"),
            first_loss: number(first, "loss"),
            last_loss: number(last, "loss"),
        });
        Ok(())
    }
}

/// A learner before its first step with normalisation over the whole batch, and a batch of random views.
fn learner(network: Network, precision: Precision, device: &Device) -> (DenseCl, MicroBatch) {
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

/// The views of `batch`, drawn on `from`, on another device: both devices must compute with the same numbers.
fn on(mut batch: MicroBatch, from: &Device, device: &Device) -> MicroBatch {
    for (index, view) in batch.views.iter_mut().enumerate() {
        let shape = view.pixels.dims();
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|i| ((i * (index + 3)) as f32 * 0.37).sin())
            .collect();
        let data = burn::tensor::TensorData::new(values, shape);
        view.pixels = burn::tensor::Tensor::from_data(data, from).to_device(device);
    }
    batch
}

/// One step; its figures, which waits for the device.
fn once(
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
