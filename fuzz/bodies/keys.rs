//! Fuzzes the recognition of checkpoints by the names and shapes of their tensors. The input has one tensor per
//! line, e.g. `layer1.0.conv1.weight 64 64 3 3`.

use densecl::foreign::names::recognise;

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let keys: Vec<(String, Vec<usize>)> = text
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_string();
            (name, words.filter_map(|side| side.parse().ok()).collect())
        })
        .collect();
    let Ok(mapping) = recognise(&keys) else {
        return false;
    };
    let accounted = mapping.used.len() + mapping.dropped.len() + mapping.unknown.len();
    // `misshapen` is not added: a tensor of the wrong shape is in `used` as well.
    assert!(accounted <= keys.len(), "a tensor is in two lists");
    let accepted = mapping.check().is_ok();
    if accepted {
        assert_eq!(accounted, keys.len(), "a tensor is in no list");
    }
    accepted
}
