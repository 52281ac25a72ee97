//! The kernels that a piece of work launches, by name: how often, and where asked for, how long they took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cubecl::dry_run::DryRun;
use cubecl::logging::{Duration, LaunchObservation, LaunchObserver, TimingMethod, TimingRequest};
use serde::Serialize;

/// The launches of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Kernel {
    /// Its name without modules and types.
    pub(crate) name: String,
    /// Number of launches.
    pub(crate) launches: usize,
    /// What they took together, in milliseconds; 0 if they were only counted.
    pub(crate) milliseconds: f64,
}

#[derive(Default)]
struct Seen {
    timed: bool,
    kernels: Mutex<BTreeMap<String, (usize, f64)>>,
}

impl Seen {
    fn add(&self, kernel: &str, launches: usize, milliseconds: f64) {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = kernels.entry(short(kernel)).or_default();
        entry.0 += launches;
        entry.1 += milliseconds;
    }
}

impl LaunchObserver for Seen {
    fn launched(&self, kernel: &'static str) {
        self.add(kernel, 1, 0.0);
    }

    fn timing(&self) -> TimingRequest {
        if self.timed {
            TimingRequest::Resolved
        } else {
            TimingRequest::None
        }
    }

    fn timed(&self, kernel: &'static str, duration: Duration, _: TimingMethod) {
        self.add(kernel, 0, duration.as_secs_f64() * 1e3);
    }
}

/// The last name of a path of modules, without the types in angle brackets.
fn short(kernel: &str) -> String {
    let path = kernel.split('<').next().unwrap_or(kernel);
    path.rsplit("::").next().unwrap_or(path).to_string()
}

/// The kernels that `work` launches, the longest first. With `timed` they run one after the other, each waited for.
///
/// # Errors
/// Those of `work`.
pub(crate) fn observed(
    timed: bool,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Kernel>> {
    let seen = Arc::new(Seen {
        timed,
        ..Seen::default()
    });
    let watching = LaunchObservation::new(seen.clone());
    let done = work();
    drop(watching);
    done?;
    let kernels = seen.kernels.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernels: Vec<Kernel> = kernels
        .iter()
        .map(|(name, &(launches, milliseconds))| Kernel {
            name: name.clone(),
            launches,
            milliseconds,
        })
        .collect();
    kernels.sort_by(|a, b| {
        let longer = b.milliseconds.total_cmp(&a.milliseconds);
        longer.then(b.launches.cmp(&a.launches))
    });
    Ok(kernels)
}

/// The kernels that `work` would launch, without running them. What `work` reads from the device has no meaning.
///
/// # Errors
/// Those of `work`.
pub(crate) fn counted(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Kernel>> {
    let _dry = DryRun::new();
    observed(false, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_modules_and_types() {
        let name = "burn_cubecl::kernel::binary::kernel_binop::KernelBinop<burn_cubecl::kernel::binary::MulOp>";
        assert_eq!(short(name), "KernelBinop");
        assert_eq!(short("Plain"), "Plain");
    }
}
