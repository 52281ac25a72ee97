//! Splits the work of a kernel: over all cores with the feature `threads`, else it stays on the calling thread.

use std::{cell::RefCell, mem, mem::MaybeUninit};

#[cfg(feature = "threads")]
use rayon::prelude::*;

#[cfg(feature = "threads")]
use crate::team::{self, Role};

/// Runs `work` on each item, in any order.
pub(crate) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "threads")]
    match team::role() {
        _ if items.len() < 2 => {}
        Role::Leader => return team::each(items, work),
        Role::Outside if shared() => return items.into_par_iter().for_each(work),
        Role::Outside | Role::Member => {}
    }
    items.into_iter().for_each(work);
}

/// Runs `work` on the chunks of `len` values of `data` (the last may be shorter); it receives the index of the
/// chunk.
pub(crate) fn chunks<T: Send>(
    data: &mut [T],
    len: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let chunks = data.chunks_mut(len).enumerate().collect();
    each(chunks, |(index, chunk)| work(index, chunk));
}

/// Runs `work` on pairs of chunks, the i-th of `a` with the i-th of `b`.
pub(crate) fn chunks2<T: Send, U: Send>(
    (a, len_a): (&mut [T], usize),
    (b, len_b): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    let chunks = a.chunks_mut(len_a).zip(b.chunks_mut(len_b)).enumerate();
    each(chunks.collect(), |(index, (a, b))| work(index, a, b));
}

/// The results of `work` on 0..count, in order.
pub(crate) fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    map_each((0..count).collect(), work)
}

/// The results of `work` on the items, in order.
pub(crate) fn map_each<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let tasks = items.into_iter().zip(&mut results).collect();
    each(tasks, |(item, result)| *result = Some(work(item)));
    results.into_iter().flatten().collect()
}

/// Keeps the threads that share the kernels' work awake during `work`. Each kernel that this thread calls then begins on
/// all of them at once, which saves time if `work` calls many small kernels.
pub fn together<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "threads")]
    if shared() {
        return team::lead(work);
    }
    work()
}

/// Whether to split the work over threads. A pool of one thread is not used: handing it the work and waiting
/// costs 6 % of the time of a small network.
#[cfg(feature = "threads")]
fn shared() -> bool {
    rayon::current_num_threads() > 1
}

/// A vector made of consecutive pieces of these sizes. `work` receives the index of a piece and the piece
/// itself, filled with zeros. The task that fills a piece also clears it, so that it stays in the cache in
/// between; clearing the whole vector first would write the memory twice.
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

/// [`pieces`] of `size` values each, `len` values in total; the last piece may be shorter.
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

/// Calls `work` with this thread's scratch buffer of `len` values, whose contents are arbitrary. The buffer
/// only grows, so a thread stops allocating after its largest task.
///
/// # Panics
/// When called from inside `work`.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len])
    })
}
