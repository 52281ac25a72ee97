//! The memory of a native program that trains.
//!
//! A step frees and asks again for the same large pieces. Given back to the system in between, each page is
//! cleared and mapped anew: a sixth of a step (ResNet-18, 96 px). So mimalloc, told to keep what is freed.

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// Not at all.
const NEVER: std::ffi::c_long = -1;

/// Keeps freed memory for the next step. To be called as a program begins.
pub fn keep_freed_memory() {
    // SAFETY: the function stores a number in a table of settings, at an index within it; it may be called at
    // any time.
    #[expect(unsafe_code, reason = "mimalloc's settings are C; the proof is above")]
    unsafe {
        mi_option_set(PURGE_DELAY, NEVER);
    }
}
