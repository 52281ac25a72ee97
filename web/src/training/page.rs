//! What the training loop asks of the page: the time, a place for checkpoints, and a listener for events.

use std::path::PathBuf;

use densecl_train::events::{Observer, TrainEvent};
use densecl_train::trainer::Host;
use js_sys::Function;
use wasm_bindgen::prelude::JsValue;

/// The page's clock, which stands still while the training is paused, and the last checkpoint of the loop.
pub(super) struct Page {
    pub(super) clock: Function,
    /// The last checkpoint, until the worker takes it.
    pub(super) kept: Option<Vec<u8>>,
}

/// The seconds that `clock` gives.
pub(super) fn seconds(clock: &Function) -> f64 {
    let seconds = clock.call0(&JsValue::NULL);
    seconds.ok().and_then(|s| s.as_f64()).unwrap_or_default()
}

impl Host for Page {
    fn seconds(&self) -> f64 {
        seconds(&self.clock)
    }

    /// The module's memory, which grows but never shrinks.
    fn resident_bytes(&self) -> Option<u64> {
        #[cfg(target_family = "wasm")]
        return Some(core::arch::wasm32::memory_size(0) as u64 * 65_536);
        #[cfg(not(target_family = "wasm"))]
        None
    }

    fn keep(&mut self, step: u64, state: Vec<u8>) -> anyhow::Result<PathBuf> {
        self.kept = Some(state);
        Ok(PathBuf::from(format!("the page, step {step}")))
    }
}

/// Passes events to the worker as a type and JSON.
pub(super) struct Listener(pub(super) Function);

impl Listener {
    /// Calls the listener; an error of its own cannot be reported anywhere.
    pub(super) fn tell(&self, kind: &str, json: &str) {
        let _ = self
            .0
            .call2(&JsValue::NULL, &JsValue::from(kind), &JsValue::from(json));
    }
}

impl Observer for Listener {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if let TrainEvent::Row(row) = event {
            self.tell("row", &serde_json::to_string(row)?);
        }
        Ok(())
    }
}
