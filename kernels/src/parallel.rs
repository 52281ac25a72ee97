//! The one place that knows threads: all cores with the feature `threads`, else one.

use std::{cell::RefCell, mem, mem::MaybeUninit};

#[cfg(feature = "threads")]
use rayon::prelude::*;

/// Runs `work` on the chunks of `len` values of `data` (the last may be shorter), each with its number.
pub(crate) fn chunks<T: Send>(data: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    #[cfg(feature = "threads")]
    if shared() {
        let chunks = data.par_chunks_mut(len).enumerate();
        return chunks.for_each(|(index, chunk)| work(index, chunk));
    }
    for (index, chunk) in data.chunks_mut(len).enumerate() {
        work(index, chunk);
    }
}

/// Runs `work` on the chunks of two slices side by side.
pub(crate) fn chunks2<T: Send, U: Send>(
    (a, len_a): (&mut [T], usize),
    (b, len_b): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    #[cfg(feature = "threads")]
    if shared() {
        let chunks = a.par_chunks_mut(len_a).zip(b.par_chunks_mut(len_b));
        return chunks
            .enumerate()
            .for_each(|(index, (a, b))| work(index, a, b));
    }
    for (index, (a, b)) in a.chunks_mut(len_a).zip(b.chunks_mut(len_b)).enumerate() {
        work(index, a, b);
    }
}

/// Runs `work` on each item, in any order.
pub(crate) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "threads")]
    if shared() {
        return items.into_par_iter().for_each(work);
    }
    items.into_iter().for_each(work);
}

/// The results of `work` on 0..count, in order.
pub(crate) fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    #[cfg(feature = "threads")]
    if shared() {
        return (0..count).into_par_iter().map(work).collect();
    }
    (0..count).map(work).collect()
}

/// Runs `work` on one of the threads that kernels share their work among, so that handing it over and waiting
/// for it happens once, not for every kernel inside. For much work in small pieces.
pub fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    #[cfg(feature = "threads")]
    if shared() {
        return rayon::scope(|_| work());
    }
    work()
}

/// Whether to split the work over threads. With a single thread beside this one it is not worth it: handing
/// over all work and waiting for it costs 6 % of the time of a small network.
#[cfg(feature = "threads")]
fn shared() -> bool {
    rayon::current_num_threads() > 1
}

/// A vector of pieces of these sizes, one after the other, each begun as zeros and finished by `work`, which is
/// told its number. A piece is cleared by who works on it: it is in the cache then, where clearing the whole
/// first would write memory twice.
pub(crate) fn pieces(sizes: &[usize], work: impl Fn(usize, &mut [f32]) + Sync + Send) -> Vec<f32> {
    let len = sizes.iter().sum();
    let mut values = Vec::with_capacity(len);
    let mut rest = &mut values.spare_capacity_mut()[..len];
    let cut = sizes.iter().map(|size| {
        let (piece, behind) = mem::take(&mut rest).split_at_mut(*size);
        rest = behind;
        piece
    });
    let cut = cut.enumerate().collect();
    each(cut, |(index, piece): (usize, &mut [MaybeUninit<f32>])| {
        piece.fill(MaybeUninit::new(0.0));
        // SAFETY: every value of the piece has just been written.
        #[expect(unsafe_code, reason = "the proof is above")]
        let piece = unsafe { piece.assume_init_mut() };
        work(index, piece);
    });
    // SAFETY: there is room for `len` values, and as the pieces' sizes add up to `len`, each of them is written.
    #[expect(unsafe_code, reason = "the proof is above")]
    unsafe {
        values.set_len(len);
    }
    values
}

/// [`pieces`] of `size`, the last may be shorter: `len` values in all.
pub(crate) fn pieces_of(
    len: usize,
    size: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let sizes: Vec<usize> = (0..len)
        .step_by(size)
        .map(|first| size.min(len - first))
        .collect();
    pieces(&sizes, work)
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch buffer of `len` values, with whatever they were last left at: nothing is
/// allocated once a thread has seen its largest task. Not to be nested.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len])
    })
}
