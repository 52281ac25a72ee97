//! What a backbone is worth in another task: small heads on its features.

pub mod detection;
