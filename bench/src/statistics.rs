//! Median and quartiles of a few runs.

use serde::Serialize;

/// Median and quartiles of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the values are below.
    pub(crate) median: f64,
    /// A quarter of the values are below.
    pub(crate) low: f64,
    /// A quarter of the values are above.
    pub(crate) high: f64,
}

impl Spread {
    /// The spread of at least one value; quartiles between two values are interpolated linearly.
    ///
    /// # Panics
    /// If `values` is empty.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (
                sorted[place.floor() as usize],
                sorted[place.ceil() as usize],
            );
            below + (above - below) * place.fract()
        };
        Self {
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
        }
    }

    /// Half the distance between the quartiles, as a share of the median.
    pub(crate) fn relative(self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        let one = Spread::of(&[3.0]);
        assert_eq!((one.low, one.median, one.high), (3.0, 3.0, 3.0));
        let five = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!((five.low, five.median, five.high), (2.0, 3.0, 4.0));
        let even = Spread::of(&[1.0, 2.0, 3.0, 5.0]);
        assert_eq!((even.low, even.median, even.high), (1.75, 2.5, 3.5));
        assert_eq!(Spread::of(&[2.0, 4.0]).relative(), 0.5 / 3.0);
    }
}
