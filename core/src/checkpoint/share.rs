//! Giving all ranks the state of the first one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Save, restore};
use crate::{
    device::block_on,
    error::{Error, Result},
    loss_scale::LossScale,
    method::Method,
    weights::{Archive, FORMAT_VERSION},
    world::World,
};

/// The parts of a state that are not tensors.
#[derive(Serialize, Deserialize)]
struct Rest {
    format_version: u32,
    positions: BTreeMap<String, usize>,
    loss_scale: Option<LossScale>,
    /// Whether the optimizer has velocities; it has none before its first step.
    velocities: bool,
}

/// Replaces the state of `learner` by that of rank 0, to the bit. All ranks call it, each with a learner of the same
/// settings; that of a rank other than 0 must be at step 0. It does nothing where a rank is alone.
///
/// # Errors
/// When a device failed, another rank has ended, or the learners have different settings. The state of `learner` must
/// then not be used any more.
pub fn share(learner: &mut dyn Method, world: &mut dyn World) -> Result<()> {
    if world.size() == 1 {
        return Ok(());
    }
    if world.rank() == 0 {
        let mut saved = Save::default();
        learner.visit_state(&mut saved)?;
        let archive = block_on(Archive::read(saved.tensors))?;
        let bytes = archive.to_bytes(&Rest {
            format_version: FORMAT_VERSION,
            positions: saved.positions,
            loss_scale: saved.loss_scale,
            velocities: saved.velocities,
        })?;
        drop(archive);
        world.gather(bytes)?;
        return Ok(());
    }
    let mut all = world.gather(Vec::new())?;
    if all.is_empty() {
        return Err(Error::Ranks("rank 0 gave no state".to_string()));
    }
    let bytes = all.swap_remove(0);
    let (mut archive, rest): (Archive, Rest) = Archive::from_bytes(&bytes)?;
    drop(bytes);
    restore::restore(
        &mut archive,
        &rest.positions,
        rest.velocities,
        rest.loss_scale,
        learner,
    )
}
