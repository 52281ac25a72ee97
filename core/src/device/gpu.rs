//! GPUs through wgpu: listing the adapters, and opening one.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use burn::tensor::{
    Device, DeviceKind,
    wgpu::{WgpuBackend, wgpu},
};

use super::{DeviceChoice, DeviceMemory, DeviceRequest, Listed, Selected};
use crate::error::{Error, Result};
use crate::ops::choice;

/// An adapter of wgpu: a GPU or a software rasteriser.
#[derive(Debug, Clone)]
struct Adapter {
    info: wgpu::AdapterInfo,
    /// Its index among the adapters of the same type and graphics API, as Burn's runtime numbers them.
    index: usize,
    has_timestamps: bool,
    limits: wgpu::Limits,
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

    fn kind_in_words(&self) -> &'static str {
        match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "software adapter",
            wgpu::DeviceType::Other => "other adapter",
        }
    }

    /// The choice that names its graphics API.
    fn choice(&self) -> DeviceChoice {
        match self.info.backend {
            wgpu::Backend::Vulkan => DeviceChoice::Vulkan,
            wgpu::Backend::Metal => DeviceChoice::Metal,
            _ => DeviceChoice::Wgpu,
        }
    }

    /// Order of preference, lowest first: GPUs from fast to slow, then software adapters.
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

/// The adapters of the graphics APIs in `backends`, best first.
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
            limits: adapter.limits(),
        });
    }
    found.sort_by_key(Adapter::rank);
    found
}

/// Opens the best GPU that is not a software adapter. The error is the reason why there is none.
pub(super) async fn best() -> std::result::Result<Selected, String> {
    let adapters = adapters(wgpu::Backends::PRIMARY).await;
    let mut why = Vec::new();
    for adapter in &adapters {
        if adapter.is_software() {
            why.push(format!("{adapter} is slower than the CPU backend"));
            continue;
        }
        match open(adapter).await {
            Ok((device, memory)) => {
                return Ok(Selected {
                    device,
                    name: adapter.to_string(),
                    reason: format!("{adapter}: the first GPU that answered"),
                    memory,
                });
            }
            Err(e) => why.push(e.to_string()),
        }
    }
    Err(if why.is_empty() {
        "no GPU adapter answered".to_string()
    } else {
        format!("no GPU to use ({})", why.join("; "))
    })
}

/// Opens the GPU of this number that is not a software adapter; `None` if there are no GPUs.
pub(super) async fn numbered(number: usize) -> Result<Option<Selected>> {
    let mut adapters = adapters(wgpu::Backends::PRIMARY).await;
    adapters.retain(|adapter| !adapter.is_software());
    if adapters.is_empty() {
        return Ok(None);
    }
    let Some(adapter) = adapters.get(number) else {
        return Err(Error::Device(format!(
            "this machine has {} GPUs, and rank {number} on it would need one of its own: start fewer processes here, or \
             share a GPU by naming it (`densecl devices` lists them)",
            adapters.len()
        )));
    };
    let (device, memory) = open(adapter).await?;
    Ok(Some(Selected {
        device,
        name: adapter.to_string(),
        reason: format!("{adapter}: GPU {number} of this machine"),
        memory,
    }))
}

/// The adapters of all graphics APIs, each numbered among those of its API.
pub(super) async fn list() -> Vec<Listed> {
    let adapters = adapters(wgpu::Backends::PRIMARY).await;
    let numbered = adapters.iter().enumerate().map(|(place, adapter)| {
        let choice = adapter.choice();
        let before = adapters[..place].iter();
        let number = match choice {
            // Numbered among all adapters, because the name stands for every API.
            DeviceChoice::Wgpu => place,
            _ => before.filter(|other| other.choice() == choice).count(),
        };
        Listed {
            request: DeviceRequest {
                choice,
                number: Some(number),
            },
            name: adapter.info.name.clone(),
            kind: adapter.kind_in_words(),
            memory: memory(adapter, &adapter.limits),
        }
    });
    numbered.collect()
}

/// Opens the best adapter of the graphics API that the request names, or that of its number, including software
/// adapters.
pub(super) async fn named(request: DeviceRequest) -> Result<Selected> {
    let backends = match request.choice {
        DeviceChoice::Vulkan => wgpu::Backends::VULKAN,
        DeviceChoice::Metal => wgpu::Backends::METAL,
        _ => wgpu::Backends::PRIMARY,
    };
    let adapters = adapters(backends).await;
    let Some(adapter) = adapters.get(request.number.unwrap_or(0)) else {
        return Err(nothing_answers(request).await);
    };
    let (device, memory) = open(adapter).await?;
    let name = adapter.to_string();
    Ok(Selected {
        device,
        reason: format!("{name}: as asked"),
        name,
        memory,
    })
}

/// The error for a device that does not exist; lists those that do.
async fn nothing_answers(request: DeviceRequest) -> Error {
    let mut there = vec!["cpu".to_string()];
    there.extend(
        list()
            .await
            .iter()
            .map(|listed| format!("{}: {}", listed.request, listed.name)),
    );
    Error::Device(format!(
        "--device {request}: no such adapter answers on this machine; there is {}",
        there.join(", ")
    ))
}

/// A device that this process has opened.
struct Opened {
    api: wgpu::Backend,
    kind: DeviceKind,
    device: Device,
    handle: wgpu::Device,
}

/// The opened devices. Burn's runtime refuses to open an adapter twice, so they are kept for the next request.
static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

fn opened(adapter: &Adapter) -> Option<(Device, DeviceMemory)> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |o: &&Opened| o.api == adapter.info.backend && o.kind == adapter.kind();
    let found = opened.iter().find(same)?;
    Some((
        found.device.clone(),
        memory(adapter, &found.handle.limits()),
    ))
}

fn memory(adapter: &Adapter, limits: &wgpu::Limits) -> DeviceMemory {
    let shared = [wgpu::DeviceType::IntegratedGpu, wgpu::DeviceType::Cpu];
    DeviceMemory {
        is_the_hosts: shared.contains(&adapter.info.device_type),
        largest_tensor: Some(
            limits
                .max_buffer_size
                .min(limits.max_storage_buffer_binding_size),
        ),
    }
}

/// Calls `report` when an opened GPU is lost, and for each error on it that nothing else handles. Results
/// computed after such an error may be wrong. Meant for programs that can continue on another device.
pub fn watch(report: impl Fn(String) + Clone + Send + Sync + 'static) {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    for Opened { handle, .. } in opened.iter() {
        let lost = report.clone();
        handle.set_device_lost_callback(move |reason, message| {
            lost(format!("the GPU was lost ({reason:?}): {message}"));
        });
        let failed = report.clone();
        handle.on_uncaptured_error(std::sync::Arc::new(move |error: wgpu::Error| {
            failed(format!("the GPU failed: {error}"));
        }));
    }
}

async fn open(adapter: &Adapter) -> Result<(Device, DeviceMemory)> {
    if let Some(opened) = opened(adapter) {
        return Ok(opened);
    }
    if !adapter.has_timestamps {
        // On an adapter without timestamp queries, Burn's runtime panics when it creates the first stream.
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
    let (device, setup) = options
        .init_with_setup_async()
        .await
        .map_err(|e| Error::Device(format!("{adapter} could not be opened: {e}")))?;
    let memory = memory(adapter, &setup.device.limits());
    let wgpu::AdapterInfo {
        name,
        driver,
        driver_info,
        ..
    } = &adapter.info;
    choice::set_driver(name, format!("{driver} {driver_info}"));
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.push(Opened {
        api: adapter.info.backend,
        kind: adapter.kind(),
        device: device.clone(),
        handle: setup.device,
    });
    Ok((device, memory))
}
