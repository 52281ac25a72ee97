//! `densecl devices`: lists the devices of this machine.

use std::fmt::Write as _;

use densecl::device::{Listed, list};
use densecl_train::memory::available_text;

use crate::console;
use crate::mpi;

/// Prints a line for each device, by the name that `--device` takes.
///
/// # Errors
/// When standard output cannot be written to.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut text = String::new();
    for Listed {
        request,
        name,
        kind,
        memory,
    } in pollster::block_on(list())
    {
        let size = match (memory.is_the_hosts, memory.largest_tensor) {
            (true, None) => available_text(),
            (true, Some(_)) => "the host's memory".to_string(),
            (false, _) => "memory of its own, whose size is not reported".to_string(),
        };
        let largest = memory.largest_tensor.map_or(String::new(), |bytes| {
            format!(", at most {:.2} GB in one tensor", bytes as f64 / 1e9)
        });
        let _ = writeln!(
            text,
            "{:9}  {kind}: {name}; {size}{largest}",
            request.to_string()
        );
    }
    let processes = if mpi::BUILT_IN {
        "built in"
    } else {
        "not built in (build with --features mpi; docs/scale.md)"
    };
    let _ = writeln!(text, "MPI, for several processes or machines: {processes}");
    console::print(&text)
}
