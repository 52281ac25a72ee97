//! Choosing and opening the device on which tensors are stored and computed. Outside of tests, only two modules
//! depend on the backends that are compiled in: this one, and [`crate::ops`] for its CPU kernels.
//!
//! A binary contains several backends, and the device is chosen at run time. A software adapter (lavapipe,
//! SwiftShader, WARP) is many times slower than the CPU backend, so `auto` never chooses one. Each of the
//! browser's modules contains one backend (feature `cpu` or `wgpu`); a request for another is an error.

use std::str::FromStr;

use burn::tensor::Device;

use crate::config::Precision;
use crate::error::{Error, Result};

#[cfg(feature = "wgpu")]
mod gpu;
mod read;
mod request;
pub use gpu::watch;
pub use read::{block_on, read};
pub use request::{DeviceRequest, Listed};

/// Bytes of a GPU's memory that Burn's runtime has reserved; `None` for other devices.
#[allow(
    unused_variables,
    irrefutable_let_patterns,
    reason = "a build may have no GPU backend, or nothing else"
)]
pub fn reserved(device: &Device) -> Option<u64> {
    #[cfg(all(feature = "gpu", not(feature = "fusion")))]
    if let burn::backend::DispatchDevice::Cube(device) = device.clone().inner().as_dispatch() {
        let report = device.client().memory_report(cubecl::MemoryScope::Device);
        return Some(report.usage().bytes_reserved);
    }
    None
}

/// Whether this build chooses GPU kernels by timing them. Ranks could then choose different kernels, and their states
/// would drift apart.
pub const AUTOTUNES: bool = cfg!(feature = "autotune");

/// Replaces the module `gpu` in builds without wgpu.
#[cfg(not(feature = "wgpu"))]
mod gpu {
    use super::{DeviceRequest, Listed, Result, Selected, absent};

    pub(super) async fn best() -> std::result::Result<Selected, String> {
        Err("this build has no GPU backend".to_string())
    }

    pub(super) async fn numbered(_: usize) -> Result<Option<Selected>> {
        Ok(None)
    }

    pub(super) async fn named(request: DeviceRequest) -> Result<Selected> {
        Err(absent(request.choice, "wgpu"))
    }

    pub(super) async fn list() -> Vec<Listed> {
        Vec::new()
    }

    /// Does nothing: this build has no GPU backend.
    pub fn watch(_: impl Fn(String) + Clone + Send + Sync + 'static) {}
}

/// The devices that a user can request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best GPU that is not a software adapter, otherwise the CPU.
    Auto,
    /// Burn's `flex` on all cores.
    Cpu,
    /// The best adapter of any graphics API of wgpu; a software adapter only if there is no GPU.
    Wgpu,
    /// wgpu on Vulkan.
    Vulkan,
    /// wgpu on Metal.
    Metal,
    /// CUDA, in builds with the `cuda` feature.
    Cuda,
}

impl DeviceChoice {
    /// Every choice, in the order shown to users.
    pub const ALL: [Self; 6] = [
        Self::Auto,
        Self::Cpu,
        Self::Vulkan,
        Self::Metal,
        Self::Wgpu,
        Self::Cuda,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                Error::Device(format!(
                    "no device is called \"{name}\"; choose one of {names}"
                ))
            })
    }
}

/// An opened device, with the reason for its choice.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The device, without gradients.
    pub device: Device,
    /// A short name for logs and results, e.g. `cpu` or `NVIDIA H100 (Vulkan)`.
    pub name: String,
    /// One line for the user: which device, and why.
    pub reason: String,
    /// The limits of its memory, as far as they are known.
    pub memory: DeviceMemory,
}

/// The limits of a device's memory. The total size of a GPU's memory is missing, because wgpu does not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Whether it uses the host's memory: the CPU, integrated GPUs and software adapters.
    pub is_the_hosts: bool,
    /// The largest size of a single tensor, in bytes; `None` if only the memory limits it.
    pub largest_tensor: Option<u64>,
}

impl Selected {
    /// Whether the device can compute in this precision, and not only store it.
    pub fn computes_in(&self, precision: Precision) -> bool {
        self.device.supports_dtype(precision.dtype())
    }

    /// Returns an error unless [`Self::computes_in`].
    ///
    /// # Errors
    /// [`Error::Device`], with the precisions in which the device computes.
    pub fn ensure_computes_in(&self, precision: Precision) -> Result<()> {
        if self.computes_in(precision) {
            return Ok(());
        }
        let there = Precision::ALL.into_iter().filter(|&p| self.computes_in(p));
        let there: Vec<_> = there.map(Precision::name).collect();
        Err(Error::Device(format!(
            "optim.precision = {}: {} does not compute in it; it does in {}",
            precision.name(),
            self.name,
            there.join(", ")
        )))
    }
}

/// Opens the requested device: a [`DeviceChoice`] or a [`DeviceRequest`] with a number. A second call with the same
/// request returns the same device. `auto` with a number is the GPU of this number that is not a software adapter, and
/// the CPU where there is no such GPU at all.
///
/// # Errors
/// [`Error::Device`] when it does not exist, with a list of those that do, or cannot be opened.
pub async fn select(request: impl Into<DeviceRequest>) -> Result<Selected> {
    let request = request.into();
    match (request.choice, request.number) {
        (DeviceChoice::Cpu, _) => cpu("as asked".to_string()),
        (DeviceChoice::Auto, None) => match gpu::best().await {
            Ok(selected) => Ok(selected),
            Err(why) => cpu(why),
        },
        (DeviceChoice::Auto, Some(number)) => match gpu::numbered(number).await? {
            Some(selected) => Ok(selected),
            None => cpu("there is no GPU".to_string()),
        },
        (DeviceChoice::Wgpu | DeviceChoice::Vulkan | DeviceChoice::Metal, _) => {
            gpu::named(request).await
        }
        (DeviceChoice::Cuda, number) => cuda(number.unwrap_or(0)),
    }
}

/// The devices of this machine by the names under which [`select`] opens them, except those of CUDA. Software adapters
/// are included; each graphics API numbers its adapters, the best one first.
pub async fn list() -> Vec<Listed> {
    let cpu = cpu(String::new()).map(|selected| Listed {
        request: DeviceChoice::Cpu.into(),
        name: "CPU".to_string(),
        kind: "CPU",
        memory: selected.memory,
    });
    cpu.into_iter().chain(gpu::list().await).collect()
}

/// Whether this is the CPU backend.
pub fn is_cpu(device: &Device) -> bool {
    #[cfg(feature = "cpu")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "cpu"))]
    {
        let _ = device;
        false
    }
}

#[cfg(feature = "cpu")]
fn cpu(reason: String) -> Result<Selected> {
    Ok(Selected {
        device: Device::flex(),
        name: "cpu".to_string(),
        reason: format!("cpu: {reason}"),
        memory: DeviceMemory {
            is_the_hosts: true,
            largest_tensor: None,
        },
    })
}

#[cfg(not(feature = "cpu"))]
fn cpu(_: String) -> Result<Selected> {
    Err(absent(DeviceChoice::Cpu, "cpu"))
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Selected> {
    Ok(Selected {
        device: Device::cuda(number),
        name: format!("cuda:{number}"),
        reason: format!("cuda:{number}: as asked"),
        memory: DeviceMemory {
            is_the_hosts: false,
            largest_tensor: None,
        },
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Selected> {
    Err(absent(DeviceChoice::Cuda, "cuda"))
}

/// The [`Error::Device`] for a device that failed while computing, as one line. The runtime's message is a chain
/// of causes, one in each line; only the last line, the root cause, is kept. `during` is the activity that
/// failed, such as "during a step".
pub fn failure(during: &str, error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let mut said = text.lines().map(str::trim).filter(|line| {
        let noise = [
            "Caused by:",
            "Asked at:",
            "Backtrace:",
            "No backtrace available",
        ];
        !line.is_empty() && !noise.contains(line)
    });
    let cause = said.next_back().unwrap_or("it does not say why");
    Error::Device(format!("the device failed {during}: {cause}"))
}

/// The error for a backend that is not compiled in.
#[cfg(not(all(feature = "cpu", feature = "cuda", feature = "wgpu")))]
fn absent(choice: DeviceChoice, feature: &str) -> Error {
    Error::Device(format!(
        "--device {}: this binary was built without it; build with --features {feature}, or use \
         --device auto",
        choice.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_read_back_and_an_unknown_one_lists_them() {
        for choice in DeviceChoice::ALL {
            assert_eq!(choice.name().parse::<DeviceChoice>(), Ok(choice));
        }
        let error = "gpu"
            .parse::<DeviceChoice>()
            .expect_err("no such device")
            .to_string();
        assert!(
            error.contains("\"gpu\"") && error.contains("auto, cpu"),
            "{error}"
        );
    }
}
