//! Names of the tensors of a training state in our files, in addition to the names within a network.

/// Prefix of the query encoder's tensors.
pub(crate) const QUERY: &str = "query.";
/// Prefix of the key encoder's tensors.
pub(crate) const KEY: &str = "key.";
/// Prefixes of the network that is evaluated and exported, in the training states of methods without a query
/// encoder: BYOL's.
pub(crate) const EVALUATED: [&str; 1] = ["online."];
/// Prefix of SGD's velocity; the name of the parameter follows.
pub(crate) const VELOCITY: &str = "velocity.";
/// The global and the dense queue, [K, dim] each.
pub(crate) const QUEUES: [&str; 2] = ["queue.global", "queue.dense"];
/// For each queue, the row that the next key overwrites, `[1]`. Other programs store these rows as tensors; our
/// checkpoints have them in the metadata.
pub(crate) const QUEUE_POSITIONS: [&str; 2] = ["queue_position.global", "queue_position.dense"];
