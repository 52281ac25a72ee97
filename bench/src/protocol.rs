//! The lines between the program and the processes that do the work: ours (`worker`) and `pytorch.py`.
//!
//! A process greets, then answers each request with one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::work::Work;

/// What may be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Make the inputs of `work`, do it once uncounted; answered by [`Prepared`].
    Prepare { work: Work, variant: String },
    /// Do it for at least so many seconds, at least once; answered by [`Run`].
    Run { seconds: f64 },
    /// Answered by [`Memory`].
    Finish,
}

/// The first line of a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Name of a package → its version.
    pub(crate) versions: BTreeMap<String, String>,
    /// Where it computes.
    pub(crate) device: String,
}

/// Inputs are made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// Memory of the process in bytes before the work was done the first time.
    pub(crate) resident: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Per iteration.
    pub(crate) seconds: f64,
    /// How often the work was done.
    pub(crate) iterations: u64,
}

/// What the process needed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Most main memory in bytes, of the whole process.
    pub(crate) peak: Option<f64>,
    /// Most memory of the device in bytes, where that is another and the side can tell.
    pub(crate) device_peak: Option<f64>,
}

/// Instead of any answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// One line.
    pub(crate) error: String,
}
