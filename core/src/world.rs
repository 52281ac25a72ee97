//! The ranks that train one run together: several devices, several processes, several machines.
//!
//! Each rank holds the whole training state and computes its share of the micro-batches of every step. Between the
//! micro-batches and the optimizer the ranks exchange what the others need: the sum of the gradients, and the keys,
//! statistics and figures of each micro-batch in the order of the batch. After that all ranks take the same step, so
//! that their states stay equal.
//!
//! This module uses no threads and no I/O: it defines the interface [`World`], and [`Alone`] for a single rank.
//! `densecl-train` implements it for threads, and the program for MPI.
//!
//! **Why the number of ranks changes no bit.** Floating-point addition is not associative, so the order of a sum
//! decides its last bits. Gradients are added pairwise, as the leaves of one binary tree in the order of the
//! micro-batches ([`crate::optim::ParameterGradients`]). If the share of a rank is a power of two, it is a complete
//! subtree of that tree, and [`tree_sum`] over the ranks adds the subtrees as one rank alone would.

use std::ops::Range;

use burn::tensor::{Shape, Tensor, TensorData};

use crate::{
    device::failure,
    error::{Error, Result},
};

/// The ranks of a run, from the view of one of them. All ranks call the same functions in the same order; each call
/// returns when all ranks have made it.
pub trait World: std::fmt::Debug {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// W: the number of ranks, at least 1.
    fn size(&self) -> usize;

    /// The sum over the ranks of each of the `values`, as [`tree_sum`] adds them in the order of the ranks; the same
    /// bits on every rank. All ranks give equally many values.
    ///
    /// # Errors
    /// [`Error::Ranks`] when another rank has ended.
    fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>>;

    /// The bytes that each rank gave, in the order of the ranks. Ranks may give different numbers of bytes.
    ///
    /// # Errors
    /// As [`Self::sum`].
    fn gather(&mut self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}

/// The world of a single rank: it exchanges nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl World for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn gather(&mut self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }
}

/// The micro-batches of a step that a rank computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The index in the step of the rank's first micro-batch.
    pub first: usize,
    /// The number of micro-batches of the step on all ranks together.
    pub count: usize,
}

impl Share {
    /// The share of the rank of `world`, where every rank has `own` micro-batches.
    pub fn of(world: &dyn World, own: usize) -> Self {
        Self {
            first: world.rank() * own,
            count: world.size() * own,
        }
    }
}

/// The part of a list of `len` entries that belongs to rank `rank` of `size`: equal parts, in the order of the ranks.
///
/// # Panics
/// When `size` does not divide `len`.
pub fn part_of(len: usize, rank: usize, size: usize) -> Range<usize> {
    assert!(
        len.is_multiple_of(size),
        "{len} entries do not divide into {size} equal parts"
    );
    let own = len / size;
    rank * own..(rank + 1) * own
}

/// The element-wise sum of equally long lists, added pairwise: neighbours first, then neighbouring sums. A list
/// without a neighbour joins the next level unchanged. Empty if there are no parts.
///
/// # Panics
/// When the lists differ in length.
pub fn tree_sum(parts: &[&[f32]]) -> Vec<f32> {
    match parts {
        [] => Vec::new(),
        [only] => only.to_vec(),
        _ => {
            // The largest power of two below the number of parts is the size of the left subtree.
            let (left, right) = parts.split_at(parts.len().next_power_of_two() / 2);
            let (mut sum, right) = (tree_sum(left), tree_sum(right));
            assert_eq!(sum.len(), right.len(), "ranks give equally many values");
            for (a, b) in sum.iter_mut().zip(right) {
                *a += b;
            }
            sum
        }
    }
}

/// The tensors of all ranks in the order of the ranks. All tensors have the same shape, and each rank gives equally
/// many. One rank alone gets its tensors back; otherwise the call waits for the device.
///
/// # Errors
/// When the device failed, or another rank has ended.
pub fn gather<const D: usize>(
    world: &mut dyn World,
    tensors: Vec<Tensor<D>>,
) -> Result<Vec<Tensor<D>>> {
    let (Some(first), true) = (tensors.first(), world.size() > 1) else {
        return Ok(tensors);
    };
    let (shape, device): (Shape, _) = (first.shape(), first.device());
    let count = shape.num_elements();
    let flat = tensors.into_iter().map(|t| t.inner().flatten(0, D - 1));
    let own = read(Tensor::cat(flat.collect(), 0))?;
    let bytes = own.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut all = Vec::new();
    for bytes in world.gather(bytes)? {
        let values = bytes.as_chunks().0.iter();
        let values: Vec<f32> = values.map(|&value| f32::from_le_bytes(value)).collect();
        if values.len() != own.len() {
            return Err(Error::Ranks(format!(
                "a rank gave {} numbers where rank {} gave {}",
                values.len(),
                world.rank(),
                own.len()
            )));
        }
        all.extend(values.chunks_exact(count).map(|values| {
            Tensor::from_data(TensorData::new(values.to_vec(), shape.clone()), &device)
        }));
    }
    Ok(all)
}

/// The values of a tensor outside any gradient graph, in f32. Waits for the device.
pub(crate) fn read(tensor: Tensor<1>) -> Result<Vec<f32>> {
    let values = tensor.try_into_vec_as();
    values.map_err(|error| failure("when the ranks exchanged their results", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_over_ranks_is_the_tree_of_their_subtrees() {
        // 1/3, 1/4, 1/5 …: their sums are rounded, so that another order of additions gives other bits.
        let values: Vec<f32> = (3u8..19).map(|i| 1.0 / f32::from(i)).collect();
        let leaves: Vec<&[f32]> = values.iter().map(std::slice::from_ref).collect();
        let whole = tree_sum(&leaves);
        for ranks in [1, 2, 4, 8, 16] {
            let shares: Vec<Vec<f32>> = leaves.chunks(16 / ranks).map(tree_sum).collect();
            let shares: Vec<&[f32]> = shares.iter().map(Vec::as_slice).collect();
            assert_eq!(tree_sum(&shares), whole, "{ranks} ranks");
        }
        let in_order = values.iter().fold(0.0, |sum, value| sum + value);
        assert_ne!(whole, [in_order], "the values do not show the order");
        assert_eq!(tree_sum(&[]), [0.0; 0]);
    }

    #[test]
    fn a_tree_of_any_number_of_leaves_has_complete_subtrees_on_the_left() {
        let [a, b, c] = [0.1f32, 0.7, 1e-8];
        let [d, e] = [3.3f32, 1e7];
        let sum = |values: &[f32]| {
            let leaves: Vec<&[f32]> = values.iter().map(std::slice::from_ref).collect();
            tree_sum(&leaves)[0]
        };
        assert_eq!(sum(&[a, b, c]), (a + b) + c);
        assert_eq!(sum(&[a, b, c, d, e]), ((a + b) + (c + d)) + e);
    }

    #[test]
    fn every_entry_belongs_to_one_rank() {
        let parts: Vec<usize> = (0..4).flat_map(|rank| part_of(12, rank, 4)).collect();
        assert_eq!(parts, (0..12).collect::<Vec<_>>());
    }
}
