//! The parts of `densecl-bench gpu`.

use std::time::{Duration, Instant};

use anyhow::bail;
use densecl::config::{Backbone, Precision};
use densecl::device::Selected;
use densecl::self_test;

use super::Gpu;
use super::report::Report;
use crate::work::Network;

mod counting;
mod processes;
mod steps;

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
            Part::Kernels(network) => self.kernels(network, report),
            Part::Training => self.training(report),
        }
    }

    /// The shortest time that is measured.
    fn at_least(&self) -> Duration {
        Duration::from_secs_f64(if self.options.quick { 0.0 } else { 3.0 })
    }

    /// What is timed, for the report.
    fn name_of(network: Network, precision: Precision) -> String {
        format!(
            "{}, {} px, {} images, {}",
            network.backbone.name(),
            network.size,
            network.batch,
            precision.name()
        )
    }
}
