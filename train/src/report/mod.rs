//! Records of a run: `metrics.jsonl`, the figure of its curves, TensorBoard event files.
//!
//! All three come from the same [`MetricRow`]s. `metrics.jsonl` is authoritative: the figure can be drawn again from
//! it at any time, and TensorBoard shows the same numbers.

mod bars;
mod curves;
mod jsonl;
mod observers;
mod scale;
mod tensorboard;
mod text;

pub use bars::{Bar, BarPanel, bars};
pub(crate) use curves::curves_png;
pub use jsonl::{JsonlWriter, read_jsonl};
pub use tensorboard::TensorBoardWriter;
pub use text::{caption, legend};

use std::collections::BTreeMap;

use crate::row::MetricRow;

/// The largest memory in each hour of training, in bytes; a rise from hour to hour indicates a leak.
pub(crate) fn resident_by_hour(rows: &[MetricRow]) -> BTreeMap<u64, u64> {
    let mut most = BTreeMap::new();
    for row in rows {
        if let Some(bytes) = row.resident_bytes {
            let of_hour: &mut u64 = most.entry((row.seconds / 3600.0) as u64).or_default();
            *of_hour = bytes.max(*of_hour);
        }
    }
    most
}
