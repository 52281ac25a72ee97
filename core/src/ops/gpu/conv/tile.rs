//! How the work of a matrix product is divided among the threads of a device.

use super::super::tensor::Traits;
use crate::ops::choice::Algorithm;

/// Where the threads of a workgroup find the operands of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operands {
    /// Each thread reads what it needs from global memory. It needs nothing of the device.
    Global,
    /// The workgroup copies `depth` steps of both operands to shared memory, and all threads read them there: each
    /// value is read from global memory once per workgroup. Meant for GPUs.
    Shared {
        /// Steps along the summed dimension that are copied at once.
        depth: usize,
    },
    /// A workgroup is one plane (subgroup, warp). Each thread reads other rows of the left operand, and broadcasts
    /// them to the plane. Meant for software adapters, where a read costs as much as a hundred multiplications and a
    /// barrier more.
    Plane {
        /// Threads of a plane.
        lanes: usize,
    },
}

/// How the result of a product is divided: among workgroups, and among the threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Where the operands are read.
    pub(crate) operands: Operands,
    /// Threads of a workgroup along rows and along columns of the result.
    pub(crate) threads: [usize; 2],
    /// Rows and columns of the result for each thread.
    pub(crate) per_thread: [usize; 2],
}

impl Tile {
    /// The tile with which an algorithm multiplies gathered maps, whose values are read in vectors of this size; `None`
    /// if it is no matrix product of ours, or the device cannot run it.
    pub(crate) fn of_maps(algorithm: Algorithm, traits: &Traits, vector: usize) -> Option<Self> {
        // Sixteen values along the summed dimension.
        let depth = 16 / vector;
        match algorithm {
            Algorithm::Planes => Some(Self {
                operands: Operands::Plane {
                    lanes: traits.plane?,
                },
                threads: [1, traits.plane?],
                per_thread: [3 * traits.plane?, 4],
            }),
            Algorithm::Unshared => Some(Self::unshared(traits)),
            _ => Self::shared(algorithm, depth).filter(|tile| {
                let rows = tile.rows() + tile.columns();
                rows * (depth + 1) * vector * 4 <= traits.shared_bytes
            }),
        }
    }

    /// As [`Self::of_maps`], for the gradient of weights. The vectors are those of the input and of the output.
    pub(crate) fn of_weights(
        algorithm: Algorithm,
        traits: &Traits,
        vectors: [usize; 2],
    ) -> Option<Self> {
        match algorithm {
            Algorithm::Planes => Some(Self {
                operands: Operands::Plane {
                    lanes: traits.plane?,
                },
                threads: [1, traits.plane?],
                per_thread: [4 * traits.plane?, 4],
            }),
            Algorithm::Unshared => Some(Self::unshared(traits)),
            _ => {
                let mut tile = Self::shared(algorithm, 16)?;
                for (per_thread, vector) in tile.per_thread.iter_mut().zip(vectors) {
                    *per_thread /= vector;
                }
                let values = tile.rows() * vectors[0] + tile.columns() * vectors[1];
                (values * 16 * 4 <= traits.shared_bytes).then_some(tile)
            }
        }
    }

    fn shared(algorithm: Algorithm, depth: usize) -> Option<Self> {
        let (threads, per_thread) = match algorithm {
            Algorithm::Implicit128 => ([16, 16], [8, 8]),
            Algorithm::Implicit128x64 => ([16, 16], [8, 4]),
            Algorithm::Implicit64 => ([16, 16], [4, 4]),
            Algorithm::Implicit32 => ([8, 8], [4, 4]),
            _ => return None,
        };
        Some(Self {
            operands: Operands::Shared { depth },
            threads,
            per_thread,
        })
    }

    fn unshared(traits: &Traits) -> Self {
        // A software adapter computes four threads at once, and reads are what takes its time, so that each thread reads
        // for as many results as its registers hold.
        let (threads, columns) = if traits.is_software { (4, 8) } else { (32, 4) };
        Self {
            operands: Operands::Global,
            threads: [1, threads],
            per_thread: [8, columns],
        }
    }

    /// Rows of the result for a workgroup.
    pub(crate) const fn rows(&self) -> usize {
        self.threads[0] * self.per_thread[0]
    }

    /// Columns of the result for a workgroup.
    pub(crate) const fn columns(&self) -> usize {
        self.threads[1] * self.per_thread[1]
    }

    /// Threads of a workgroup.
    pub(crate) const fn count(&self) -> usize {
        self.threads[0] * self.threads[1]
    }

    /// Rows that one thread reads from global memory at each step, unless the operands are shared.
    pub(crate) const fn own_rows(&self) -> usize {
        match self.operands {
            Operands::Plane { lanes } => self.per_thread[0] / lanes,
            _ => self.per_thread[0],
        }
    }

    /// Distance of the rows that one thread reads.
    pub(crate) const fn row_step(&self) -> usize {
        match self.operands {
            Operands::Plane { lanes } => lanes,
            _ => self.threads[0],
        }
    }

    /// Values along the summed dimension in shared memory, or 0.
    pub(crate) const fn depth(&self) -> usize {
        match self.operands {
            Operands::Shared { depth } => depth,
            _ => 0,
        }
    }

    pub(crate) const fn is_plane(&self) -> bool {
        matches!(self.operands, Operands::Plane { .. })
    }
}
