//! The global allocator of native programs that train: mimalloc, set to keep freed memory.
//!
//! Each training step frees and allocates the same large buffers. If freed pages went back to the operating
//! system, it would clear and map them again at the next allocation, which takes a sixth of a step (ResNet-18,
//! 96 px).

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h; `libmimalloc-sys` does not declare it.
const PURGE_DELAY: mi_option_t = 15;
/// The value of `mi_option_purge_delay` with which freed memory is never returned to the operating system.
const NEVER: std::ffi::c_long = -1;

/// Makes the allocator keep freed memory for the next step. Call it once, at the start of the program.
pub fn keep_freed_memory() {
    // SAFETY: the function stores a number in a table of settings, at an index within it; it may be called at
    // any time.
    #[expect(unsafe_code, reason = "mimalloc's settings are C; the proof is above")]
    unsafe {
        mi_option_set(PURGE_DELAY, NEVER);
    }
}
