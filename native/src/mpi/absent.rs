//! Replaces the module `engine` in builds without MPI: there is never a member.

use densecl::world::World;
use densecl_train::plan::Seat;

/// A process among others. Without MPI there is none.
#[derive(Debug)]
pub(crate) enum Member {}

impl Member {
    /// Is not called: [`super::join`] has refused.
    pub(crate) fn join() -> anyhow::Result<Self> {
        anyhow::bail!("this program was built without MPI")
    }

    pub(crate) fn seat(&self) -> Seat {
        match *self {}
    }

    pub(crate) fn number(&self) -> usize {
        match *self {}
    }

    pub(crate) fn end_all(&self) -> ! {
        match *self {}
    }

    pub(crate) fn leave(&self) {
        match *self {}
    }
}

impl World for Member {
    fn rank(&self) -> usize {
        match *self {}
    }

    fn size(&self) -> usize {
        match *self {}
    }

    fn sum(&mut self, _: Vec<f32>) -> densecl::Result<Vec<f32>> {
        match *self {}
    }

    fn gather(&mut self, _: Vec<u8>) -> densecl::Result<Vec<Vec<u8>>> {
        match *self {}
    }
}
