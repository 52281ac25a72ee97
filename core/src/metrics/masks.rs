//! Measures of one object's mask in a video frame: region similarity J and boundary accuracy F.
//!
//! Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (CVPR 2016),
//! section 4, as the DAVIS challenge's program computes them.

/// The width of the band in which boundaries agree, as a share of the picture's diagonal.
const BAND: f64 = 0.008;

/// Region similarity J, the intersection over union of two masks, in [0, 1]. Pixels in `ignored` are left out of
/// both. 1 when both masks are empty.
///
/// # Panics
/// When the three differ in length.
pub fn region_similarity(truth: &[bool], found: &[bool], ignored: &[bool]) -> f64 {
    assert!(
        truth.len() == found.len() && truth.len() == ignored.len(),
        "a value per pixel"
    );
    let (mut both, mut either) = (0u64, 0u64);
    for ((&truth, &found), &ignored) in truth.iter().zip(found).zip(ignored) {
        both += u64::from(truth && found && !ignored);
        either += u64::from((truth || found) && !ignored);
    }
    if either == 0 {
        1.0
    } else {
        both as f64 / either as f64
    }
}

/// Boundary accuracy F, in [0, 1]: the harmonic mean of the share of the found boundary that is near the true one and
/// the share of the true boundary that is near the found one. Near is within 0.008 of the diagonal, rounded up to
/// whole pixels. Pixels in `ignored` belong to neither mask. 1 when neither mask has a boundary.
///
/// # Panics
/// When one of the three has not `size` = width · height pixels.
pub fn boundary_accuracy(
    truth: &[bool],
    found: &[bool],
    ignored: &[bool],
    size: [usize; 2],
) -> f64 {
    let [width, height] = size;
    let pixels = width * height;
    assert!(
        [truth, found, ignored]
            .iter()
            .all(|mask| mask.len() == pixels),
        "a value per pixel"
    );
    let boundary_of = |mask: &[bool]| -> Vec<bool> {
        let without = mask.iter().zip(ignored).map(|(&mask, &out)| mask && !out);
        boundary(&without.collect::<Vec<_>>(), size)
    };
    let [truth, found] = [truth, found].map(boundary_of);
    let radius = (BAND * (width as f64).hypot(height as f64)).ceil() as usize;
    let share_near = |of: &[bool], other: &[bool]| {
        let near = dilated(other, size, radius);
        let all = of.iter().filter(|&&at| at).count();
        let hits = of.iter().zip(&near).filter(|(at, near)| **at && **near);
        (all > 0).then(|| hits.count() as f64 / all as f64)
    };
    let precision = share_near(&found, &truth);
    let recall = share_near(&truth, &found);
    match (precision, recall) {
        (None, None) => 1.0,
        (Some(precision), Some(recall)) if precision + recall > 0.0 => {
            2.0 * precision * recall / (precision + recall)
        }
        _ => 0.0,
    }
}

/// The pixels whose right, lower or lower right neighbour is not like them (`seg2bmap` of the Berkeley segmentation
/// benchmark). A neighbour outside the picture is like its pixel.
fn boundary(mask: &[bool], [width, height]: [usize; 2]) -> Vec<bool> {
    let at = |x: usize, y: usize| mask[y.min(height - 1) * width + x.min(width - 1)];
    let differs = |i: usize| {
        let (x, y) = (i % width, i / width);
        let own = mask[i];
        // In the last column and row the lower right neighbour is the pixel below or to the right.
        own != at(x + 1, y) || own != at(x, y + 1) || own != at(x + 1, y + 1)
    };
    (0..mask.len()).map(differs).collect()
}

/// The pixels whose distance from one of the mask is at most `radius`, between centres.
fn dilated(mask: &[bool], [width, height]: [usize; 2], radius: usize) -> Vec<bool> {
    // Half the width of the disk in each of its rows.
    let reach: Vec<usize> = (0..=radius)
        .map(|dy| (radius * radius - dy * dy).isqrt())
        .collect();
    let mut near = vec![false; mask.len()];
    for i in (0..mask.len()).filter(|&i| mask[i]) {
        let (x, y) = (i % width, i / width);
        for row in y.saturating_sub(radius)..(y + radius + 1).min(height) {
            let reach = reach[row.abs_diff(y)];
            let columns = x.saturating_sub(reach)..(x + reach + 1).min(width);
            near[row * width..][columns].fill(true);
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [bool; 36] = [false; 36];

    /// A rectangle in 6 × 6 pixels.
    fn block(columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> Vec<bool> {
        (0..36)
            .map(|i| columns.contains(&(i % 6)) && rows.contains(&(i / 6)))
            .collect()
    }

    #[test]
    fn empty_masks_agree_and_an_empty_mask_agrees_with_no_other() {
        let object = block(1..4, 1..4);
        assert_eq!(region_similarity(&NONE, &NONE, &NONE), 1.0);
        assert_eq!(boundary_accuracy(&NONE, &NONE, &NONE, [6, 6]), 1.0);
        for (truth, found) in [(&object[..], &NONE[..]), (&NONE[..], &object[..])] {
            assert_eq!(region_similarity(truth, found, &NONE), 0.0);
            assert_eq!(boundary_accuracy(truth, found, &NONE, [6, 6]), 0.0);
        }
    }

    #[test]
    fn ignored_pixels_count_for_nothing() {
        let (truth, found) = (block(1..4, 1..4), block(1..5, 1..4));
        assert_eq!(region_similarity(&truth, &found, &NONE), 9.0 / 12.0);
        let ignored = block(4..5, 0..6);
        assert_eq!(region_similarity(&truth, &found, &ignored), 1.0);
        assert_eq!(boundary_accuracy(&truth, &found, &ignored, [6, 6]), 1.0);
    }

    #[test]
    fn a_disk_has_the_pixels_within_its_radius() {
        let mut point = vec![false; 49];
        point[24] = true;
        let disk = dilated(&point, [7, 7], 2);
        let expected = |i: usize| (i % 7).abs_diff(3).pow(2) + (i / 7).abs_diff(3).pow(2) <= 4;
        assert_eq!(disk, (0..49).map(expected).collect::<Vec<_>>());
    }
}
