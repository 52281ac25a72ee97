//! A run in one line, for the user.

use crate::plan::Plan;

/// What is trained on what, for how long; `held_out` images are left for the measurement.
pub(super) fn describe(plan: &Plan, held_out: usize) -> String {
    let config = &plan.config;
    let grid = config.grid(config.views.size);
    let held_out = match held_out {
        0 => String::new(),
        held_out => format!(" ({held_out} more are held out for the measurement)"),
    };
    // A method without queues has no chance to compare its loss with.
    let compared = match (plan.queue_len, densecl::loss::chance(plan.queue_len)) {
        (0, _) => String::new(),
        (keys, chance) => {
            format!(", queue {keys} (chance loss {chance:.2}; an early rise of the loss is normal)")
        }
    };
    format!(
        "{}: {} images from {}{held_out}, {} steps of {} images, {} with {grid} x {grid} cells{compared}",
        config.method.objective(),
        plan.images,
        config.data.source,
        plan.total_steps,
        config.train.batch_size,
        config.model.backbone.name(),
    )
}
