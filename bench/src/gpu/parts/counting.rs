//! What a step needs and launches, counted without running anything.

use densecl::config::{Backbone, Precision};
use densecl::ops::choice::{self, Mode};

use super::Parts;
use super::steps::{learner, once};
use crate::gpu::launches::counted;
use crate::gpu::report::{Launches, Report, Roofline};
use crate::gpu::roofline::{CARDS, Needs};
use crate::work::Network;
use crate::worker;

impl Parts<'_> {
    /// Launches do not depend on the sizes of maps, so small ones are counted.
    pub(super) fn count(&self, report: &mut Report) -> anyhow::Result<()> {
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
}
