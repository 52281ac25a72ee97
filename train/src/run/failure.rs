//! How a run ends that cannot go on: what happened, what stands, and what to do.

use crate::memory;
use crate::panics;
use crate::run::folder::RunDir;
use crate::trainer::Plan;

/// The error for a loss that is NaN or infinite at `step`.
pub(crate) fn not_finite(step: u64, run: &RunDir) -> anyhow::Error {
    let (kept, _) = kept(run);
    anyhow::anyhow!(
        "the loss is not finite at step {step}; {kept}. Try a lower optim.lr, optim.clip_norm = 1, or \
         a higher method.temperature"
    )
}

/// The error for a device that was lost or ran out of memory. `noticed` is what was said by the read that
/// noticed.
pub(crate) fn of_device(plan: &Plan, run: &RunDir, noticed: &str) -> anyhow::Error {
    let why = match panics::device_failure() {
        Some(said) => format!("the device failed: {said}"),
        None => noticed.to_string(),
    };
    let memory = if why.to_lowercase().contains("out of memory") {
        format!("; {}", memory::advice(plan))
    } else {
        String::new()
    };
    let (kept, resumable) = kept(run);
    let go_on = if resumable {
        format!(
            "continue with: densecl pretrain --resume {}",
            run.path().display()
        )
    } else {
        "start again with --overwrite".to_string()
    };
    anyhow::anyhow!("{why}{memory}; {kept}; {go_on}")
}

/// The error for data that is gone or too bad to go on with; `saved` is what became of a last checkpoint.
pub(crate) fn of_data(
    why: &anyhow::Error,
    saved: anyhow::Result<()>,
    run: &RunDir,
) -> anyhow::Error {
    let failed = match saved {
        Ok(()) => String::new(),
        Err(error) => format!("; what was learned since the last checkpoint is lost: {error:#}"),
    };
    let (kept, resumable) = kept(run);
    let go_on = if resumable {
        format!(
            "; when the data is whole again, continue with: densecl pretrain --resume {}",
            run.path().display()
        )
    } else {
        String::new()
    };
    anyhow::anyhow!("{why:#}{failed}; {kept}{go_on}")
}

/// What stands of the run, in words; and whether it can be continued.
fn kept(run: &RunDir) -> (String, bool) {
    match run.checkpoints().ok().and_then(|mut found| found.pop()) {
        Some((good, path)) => {
            let kept = format!("the checkpoint of step {good} is kept: {}", path.display());
            (kept, true)
        }
        None => ("no checkpoint had been written yet".to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use burn::tensor::Device;
    use burn::tensor::wgpu::wgpu;

    use crate::config::RunConfig;
    use crate::data::Source;
    use crate::events::{Observer, TrainEvent};
    use crate::held_out;
    use crate::run::folder::RunDir;
    use crate::settings;
    use crate::trainer::{Plan, train};

    /// Loses the device as soon as a checkpoint was written, as a driver does that restarts.
    struct LosesTheDevice(wgpu::Device);

    impl Observer for LosesTheDevice {
        fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
            if let TrainEvent::Saved { .. } = event {
                self.0.destroy();
            }
            Ok(())
        }
    }

    #[test]
    fn a_device_lost_in_a_run_leaves_its_checkpoint_and_is_told_with_the_way_to_go_on() {
        let sets = [
            "train.steps=9",
            "train.batch_size=4",
            "model.backbone=resnet10",
            "model.width=8",
            "model.dim=16",
            "views.size=32",
            "method.bn_groups=1",
            "method.queue=4",
            "scenes.size=32",
            "checkpoint.every_steps=2",
            "log.every_steps=1",
        ];
        let config: RunConfig =
            settings::resolve(None, None, &sets.map(String::from)).expect("settings");
        let scenes = held_out::training_scenes(&config.scenes, 0, 4);
        let (device, setup) = Device::wgpu_options()
            .init_with_setup()
            .expect("a GPU, or Mesa's software adapter");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path(), false).expect("a folder");
        let plan = Plan::new(config, device, Source::Memory(scenes)).expect("a plan");

        let mut observer = LosesTheDevice(setup.device);
        let ended = train(
            &plan,
            plan.learner(),
            0,
            &run,
            &mut observer,
            &AtomicBool::new(false),
        );
        let error = ended.err().expect("the device is gone").to_string();
        let checkpoints = run.checkpoints().expect("a folder");
        let [(2, path)] = &checkpoints[..] else {
            panic!("{checkpoints:?}")
        };
        let shown = folder.path().display();
        for part in [
            "the device failed",
            "the checkpoint of step 2 is kept",
            &path.display().to_string(),
            &format!("densecl pretrain --resume {shown}"),
        ] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
}
