//! Where tensors live: the only file that names a backend.
//!
//! One binary holds every backend; the choice is made at run time. A software adapter (lavapipe,
//! SwiftShader, WARP) is many times slower than the CPU backend, so `auto` never takes one.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use burn::tensor::{
    Device, DeviceKind,
    wgpu::{WgpuBackend, wgpu},
};

use crate::error::{Error, Result};

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
}

/// A GPU or a software rasteriser that answered.
#[derive(Debug, Clone)]
struct Adapter {
    info: wgpu::AdapterInfo,
    /// Counted among adapters of its type and API, as the runtime counts them.
    index: usize,
    has_timestamps: bool,
}

impl Adapter {
    fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    fn kind(&self) -> DeviceKind {
        match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(self.index),
            wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(self.index),
            wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu(self.index),
            wgpu::DeviceType::Cpu => DeviceKind::Cpu,
            wgpu::DeviceType::Other => DeviceKind::DefaultDevice,
        }
    }

    /// Best first: fast hardware, then any hardware, then software.
    fn rank(&self) -> u8 {
        match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        }
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let software = if self.is_software() { ", software" } else { "" };
        write!(f, "{} ({}{software})", self.info.name, self.info.backend)
    }
}

/// Adapters on the APIs in `backends`, best first.
async fn adapters(backends: wgpu::Backends) -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut found: Vec<Adapter> = Vec::new();
    for adapter in instance.enumerate_adapters(backends).await {
        let info = adapter.get_info();
        let same =
            |a: &&Adapter| a.info.device_type == info.device_type && a.info.backend == info.backend;
        let index = found.iter().filter(same).count();
        let has_timestamps = adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        found.push(Adapter {
            info,
            index,
            has_timestamps,
        });
    }
    found.sort_by_key(Adapter::rank);
    found
}

/// Opens the device a user asked for; asked again, gives the same one.
///
/// # Errors
/// [`Error::Device`] when it does not exist, with a list of those that do.
pub async fn select(choice: DeviceChoice) -> Result<Selected> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu("as asked".to_string())),
        DeviceChoice::Auto => Ok(auto().await),
        DeviceChoice::Wgpu => named(choice, wgpu::Backends::PRIMARY).await,
        DeviceChoice::Vulkan => named(choice, wgpu::Backends::VULKAN).await,
        DeviceChoice::Metal => named(choice, wgpu::Backends::METAL).await,
        DeviceChoice::Cuda => cuda(),
    }
}

fn cpu(reason: String) -> Selected {
    Selected {
        device: Device::flex(),
        name: "cpu".to_string(),
        reason: format!("cpu: {reason}"),
    }
}

async fn auto() -> Selected {
    let adapters = adapters(wgpu::Backends::PRIMARY).await;
    let mut why = Vec::new();
    for adapter in &adapters {
        if adapter.is_software() {
            why.push(format!("{adapter} is slower than the CPU backend"));
            continue;
        }
        match open(adapter).await {
            Ok(device) => {
                return Selected {
                    device,
                    name: adapter.to_string(),
                    reason: format!("{adapter}: the first GPU that answered"),
                };
            }
            Err(e) => why.push(e.to_string()),
        }
    }
    if why.is_empty() {
        cpu("no GPU adapter answered".to_string())
    } else {
        cpu(format!("no GPU to use ({})", why.join("; ")))
    }
}

async fn named(choice: DeviceChoice, backends: wgpu::Backends) -> Result<Selected> {
    let adapters = adapters(backends).await;
    let Some(adapter) = adapters.first() else {
        return Err(nothing_answers(choice).await);
    };
    let device = open(adapter).await?;
    let name = adapter.to_string();
    Ok(Selected {
        device,
        reason: format!("{name}: as asked"),
        name,
    })
}

/// The error for a device that is not there: names those that are.
async fn nothing_answers(choice: DeviceChoice) -> Error {
    let mut there = vec!["cpu".to_string()];
    there.extend(
        adapters(wgpu::Backends::PRIMARY)
            .await
            .iter()
            .map(|a| format!("wgpu: {a}")),
    );
    Error::Device(format!(
        "--device {}: no such adapter answers on this machine; there is {}",
        choice.name(),
        there.join(", ")
    ))
}

/// What this process opened: the runtime refuses to open the same adapter twice.
static OPENED: Mutex<Vec<(wgpu::Backend, DeviceKind, Device)>> = Mutex::new(Vec::new());

fn opened(adapter: &Adapter) -> Option<Device> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let same =
        |(api, kind, _): &&(_, _, _)| *api == adapter.info.backend && *kind == adapter.kind();
    opened
        .iter()
        .find(same)
        .map(|(_, _, device)| device.clone())
}

async fn open(adapter: &Adapter) -> Result<Device> {
    if let Some(device) = opened(adapter) {
        return Ok(device);
    }
    if !adapter.has_timestamps {
        // The runtime panics on such a device when its first stream is created.
        return Err(Error::Device(format!(
            "{adapter} lacks timestamp queries, which Burn's wgpu runtime needs; use --device cpu"
        )));
    }
    let api = match adapter.info.backend {
        wgpu::Backend::Vulkan => WgpuBackend::Vulkan,
        wgpu::Backend::Metal => WgpuBackend::Metal,
        wgpu::Backend::Dx12 => WgpuBackend::Dx12,
        wgpu::Backend::Gl => WgpuBackend::Gl,
        wgpu::Backend::BrowserWebGpu => WgpuBackend::WebGpu,
        wgpu::Backend::Noop => WgpuBackend::Auto,
    };
    let options = Device::wgpu_options()
        .device_kind(adapter.kind())
        .graphics_api(api);
    let device = options
        .init_async()
        .await
        .map_err(|e| Error::Device(format!("{adapter} could not be opened: {e}")))?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.push((adapter.info.backend, adapter.kind(), device.clone()));
    Ok(device)
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Selected> {
    Ok(Selected {
        device: Device::cuda(0),
        name: "cuda:0".to_string(),
        reason: "cuda:0: as asked".to_string(),
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Selected> {
    Err(Error::Device(
        "--device cuda: this binary was built without it; build with --features cuda, or use \
         --device auto"
            .to_string(),
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
