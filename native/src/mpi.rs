//! Ranks as processes, started by an MPI launcher such as `mpiexec` or `srun`: which process is which, and how they
//! exchange numbers. The launcher starts the processes on one or more machines, and ends all of them when one dies.
//!
//! The exchange needs the feature `mpi`; without it a process that was started as one of several is refused, because
//! each would train the same run by itself.

#[cfg(not(feature = "mpi"))]
mod absent;
#[cfg(feature = "mpi")]
mod engine;

use anyhow::bail;
use densecl::device::{DeviceChoice, DeviceRequest};

#[cfg(not(feature = "mpi"))]
pub(crate) use self::absent::Member;
#[cfg(feature = "mpi")]
pub(crate) use self::engine::Member;

/// Whether this program was built with MPI.
pub(crate) const BUILT_IN: bool = cfg!(feature = "mpi");

/// The environment variables in which launchers give a process its rank and the number of processes: Open MPI; MPICH
/// and Intel MPI, also under Slurm; Slurm with PMIx.
const VARIABLES: [[&str; 2]; 3] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    ["PMIX_RANK", "SLURM_STEP_NUM_TASKS"],
];

/// What a launcher says about this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Launched {
    /// Its rank.
    pub(crate) rank: usize,
    /// The number of processes.
    pub(crate) size: usize,
}

/// What the launcher says, if this process was started as one of several.
pub(crate) fn launched() -> Option<Launched> {
    from(|name| std::env::var(name).ok())
}

fn from(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let number = |name| variable(name)?.trim().parse::<usize>().ok();
    let said = VARIABLES.iter().find_map(|[rank, size]| {
        Some(Launched {
            rank: number(rank)?,
            size: number(size)?,
        })
    });
    said.filter(|said| said.size > 1)
}

/// Joins the other processes, if there are any.
///
/// # Errors
/// When this program was built without MPI, or the other processes cannot be reached.
pub(crate) fn join() -> anyhow::Result<Option<Member>> {
    let Some(launched) = launched() else {
        return Ok(None);
    };
    if !BUILT_IN {
        bail!("{}", refusal(launched));
    }
    Member::join().map(Some)
}

fn refusal(Launched { rank, size }: Launched) -> String {
    format!(
        "this process was started as rank {rank} of {size}, but this program was built without MPI, so that every process \
         would train the whole run by itself: build it with --features mpi (docs/scale.md), or for several devices of \
         one machine use --devices without a launcher"
    )
}

/// The device of a process among those that the user listed: `number` counts the processes of its machine.
///
/// # Errors
/// When the list has several devices, but fewer than the machine has processes.
pub(crate) fn device_of(list: &[DeviceRequest], number: usize) -> anyhow::Result<DeviceRequest> {
    match list {
        // All processes share the CPU, or the one device that is named by its number.
        [only] if only.choice == DeviceChoice::Cpu || only.number.is_some() => Ok(*only),
        [only] => Ok(DeviceRequest {
            number: Some(number),
            ..*only
        }),
        several => match several.get(number) {
            Some(device) => Ok(*device),
            None => bail!(
                "--devices names {} devices, and this machine has at least {} processes: name one for each",
                several.len(),
                number + 1
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_recognised_by_their_variables() {
        let said = |variables: &[(&str, &str)]| {
            from(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_string())
            })
        };
        let second = Some(Launched { rank: 1, size: 4 });
        assert_eq!(said(&[("PMI_RANK", "1"), ("PMI_SIZE", "4")]), second);
        let open = [
            ("PMIX_RANK", "1"),
            ("OMPI_COMM_WORLD_RANK", "1"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
        ];
        assert_eq!(said(&open), second);
        let slurm = [("PMIX_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert_eq!(said(&slurm), second);
        // One process alone needs no exchange; a batch script of Slurm is not started by a launcher.
        assert_eq!(said(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]), None);
        assert_eq!(said(&[("SLURM_STEP_NUM_TASKS", "4")]), None);
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn each_process_takes_its_own_device() {
        let device = |list: &str, number| {
            let list = DeviceRequest::list(list).expect("devices");
            device_of(&list, number).map(|device| device.to_string())
        };
        for (list, number, takes) in [
            ("cpu", 3, "cpu"),
            ("auto", 1, "auto:1"),
            ("vulkan", 2, "vulkan:2"),
            ("vulkan:0", 2, "vulkan:0"),
            ("vulkan:2,vulkan:0", 1, "vulkan:0"),
        ] {
            assert_eq!(device(list, number).expect("a device"), takes, "{list}");
        }
        let error = device("cpu,cpu", 2).expect_err("too few").to_string();
        assert!(
            error.contains("2 devices") && error.contains("3 processes"),
            "{error}"
        );
    }
}
