//! What the tensors of a training state are called in files of ours, beside the names of the network.

/// What stands before the names of the query encoder's tensors.
pub(crate) const QUERY: &str = "query.";
/// What stands before the names of the key encoder's tensors.
pub(crate) const KEY: &str = "key.";
/// What stands before the name of a parameter, for SGD's velocity of it.
pub(crate) const VELOCITY: &str = "velocity.";
/// The global and the dense queue, [K, dim] each.
pub(crate) const QUEUES: [&str; 2] = ["queue.global", "queue.dense"];
/// The places at which the queues are written next, `[1]` each: other programs keep them as tensors, in
/// checkpoints of ours they are part of the metadata.
pub(crate) const QUEUE_POSITIONS: [&str; 2] = ["queue_position.global", "queue_position.dense"];
