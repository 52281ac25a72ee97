//! The schedules of the learning rate, of λ and of the momentum encoder, as pure functions of the step.

use crate::config::{MomentumSchedule, SchedulePer};

/// The progress of a run, on which its schedules depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps already taken.
    pub step: u64,
    /// Number of steps of the whole run.
    pub total_steps: u64,
    /// Number of steps of one epoch.
    pub steps_per_epoch: u64,
}

/// The learning rate, which falls from `base` to 0 along a cosine: lr(t) = ½·lr₀·(1 + cos(π·t/T)).
///
/// With [`SchedulePer::Step`] t counts steps. With [`SchedulePer::Epoch`] t is the epoch and T the number of
/// epochs, rounded up, so the rate is constant within an epoch as in the authors' code.
pub fn learning_rate(base: f64, per: SchedulePer, progress: Progress) -> f64 {
    let Progress {
        step,
        total_steps,
        steps_per_epoch,
    } = progress;
    let (t, total) = match per {
        SchedulePer::Step => (step, total_steps),
        SchedulePer::Epoch => {
            let per_epoch = steps_per_epoch.max(1);
            (step / per_epoch, total_steps.div_ceil(per_epoch))
        }
    };
    let share = (t as f64 / total.max(1) as f64).min(1.0);
    0.5 * base * (1.0 + (std::f64::consts::PI * share).cos())
}

/// [`learning_rate`] after a linear rise from 0 over the first `warmup` steps: `base`·step/`warmup`, then the
/// cosine over the steps that are left (BYOL, Grill et al. 2020, section 3.3). Without a warm-up it is
/// [`learning_rate`].
pub fn warmed_up(base: f64, per: SchedulePer, warmup: u64, progress: Progress) -> f64 {
    if progress.step < warmup {
        return base * (progress.step as f64 / warmup as f64);
    }
    let after = Progress {
        step: progress.step - warmup,
        total_steps: progress.total_steps.saturating_sub(warmup),
        ..progress
    };
    learning_rate(base, per, after)
}

/// λ, the weight of the dense loss, at `step`: 0 during the first `warmup_steps`, then `value` (as set by the
/// authors' `loss_lambda` hook).
pub fn lambda(value: f64, warmup_steps: u64, step: u64) -> f64 {
    if step < warmup_steps { 0.0 } else { value }
}

/// m of the momentum encoder at `step` of `total_steps`: either constant, or rising from `value` to 1 along a
/// cosine, m(t) = 1 − (1 − m₀)·(cos(π·t/T) + 1)/2 (BYOL, Grill et al. 2020, section 3.2).
pub fn momentum(value: f64, schedule: MomentumSchedule, step: u64, total_steps: u64) -> f64 {
    match schedule {
        MomentumSchedule::Constant => value,
        MomentumSchedule::Cosine => {
            let share = (step as f64 / total_steps.max(1) as f64).min(1.0);
            1.0 - (1.0 - value) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_the_base_rate_and_ends_at_zero() {
        let at = |per, step| {
            learning_rate(
                0.3,
                per,
                Progress {
                    step,
                    total_steps: 100,
                    steps_per_epoch: 10,
                },
            )
        };
        assert_eq!(at(SchedulePer::Step, 0), 0.3);
        assert!((at(SchedulePer::Step, 50) - 0.15).abs() < 1e-12);
        assert!(at(SchedulePer::Step, 100).abs() < 1e-12);
        assert_eq!(at(SchedulePer::Epoch, 9), 0.3);
        assert!(at(SchedulePer::Epoch, 10) < 0.3);
        assert_eq!(at(SchedulePer::Epoch, 10), at(SchedulePer::Epoch, 19));
        assert!(at(SchedulePer::Epoch, 100).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_rises_to_the_base_rate_and_the_cosine_takes_the_rest() {
        let at = |warmup, step| {
            let progress = Progress {
                step,
                total_steps: 110,
                steps_per_epoch: 10,
            };
            warmed_up(0.3, SchedulePer::Step, warmup, progress)
        };
        assert_eq!(at(10, 0), 0.0);
        assert!((at(10, 5) - 0.15).abs() < 1e-12);
        assert_eq!(at(10, 10), 0.3);
        assert!((at(10, 60) - 0.15).abs() < 1e-12);
        assert!(at(10, 110).abs() < 1e-12);
        assert_eq!(at(0, 0), 0.3);
        // A warm-up as long as the run never gets past its rise.
        assert!(at(1000, 109) < 0.3);
    }

    #[test]
    fn momentum_stays_or_rises_to_one() {
        let at = |schedule, step| momentum(0.9, schedule, step, 100);
        assert_eq!(at(MomentumSchedule::Constant, 70), 0.9);
        assert!((at(MomentumSchedule::Cosine, 0) - 0.9).abs() < 1e-12);
        assert!((at(MomentumSchedule::Cosine, 50) - 0.95).abs() < 1e-12);
        assert!((at(MomentumSchedule::Cosine, 100) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn lambda_is_zero_exactly_during_the_warm_up() {
        assert_eq!(lambda(0.5, 3, 2), 0.0);
        assert_eq!(lambda(0.5, 3, 3), 0.5);
        assert_eq!(lambda(0.5, 0, 0), 0.5);
    }
}
