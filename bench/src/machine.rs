//! Describes the machine and the memory of processes. Figures read from /proc are unknown outside Linux.

use std::fs;
use std::thread;

use serde::Serialize;

/// The machine that the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Logical cores that this process may use.
    pub(crate) cores: usize,
    /// Main memory in bytes.
    pub(crate) memory: Option<f64>,
    /// Operating system and architecture.
    pub(crate) os: String,
}

impl Machine {
    /// Describes the machine this program runs on.
    pub(crate) fn here() -> Self {
        let os =
            field("/etc/os-release", "PRETTY_NAME=").map(|name| name.trim_matches('"').to_string());
        let os = os.unwrap_or_else(|| std::env::consts::OS.to_string());
        Self {
            cpu: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| "unknown processor".to_string()),
            cores: thread::available_parallelism().map_or(1, Into::into),
            memory: kilobytes("/proc/meminfo", "MemTotal"),
            os: format!("{os}, {}", std::env::consts::ARCH),
        }
    }

    /// The description in one line, for the table's caption.
    pub(crate) fn line(&self) -> String {
        let memory = self.memory.map_or(String::new(), |bytes| {
            format!(", {:.0} GB of memory", bytes / 1e9)
        });
        format!("{}, {} cores{memory}, {}", self.cpu, self.cores, self.os)
    }
}

/// Main memory in bytes that a new process can use without swapping.
pub(crate) fn available() -> Option<f64> {
    kilobytes("/proc/meminfo", "MemAvailable")
}

/// Main memory that this process occupies now, in bytes.
pub(crate) fn resident() -> Option<f64> {
    kilobytes("/proc/self/status", "VmRSS")
}

/// Peak main memory in bytes of a process, given by its number or as `self`.
pub(crate) fn peak(process: &str) -> Option<f64> {
    kilobytes(&format!("/proc/{process}/status"), "VmHWM")
}

/// Marks this process as the first to be killed when memory runs out, so that the user's programs survive.
pub(crate) fn first_to_be_killed() {
    // Fails outside Linux or without permission; the system then chooses by its default rule.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// The rest of the first line of `path` that begins with `name`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim_start_matches([' ', '\t', ':']).to_string())
}

fn kilobytes(path: &str, name: &str) -> Option<f64> {
    let value = field(path, name)?;
    let kilobytes: f64 = value.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}
