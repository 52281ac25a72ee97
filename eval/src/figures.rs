//! The figures of evaluations, their summary over seeds, and confidence intervals.

use serde::{Deserialize, Serialize};

use super::Measured;

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A share in [0, 1]; tables show it in percent.
    Share,
    /// Pixels of the pictures on disk.
    Pixels,
    /// A count.
    Count,
}

impl Unit {
    /// Formats a value for a table: shares in percent.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.1}", 100.0 * value),
            Self::Pixels => format!("{value:.1}"),
            Self::Count => format!("{value:.0}"),
        }
    }

    /// The symbol of the unit, shown after a figure's name.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Share => "%",
            Self::Pixels => "px",
            Self::Count => "",
        }
    }
}

/// One measured value of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Name, such as `mIoU`.
    pub name: String,
    /// Value in its unit.
    pub value: f64,
    /// Unit of the value.
    pub unit: Unit,
    /// `None` for values that do not measure the backbone: chance levels and counts.
    pub higher_is_better: Option<bool>,
    /// 95 % confidence interval over the evaluation's pictures, see [`bootstrap`].
    pub interval: Option<[f64; 2]>,
}

impl Figure {
    /// A share in [0, 1]; higher is better.
    pub fn share(name: &str, value: f64) -> Self {
        Self {
            name: name.to_string(),
            value,
            unit: Unit::Share,
            higher_is_better: Some(true),
            interval: None,
        }
    }

    /// An error in pixels; lower is better.
    pub fn error_pixels(name: &str, value: f64) -> Self {
        Self {
            unit: Unit::Pixels,
            higher_is_better: Some(false),
            ..Self::share(name, value)
        }
    }

    /// A count.
    pub fn count(name: &str, value: usize) -> Self {
        Self {
            unit: Unit::Count,
            higher_is_better: None,
            ..Self::share(name, value as f64)
        }
    }

    /// Marks the figure as a baseline, which does not measure the backbone.
    pub fn baseline(self) -> Self {
        Self {
            higher_is_better: None,
            ..self
        }
    }

    /// Adds a confidence interval over pictures.
    pub fn with_interval(self, interval: Option<[f64; 2]>) -> Self {
        Self { interval, ..self }
    }
}

/// What varies in a confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// Pictures: bootstrap over the pictures of the first seed.
    Pictures,
    /// Seeds: Student's t over the seeds.
    Seeds,
}

/// A figure summarised over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name, such as `mIoU`.
    pub name: String,
    /// Unit of all values.
    pub unit: Unit,
    /// `null` for values that do not measure the backbone.
    pub higher_is_better: Option<bool>,
    /// The value of each seed.
    pub values: Vec<f64>,
    /// Mean of the values.
    pub mean: f64,
    /// Sample standard deviation of the values (n − 1); `null` for a single seed.
    pub deviation: Option<f64>,
    /// 95 % confidence interval of the mean.
    pub interval: Option<[f64; 2]>,
    /// What varies in the interval.
    pub interval_over: Option<Over>,
}

impl Summary {
    /// Summarises each figure over the seeds. Where the values differ, the interval is Student's t over the seeds;
    /// where they are equal, or with a single seed, it is the figure's own interval over pictures.
    ///
    /// # Panics
    /// When the seeds have figures of different names.
    pub fn over_seeds(measured: &[Measured]) -> Vec<Self> {
        let Some(first) = measured.first() else {
            return Vec::new();
        };
        let of_figure = |(index, figure): (usize, &Figure)| {
            let values: Vec<f64> = measured
                .iter()
                .map(|one| {
                    let same = &one.figures[index];
                    assert_eq!(same.name, figure.name, "the same figures for every seed");
                    same.value
                })
                .collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
            let (interval, interval_over) = match deviation {
                // Chance levels and counts are the same for every seed.
                Some(deviation) if deviation > 0.0 => {
                    let half = t_975(values.len() - 1) * deviation / n.sqrt();
                    (Some([mean - half, mean + half]), Some(Over::Seeds))
                }
                _ => (figure.interval, figure.interval.map(|_| Over::Pictures)),
            };
            Self {
                name: figure.name.clone(),
                unit: figure.unit,
                higher_is_better: figure.higher_is_better,
                values,
                mean,
                deviation,
                interval,
                interval_over,
            }
        };
        first.figures.iter().enumerate().map(of_figure).collect()
    }

    /// Formats `mean ± deviation` in the unit shown in tables.
    pub fn show(&self) -> String {
        match self.deviation {
            Some(deviation) if deviation > 0.0 => format!(
                "{} ± {}",
                self.unit.show(self.mean),
                self.unit.show(deviation)
            ),
            _ => self.unit.show(self.mean),
        }
    }
}

/// The 97.5 % quantile of Student's t with `freedom` ≥ 1 degrees. Above 30 degrees the quantile of 31 or 60 degrees is
/// used, which is at most 2.1 % too large.
fn t_975(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    match freedom {
        0..=30 => TABLE[freedom.saturating_sub(1)],
        31..=60 => 2.040,
        _ => 2.000,
    }
}

/// Number of bootstrap samples for an interval.
const RESAMPLES: usize = 1000;

/// A 95 % percentile-bootstrap interval of a figure over `count` pictures. `figure` is called 1000 times with the
/// indices of `count` pictures drawn with replacement. `None` for fewer than two pictures, or when too many of the
/// samples have no defined figure. A pure function of its arguments.
pub fn bootstrap(
    count: usize,
    figure: impl Fn(&[usize]) -> Option<f64> + Sync,
) -> Option<[f64; 2]> {
    use densecl::rng::{Purpose, stream};
    use rand::RngExt;
    use rayon::prelude::*;

    if count < 2 {
        return None;
    }
    let mut values: Vec<f64> = (0..RESAMPLES)
        .into_par_iter()
        .filter_map(|draw| {
            let mut rng = stream(0, Purpose::Bootstrap, draw as u64);
            let drawn: Vec<usize> = (0..count).map(|_| rng.random_range(0..count)).collect();
            figure(&drawn).filter(|value| value.is_finite())
        })
        .collect();
    if values.len() < RESAMPLES / 2 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(value: f64) -> Measured {
        Measured {
            figures: vec![Figure::share("mIoU", value).with_interval(Some([0.1, 0.9]))],
            ..Measured::default()
        }
    }

    #[test]
    fn seeds_give_mean_deviation_and_students_interval() {
        // scipy.stats.t.interval(0.95, 2, loc=0.5, scale=0.1/sqrt(3)) = (0.25159, 0.74841)
        let summary = &Summary::over_seeds(&[measured(0.4), measured(0.5), measured(0.6)])[0];
        assert!((summary.mean - 0.5).abs() < 1e-12);
        assert!((summary.deviation.expect("three seeds") - 0.1).abs() < 1e-12);
        let [low, high] = summary.interval.expect("three seeds");
        assert!((low - 0.25159).abs() < 1e-4 && (high - 0.74841).abs() < 1e-4);
        assert_eq!(summary.interval_over, Some(Over::Seeds));
        assert_eq!(summary.show(), "50.0 ± 10.0");
    }

    #[test]
    fn one_seed_keeps_the_interval_over_pictures() {
        let summary = &Summary::over_seeds(&[measured(0.4)])[0];
        assert_eq!(summary.deviation, None);
        assert_eq!(summary.interval, Some([0.1, 0.9]));
        assert_eq!(summary.interval_over, Some(Over::Pictures));
    }

    #[test]
    fn the_bootstrap_of_a_mean_is_its_normal_interval() {
        let values: Vec<f64> = (0..200).map(f64::from).collect();
        let mean = |drawn: &[usize]| {
            Some(drawn.iter().map(|&i| values[i]).sum::<f64>() / drawn.len() as f64)
        };
        let [low, high] = bootstrap(values.len(), mean).expect("200 pictures");
        // The normal interval is 99.5 ± 1.96 · 57.7 / √200, from mean, standard deviation and count; 1000 draws come
        // within 1 of it.
        assert!(
            (low - 91.5).abs() < 1.0 && (high - 107.5).abs() < 1.0,
            "{low} {high}"
        );
        assert_eq!(bootstrap(200, mean), bootstrap(200, mean));
        assert_eq!(bootstrap(1, mean), None);
        assert_eq!(bootstrap(9, |_| None), None);
    }
}
