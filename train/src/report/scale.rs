//! Axis ranges, labels, smoothing and thinning for the figure of the curves.

use std::ops::Range;

/// Range and number format of a panel's axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Axis {
    /// From the smallest to the largest value.
    Fitted,
    /// From 0.
    FromZero,
    /// Shares in [0, 1], from 0, shown in percent.
    Percent,
}

impl Axis {
    /// The label of a tick mark.
    pub(super) fn tick(self, value: f64) -> String {
        match self {
            Axis::Percent => format!("{} %", number(value * 100.0)),
            _ => number(value),
        }
    }

    /// A value to three significant digits; from 1000 on to whole numbers.
    pub(super) fn single(self, value: f64) -> String {
        let (shown, unit) = if self == Axis::Percent {
            (value * 100.0, " %")
        } else {
            (value, "")
        };
        if shown.abs() < 1e-3 {
            return number(shown) + unit;
        }
        let decimals = (2.0 - shown.abs().log10().floor()).max(0.0) as usize;
        format!("{shown:.decimals$}{unit}")
    }

    /// The range of values to show: all averages, and the logged values without the outermost 1 % on either side, so
    /// that a single spike does not flatten the rest. Never empty.
    pub(super) fn range<'v>(
        self,
        averages: impl Iterator<Item = &'v [f64]>,
        logged: impl Iterator<Item = &'v [f64]>,
    ) -> Range<f64> {
        let finite = |values: &'v [f64]| values.iter().copied().filter(|v| v.is_finite());
        let mut ends: Vec<f64> = averages.flat_map(finite).collect();
        for values in logged {
            let mut sorted: Vec<f64> = finite(values).collect();
            sorted.sort_by(f64::total_cmp);
            if let Some(last) = sorted.len().checked_sub(1) {
                let outermost = sorted.len() / 100;
                ends.extend([sorted[outermost], sorted[last - outermost]]);
            }
        }
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return 0.0..1.0;
        }
        let low = if self == Axis::Fitted {
            low
        } else {
            low.min(0.0)
        };
        let pad = 0.06 * (high - low);
        // A nearly constant curve gets an axis on the scale of its value.
        let pad = if pad > 1e-6 * high.abs() {
            pad
        } else {
            0.1 * high.abs()
        };
        let pad = if pad > 0.0 { pad } else { 1.0 };
        let low = if low < 0.0 || self == Axis::Fitted {
            low - pad
        } else {
            0.0
        };
        low..high + pad
    }
}

/// The shortest form of a number: up to five decimals, powers of ten for very small and large ones.
fn number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        // Two digits suffice: tick marks are multiples of 1, 2 or 5, but have rounding errors.
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    (if text == "-0" { "0" } else { text }).to_string()
}

/// A step count, such as 800, 1500, 20k or 3M; empty for values that are no whole steps.
pub(super) fn step_label(step: f64) -> String {
    match step {
        s if s.fract().abs() > 1e-6 => String::new(),
        s if s.abs() >= 1e6 => format!("{}M", number(s / 1e6)),
        s if s.abs() >= 1e4 => format!("{}k", number(s / 1e3)),
        s => number(s),
    }
}

/// From the first step to the last; never empty.
pub(super) fn x_range(steps: &[f64]) -> Range<f64> {
    match (steps.first(), steps.last()) {
        (Some(&first), Some(&last)) if last > first => first..last,
        (Some(&only), _) => only - 1.0..only + 1.0,
        _ => 0.0..1.0,
    }
}

/// The mean over a window of a fortieth of all rows, centred at each; rows without a value keep none. Fewer than 80
/// rows are not averaged.
pub(super) fn moving_average(values: &[f64]) -> Vec<f64> {
    let half = values.len() / 80;
    // Prefix sums and counts, so that the mean of a window takes two subtractions.
    let mut before = vec![(0f64, 0u32)];
    let (mut sum, mut count) = (0f64, 0u32);
    for value in values {
        if value.is_finite() {
            sum += value;
            count += 1;
        }
        before.push((sum, count));
    }
    let mean = |(i, &value): (usize, &f64)| {
        if half == 0 || !value.is_finite() {
            return value;
        }
        let (from, to) = (
            before[i.saturating_sub(half)],
            before[(i + half + 1).min(values.len())],
        );
        (to.0 - from.0) / f64::from(to.1 - from.1)
    };
    values.iter().enumerate().map(mean).collect()
}

/// The points of a curve. A long one is reduced to the smallest and largest value of every bucket of rows, because
/// the figure has no more columns. Gaps shorter than a bucket are closed.
pub(super) fn envelope(steps: &[f64], values: &[f64]) -> Vec<(f64, f64)> {
    const BUCKETS: usize = 500;
    let points: Vec<(f64, f64)> = steps.iter().copied().zip(values.iter().copied()).collect();
    if points.len() <= 2 * BUCKETS {
        return points;
    }
    let ends = |bucket: &[(f64, f64)]| {
        let finite = || bucket.iter().copied().filter(|point| point.1.is_finite());
        let least = finite().min_by(|p, q| p.1.total_cmp(&q.1));
        let greatest = finite().max_by(|p, q| p.1.total_cmp(&q.1));
        let mut ends = match (least, greatest) {
            (Some(least), Some(greatest)) => vec![least, greatest],
            _ => vec![(bucket[0].0, f64::NAN)],
        };
        ends.sort_by(|p, q| p.0.total_cmp(&q.0));
        ends
    };
    points
        .chunks(points.len().div_ceil(BUCKETS))
        .flat_map(ends)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_and_keeps_gaps() {
        let mut values: Vec<f64> = (0..400)
            .map(|i| 3.0 + if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        values[200] = f64::NAN;
        let smooth = moving_average(&values);
        assert!(smooth[200].is_nan());
        let off = smooth
            .iter()
            .filter(|v| v.is_finite())
            .map(|v| (v - 3.0).abs())
            .fold(0.0, f64::max);
        assert!(off < 0.25, "the alternation is averaged out, found {off}");
        assert_eq!(moving_average(&[1.0, 5.0]), [1.0, 5.0]);
    }

    #[test]
    fn axes_are_never_empty_and_bear_spikes() {
        let range = |axis: Axis, values: Vec<f64>| {
            let smooth = moving_average(&values);
            axis.range(std::iter::once(&smooth[..]), std::iter::once(&values[..]))
        };
        for axis in [Axis::Fitted, Axis::FromZero, Axis::Percent] {
            for values in [
                vec![],
                vec![f64::NAN],
                vec![0.0],
                vec![0.3; 5],
                vec![-2.0; 5],
            ] {
                let range = range(axis, values.clone());
                assert!(range.start < range.end, "{values:?} gave {range:?}");
            }
        }
        assert_eq!(range(Axis::FromZero, vec![0.3; 5]).start, 0.0);
        let mut spike = vec![1.0; 1000];
        spike[500] = 100.0;
        assert!(range(Axis::Fitted, spike).end < 10.0);
    }

    #[test]
    fn long_curves_keep_their_extremes_and_gaps() {
        let steps: Vec<f64> = (0..50_000).map(f64::from).collect();
        let mut values = vec![0.0; steps.len()];
        values[123] = 7.0;
        values[30_000..30_200].fill(f64::NAN);
        let points = envelope(&steps, &values);
        assert!(points.len() <= 1000 && points.is_sorted_by(|p, q| p.0 <= q.0));
        assert!(points.contains(&(123.0, 7.0)) && points.iter().any(|p| p.1.is_nan()));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.30000000000000004, 12.5, 2e-4, 0.03, 1.5e-5].map(number);
        assert_eq!(texts, ["0", "0.3", "12.5", "2e-4", "0.03", "1.5e-5"]);
        assert_eq!(
            [1.5, 800.0, 20_000.0, 2.5e6].map(step_label),
            ["", "800", "20k", "2.5M"]
        );
        assert_eq!(Axis::Percent.single(0.12345), "12.3 %");
        assert_eq!(Axis::Fitted.single(4.5), "4.50");
        assert_eq!(Axis::FromZero.single(1234.5), "1234");
        assert_eq!(Axis::FromZero.single(0.0), "0");
    }
}
