//! The device that this module computes on.

use std::cell::RefCell;

use burn::tensor::Device;
use densecl::device::{DeviceChoice, select, watch};
use densecl::self_test;
use js_sys::Function;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::failure::Failure;

/// The backend that this module is built with.
const CHOICE: DeviceChoice = if cfg!(feature = "gpu") {
    DeviceChoice::Wgpu
} else {
    DeviceChoice::Cpu
};

thread_local! {
    /// The listener for events that no call returns: panics and the loss of the device.
    static REPORT: RefCell<Option<Function>> = const { RefCell::new(None) };
}

fn report(kind: &str, message: &str) {
    REPORT.with_borrow(|report| {
        if let Some(report) = report {
            // An error of the listener itself cannot be reported anywhere.
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
    /// Opens the CPU or the GPU, whichever this module is built for. For a GPU the caller must have checked
    /// that the adapter supports timestamp queries.
    ///
    /// `listener(type, message)` is called with the type `"panic"` after a panic, when the module must not be
    /// used any more, and with `"device"` when the GPU is lost or fails.
    ///
    /// # Errors
    /// `device` when the device cannot be opened.
    pub async fn open(listener: Function) -> Result<Session, Failure> {
        REPORT.set(Some(listener));
        std::panic::set_hook(Box::new(|info| report("panic", &info.to_string())));
        let selected = select(CHOICE).await?;
        watch(|message| report("device", &message));
        Ok(Self {
            device: selected.device,
        })
    }

    /// Runs a small network and returns the largest deviation of its output from the known result; see
    /// [`Session::tolerance`].
    ///
    /// # Errors
    /// `device` when the device fails.
    #[wasm_bindgen(js_name = selfTest)]
    pub async fn self_test(&self) -> Result<f32, Failure> {
        Ok(self_test::deviation(&self.device).await?)
    }

    /// The largest permitted result of [`Session::self_test`].
    pub fn tolerance() -> f32 {
        self_test::TOLERANCE
    }
}
