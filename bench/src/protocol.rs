//! The protocol between this program and its worker processes, densecl's (`worker`) and PyTorch's
//! (`pytorch.py`).
//!
//! A process first writes a [`Greeting`], then answers each request. Every message is one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::work::Work;

/// A request to a worker process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Make the inputs of `work` and do it once, untimed; answered by [`Prepared`].
    Prepare { work: Work, variant: String },
    /// Repeat the prepared work for at least this many seconds, at least once; answered by [`Run`].
    Run { seconds: f64 },
    /// Report the memory used; answered by [`Memory`].
    Finish,
}

/// The first line of a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Versions of the packages used, by name.
    pub(crate) versions: BTreeMap<String, String>,
    /// Name of the device that the process computes on.
    pub(crate) device: String,
}

/// Answer to [`Request::Prepare`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// Main memory of the process in bytes when its inputs existed, before the first iteration.
    pub(crate) resident: Option<f64>,
}

/// Answer to [`Request::Run`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Seconds per iteration.
    pub(crate) seconds: f64,
    /// Number of iterations.
    pub(crate) iterations: u64,
}

/// Answer to [`Request::Finish`]: peak memory since the process started.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Peak main memory of the whole process in bytes.
    pub(crate) peak: Option<f64>,
    /// Peak memory of the device in bytes, if the device has memory of its own and its use can be measured.
    pub(crate) device_peak: Option<f64>,
}

/// Answer to a request that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The reason, in one line.
    pub(crate) error: String,
}
