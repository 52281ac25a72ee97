//! Selects items evenly spread over a list.

/// Takes `count` items out, evenly spread; returns the others and those taken.
pub fn spread<T>(items: Vec<T>, count: usize) -> (Vec<T>, Vec<T>) {
    let total = items.len();
    let count = count.min(total);
    let mut rest = Vec::with_capacity(total - count);
    let mut taken = Vec::with_capacity(count);
    for (i, item) in items.into_iter().enumerate() {
        // True for exactly `count` values of i in 0..total.
        if (i + 1) * count / total > i * count / total {
            taken.push(item);
        } else {
            rest.push(item);
        }
    }
    (rest, taken)
}
