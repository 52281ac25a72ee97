//! How the work of a matrix product is divided among the threads of a device.

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
    /// A tile of 16 × 16 threads that share their operands.
    pub(crate) const fn shared(depth: usize, rows: usize, columns: usize) -> Self {
        Self {
            operands: Operands::Shared { depth },
            threads: [16, 16],
            per_thread: [rows, columns],
        }
    }

    /// A tile of `threads` that lie along columns and read global memory.
    pub(crate) const fn global(threads: usize, rows: usize, columns: usize) -> Self {
        Self {
            operands: Operands::Global,
            threads: [1, threads],
            per_thread: [rows, columns],
        }
    }

    /// A tile of one plane; each of its threads reads `rows` of the rows.
    pub(crate) const fn plane(lanes: usize, rows: usize, columns: usize) -> Self {
        Self {
            operands: Operands::Plane { lanes },
            threads: [1, lanes],
            per_thread: [rows * lanes, columns],
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
