//! Where tensors live: the only place that names a backend, or asks which ones are compiled in.
//!
//! One binary holds every backend; the choice is made at run time. A software adapter (lavapipe,
//! SwiftShader, WARP) is many times slower than the CPU backend, so `auto` never takes one. The
//! browser's modules hold one backend each (features `cpu` and `wgpu`); asked for another, they say so.

use std::str::FromStr;

use burn::tensor::Device;

use crate::config::Precision;
use crate::error::{Error, Result};

#[cfg(feature = "wgpu")]
mod gpu;
pub use gpu::watch;

/// What `gpu` is in a build without it.
#[cfg(not(feature = "wgpu"))]
mod gpu {
    use super::{DeviceChoice, Result, Selected, absent};

    pub(super) async fn best() -> std::result::Result<Selected, String> {
        Err("this build has no GPU backend".to_string())
    }

    pub(super) async fn named(choice: DeviceChoice) -> Result<Selected> {
        Err(absent(choice, "wgpu"))
    }

    /// There is no GPU to watch.
    pub fn watch(_: impl Fn(String) + Clone + Send + Sync + 'static) {}
}

/// What a user may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU when one answers, otherwise the CPU.
    Auto,
    /// Burn's `flex` on all cores.
    Cpu,
    /// wgpu on the graphics API it finds best; a software adapter only when there is nothing else.
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

/// An opened device and why it is this one.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Without a gradient graph.
    pub device: Device,
    /// Short name for records, e.g. `cpu` or `NVIDIA H100 (Vulkan)`.
    pub name: String,
    /// One line for the user: which device, and why.
    pub reason: String,
    /// What is known of its memory.
    pub memory: DeviceMemory,
}

/// What a device tells about its memory. How much a graphics card has, wgpu does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Whether its memory is the host's: the CPU, GPUs without memory of their own, software adapters.
    pub is_the_hosts: bool,
    /// Bytes that a single tensor may have at most; `None` where memory is the only limit.
    pub largest_tensor: Option<u64>,
}

impl Selected {
    /// Whether the device computes in such numbers, rather than only storing them.
    pub fn computes_in(&self, precision: Precision) -> bool {
        self.device.supports_dtype(precision.dtype())
    }

    /// # Errors
    /// [`Error::Device`] when it does not, naming those in which it does.
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

/// Opens the device a user asked for; asked again, gives the same one.
///
/// # Errors
/// [`Error::Device`] when it does not exist, with a list of those that do.
pub async fn select(choice: DeviceChoice) -> Result<Selected> {
    match choice {
        DeviceChoice::Cpu => cpu("as asked".to_string()),
        DeviceChoice::Auto => match gpu::best().await {
            Ok(selected) => Ok(selected),
            Err(why) => cpu(why),
        },
        DeviceChoice::Wgpu | DeviceChoice::Vulkan | DeviceChoice::Metal => gpu::named(choice).await,
        DeviceChoice::Cuda => cuda(),
    }
}

/// Whether tensors of this device lie in the program's own memory.
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
fn cuda() -> Result<Selected> {
    Ok(Selected {
        device: Device::cuda(0),
        name: "cuda:0".to_string(),
        reason: "cuda:0: as asked".to_string(),
        memory: DeviceMemory {
            is_the_hosts: false,
            largest_tensor: None,
        },
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Selected> {
    Err(absent(DeviceChoice::Cuda, "cuda"))
}

/// The [`Error::Device`] for a device that failed to compute or to answer, as one line: the runtime tells
/// a chain of causes over many, of which the last is the first that happened. `during`: "during a step".
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
