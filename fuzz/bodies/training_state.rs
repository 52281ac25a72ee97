//! Training states of other programs and of ours, as `--continue-from` takes them.

use densecl::checkpoint::TrainingState;

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(state) = TrainingState::read(bytes) else {
        return false;
    };
    let account = &state.account;
    assert!(!account.used.is_empty(), "a state of nothing");
    assert!(state.queue_len() <= bytes.len(), "more keys than bytes");
    true
}
