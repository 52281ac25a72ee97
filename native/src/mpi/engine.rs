//! The exchange between processes by MPI.
//!
//! MPI's own sum over all ranks may add in any order, and with four ranks MPICH did (2026-11-28). Here
//! each rank receives one part of every rank's values, adds them in a fixed order and gives the sums to the others:
//! the bits do not depend on the MPI library or the network.
//!
//! When a process dies, the launcher ends the others, so that none waits for ever; MPI's functions do not return
//! errors.

use std::fmt;
use std::os::unix::process::parent_id;
use std::time::Duration;

use anyhow::Context;
use densecl::world::{World, tree_sum};
use densecl_train::plan::Seat;
use mpi::collective::CommunicatorCollectives;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::{Count, Threading};

/// How long the launcher is given to forward an error before all processes end.
const FORWARDING: Duration = Duration::from_millis(250);

/// Between two looks whether all processes are ready to end.
const LOOKING: Duration = Duration::from_millis(20);

/// The most bytes in one exchange of all ranks: MPI counts in 31 bits.
const AT_ONCE: usize = 1 << 30;

/// A process among others.
pub(crate) struct Member {
    /// The processes of this machine.
    machine: SimpleCommunicator,
    world: SimpleCommunicator,
    /// The process that started this one, a part of the launcher.
    launcher: u32,
    /// Ends MPI when it is dropped, so it comes last.
    _universe: Universe,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} (MPI)", self.rank(), self.size())
    }
}

impl Member {
    /// Meets the other processes.
    ///
    /// # Errors
    /// When MPI has been started before.
    pub(crate) fn join() -> anyhow::Result<Self> {
        // Only the main thread calls MPI.
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)
            .context("MPI was started twice in this process")?;
        let world = universe.world();
        let machine = world.split_shared(world.rank());
        Ok(Self {
            machine,
            world,
            launcher: parent_id(),
            _universe: universe,
        })
    }

    /// The place among all processes.
    pub(crate) fn seat(&self) -> Seat {
        Seat {
            rank: self.rank(),
            ranks: self.size(),
            neighbours: self.machine.size() as usize,
        }
    }

    /// The number of this process among those of its machine, from 0.
    pub(crate) fn number(&self) -> usize {
        self.machine.rank() as usize
    }

    /// Ends all processes, with an exit code of 1.
    pub(crate) fn end_all(&self) -> ! {
        // A busy launcher (MPICH's) drops what it has not forwarded yet when processes end: the error was lost.
        std::thread::sleep(FORWARDING);
        self.world.abort(1)
    }

    /// Waits until all processes are ready to end, or are ended by another rank.
    ///
    /// It looks for itself whether the launcher is still there, because MPICH's (4.0.2) once ended after another rank's
    /// abort and left this process behind. And MPI's own waiting would keep a core busy while rank 0 saves.
    pub(crate) fn leave(&self) {
        let mut barrier = self.world.immediate_barrier();
        while let Err(waiting) = barrier.test() {
            barrier = waiting;
            if parent_id() != self.launcher {
                std::process::exit(1);
            }
            std::thread::sleep(LOOKING);
        }
    }
}

impl Drop for Member {
    /// A rank that panics ends all: MPI's own end would wait for the others, and they for this rank.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end_all();
        }
    }
}

impl World for Member {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn sum(&mut self, mut values: Vec<f32>) -> densecl::Result<Vec<f32>> {
        let (size, count) = (self.size(), values.len());
        let part = count.div_ceil(size);
        values.resize(part * size, 0.0);
        let mut parts = vec![0f32; part * size];
        self.world.all_to_all_into(&values[..], &mut parts[..]);
        let parts: Vec<&[f32]> = match part {
            0 => Vec::new(),
            part => parts.chunks_exact(part).collect(),
        };
        let own = tree_sum(&parts);
        self.world.all_gather_into(&own[..], &mut values[..]);
        values.truncate(count);
        Ok(values)
    }

    fn gather(&mut self, bytes: Vec<u8>) -> densecl::Result<Vec<Vec<u8>>> {
        let size = self.size();
        let mut lengths = vec![0u64; size];
        self.world
            .all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let mut lists: Vec<Vec<u8>> = vec![Vec::new(); size];
        let piece = AT_ONCE / size;
        let longest = lengths.iter().max().map_or(0, |&length| length as usize);
        for start in (0..longest).step_by(piece) {
            let left = |length: usize| length.saturating_sub(start).min(piece);
            let counts = lengths.iter().map(|&length| left(length as usize) as Count);
            let counts: Vec<Count> = counts.collect();
            let mut end = 0;
            let places: Vec<Count> = counts
                .iter()
                .map(|count| {
                    end += count;
                    end - count
                })
                .collect();
            let mut all = vec![0u8; end as usize];
            let from = start.min(bytes.len());
            let own = &bytes[from..from + left(bytes.len())];
            let mut partition = PartitionMut::new(&mut all[..], &counts[..], &places[..]);
            self.world.all_gather_varcount_into(own, &mut partition);
            for (list, (&place, &count)) in lists.iter_mut().zip(places.iter().zip(&counts)) {
                list.extend_from_slice(&all[place as usize..][..count as usize]);
            }
        }
        Ok(lists)
    }
}
