//! Top-k accuracy, and classification by the nearest neighbours.

/// Whether the true class is among the `k` classes with the highest scores. Of equal scores the class with
/// the lower index comes first. NaN ranks below all other scores.
///
/// # Panics
/// When `label` is not an index of `scores`.
pub fn in_top_k(scores: &[f64], label: usize, k: usize) -> bool {
    let own = scores[label];
    if own.is_nan() {
        return false;
    }
    let before = scores
        .iter()
        .enumerate()
        .filter(|&(class, &score)| score > own || (score == own && class < label));
    before.count() < k
}

/// Top-k accuracy: the share of the samples whose true class is among the `k` with the highest scores, in
/// [0, 1]; `None` without a sample.
///
/// `scores` holds one row of `classes` scores per label.
///
/// # Panics
/// When the numbers of rows and labels differ, or a label is not below `classes`.
pub fn top_k_accuracy(scores: &[f64], labels: &[usize], classes: usize, k: usize) -> Option<f64> {
    assert_eq!(scores.len(), labels.len() * classes, "one row per label");
    let rows = scores.chunks_exact(classes.max(1));
    let right = rows
        .zip(labels)
        .filter(|(row, label)| in_top_k(row, **label, k));
    let right = right.count();
    (!labels.is_empty()).then(|| right as f64 / labels.len() as f64)
}

/// Votes of the `k` most similar training samples for each of `classes` classes, each vote weighted
/// by exp(similarity/τ). This is the weighted nearest-neighbour classifier of Wu et al. (2018,
/// "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", §3.4; τ = 0.07, k = 200),
/// a standard comparison of self-supervised features.
///
/// `similarity` holds the cosines of one sample with all training samples, whose classes are `labels`.
/// The votes sum to 1. With fewer training samples than `k`, all of them vote.
///
/// # Panics
/// When there is no training sample, `similarity` and `labels` differ in length, `k` is 0, or a label is
/// not below `classes`.
pub fn knn_votes(
    similarity: &[f32],
    labels: &[usize],
    classes: usize,
    k: usize,
    temperature: f64,
) -> Vec<f64> {
    assert_eq!(similarity.len(), labels.len(), "one label per sample");
    assert!(k > 0 && !labels.is_empty(), "at least one sample must vote");
    let mut order: Vec<usize> = (0..labels.len()).collect();
    // By descending similarity, equal ones by index.
    let nearer = |a: &usize, b: &usize| similarity[*b].total_cmp(&similarity[*a]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, nearer);
        order.truncate(k);
    }
    // The votes are added in a fixed order, because the order after the partial selection is arbitrary and the
    // rounding of a sum depends on the order.
    order.sort_unstable_by(nearer);
    // Exponents are relative to the nearest sample's, so that none overflows, however small τ is.
    let nearest = f64::from(similarity[order[0]]);
    let mut votes = vec![0.0; classes];
    for i in order {
        votes[labels[i]] += ((f64::from(similarity[i]) - nearest) / temperature).exp();
    }
    let sum: f64 = votes.iter().sum();
    for vote in &mut votes {
        *vote /= sum;
    }
    votes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_scores_wins_and_nan_never_does() {
        assert!(in_top_k(&[0.5, 0.5, 0.1], 0, 1));
        assert!(!in_top_k(&[0.5, 0.5, 0.1], 1, 1));
        assert!(in_top_k(&[0.5, 0.5, 0.1], 1, 2));
        assert!(!in_top_k(&[f64::NAN, 0.5], 0, 2));
        assert_eq!(top_k_accuracy(&[], &[], 3, 1), None);
        assert_eq!(
            top_k_accuracy(&[0.9, 0.1, 0.8, 0.2], &[0, 1], 2, 1),
            Some(0.5)
        );
    }

    #[test]
    fn near_votes_weigh_more_than_many() {
        let labels = [0, 1, 1];
        let similarity = [0.9, 0.5, 0.5];
        let sharp = knn_votes(&similarity, &labels, 2, 3, 0.07);
        assert!(sharp[0] > 0.99);
        let blunt = knn_votes(&similarity, &labels, 2, 3, 10.0);
        assert!(blunt[1] > blunt[0]);
        assert!((blunt.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // With k = 1 only the nearest sample votes.
        assert_eq!(knn_votes(&similarity, &labels, 2, 1, 10.0), [1.0, 0.0]);
        // An extreme temperature does not overflow.
        assert!(knn_votes(&similarity, &labels, 2, 3, 1e-9)[0] > 0.99);
    }
}
