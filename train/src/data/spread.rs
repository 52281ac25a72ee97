//! A part of many things, evenly spread over their order.

/// Takes `count` items out, evenly spread over the order: the others, and they.
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
