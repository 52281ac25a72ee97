//! The device that this module computes on.

use std::cell::RefCell;

use burn::tensor::Device;
use densecl::device::{DeviceChoice, select, watch};
use densecl::self_test;
use js_sys::Function;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::failure::Failure;

/// The one backend of this module.
const CHOICE: DeviceChoice = if cfg!(feature = "gpu") {
    DeviceChoice::Wgpu
} else {
    DeviceChoice::Cpu
};

thread_local! {
    /// Whom to tell of what no call returns: panics, and a device that is lost.
    static REPORT: RefCell<Option<Function>> = const { RefCell::new(None) };
}

fn report(kind: &str, message: &str) {
    REPORT.with_borrow(|report| {
        if let Some(report) = report {
            // When even the listener throws there is nobody left to tell.
            let _ = report.call2(&JsValue::NULL, &kind.into(), &message.into());
        }
    });
}

/// An open device.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session {
    device: Device,
}

impl Session {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}

#[wasm_bindgen]
impl Session {
    /// Opens the CPU or the GPU, whichever this module is for. On a GPU the caller has checked that the
    /// adapter has timestamp queries.
    ///
    /// `listener(type, message)` is called with `"panic"` when this module must be thrown away, and with
    /// `"device"` when its GPU is lost or failed.
    ///
    /// # Errors
    /// `device` when it cannot be opened.
    pub async fn open(listener: Function) -> Result<Session, Failure> {
        REPORT.set(Some(listener));
        std::panic::set_hook(Box::new(|info| report("panic", &info.to_string())));
        let selected = select(CHOICE).await?;
        watch(|message| report("device", &message));
        Ok(Self {
            device: selected.device,
        })
    }

    /// The greatest deviation from the known answer; see [`Session::tolerance`].
    ///
    /// # Errors
    /// `device` when it fails.
    #[wasm_bindgen(js_name = selfTest)]
    pub async fn self_test(&self) -> Result<f32, Failure> {
        Ok(self_test::deviation(&self.device).await?)
    }

    /// What [`Session::self_test`] may deviate by.
    pub fn tolerance() -> f32 {
        self_test::TOLERANCE
    }
}
