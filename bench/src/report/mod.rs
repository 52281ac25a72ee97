//! The results of all rows, written as a table, as JSON and as a plot.

pub(crate) mod plot;
pub(crate) mod table;

use serde::Serialize;

use crate::cli::Group;
use crate::machine::Machine;
use crate::measure::Figures;
use crate::protocol::Greeting;
use crate::rows::{Axis, Job, Row};
use crate::statistics::Spread;
use crate::work::Work;

/// The results of one benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The command line that started it.
    pub(crate) command: String,
    /// When it started, in UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// Versions and device of densecl.
    pub(crate) ours: Greeting,
    /// Versions and device of PyTorch; none if it was not measured.
    pub(crate) theirs: Option<Greeting>,
    /// Number of paired runs of each row.
    pub(crate) runs: u16,
    /// A run repeats its work for at least this many seconds.
    pub(crate) least_seconds: f64,
    /// Whether tiny sizes were used, whose figures are not worth quoting.
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Measured>,
}

/// A row and its figures.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) group: Group,
    pub(crate) name: String,
    pub(crate) threads: u16,
    /// Images per iteration for rows shown in images/s; none for rows shown as a time.
    pub(crate) images: Option<usize>,
    /// The points that this row adds to the plot: the axis, and the value on it.
    pub(crate) points: Vec<(Axis, usize)>,
    /// The work that the worker processes did; none if whole programs were run.
    pub(crate) work: Option<Work>,
    /// densecl's results, followed by those of the PyTorch variants.
    pub(crate) contenders: Vec<Figures>,
    /// Name of the fastest PyTorch variant.
    pub(crate) best: Option<String>,
    /// densecl's speed divided by that of the fastest PyTorch variant, computed for each pair of runs.
    pub(crate) ratio: Option<Spread>,
}

impl Measured {
    /// Chooses the fastest PyTorch variant and compares densecl with it.
    ///
    /// # Panics
    /// If there is no contender.
    pub(crate) fn new(row: Row, contenders: Vec<Figures>) -> Self {
        let (ours, theirs) = contenders
            .split_first()
            .expect("ours takes part in every row");
        let median =
            |figures: &Figures| figures.spread.map_or(f64::INFINITY, |spread| spread.median);
        let finished = theirs.iter().filter(|figures| figures.spread.is_some());
        let best = finished.min_by(|a, b| median(a).total_cmp(&median(b)));
        let ratio = best.filter(|_| ours.spread.is_some()).map(|best| {
            let pairs = best.seconds.iter().zip(&ours.seconds);
            Spread::of(
                &pairs
                    .map(|(theirs, ours)| theirs / ours)
                    .collect::<Vec<_>>(),
            )
        });
        Self {
            group: row.group,
            name: row.name,
            threads: row.threads,
            images: row.images,
            points: row.points,
            work: match row.job {
                Job::Work(work) => Some(work),
                Job::Programs { .. } => None,
            },
            best: best.map(|figures| figures.name.clone()),
            ratio,
            contenders,
        }
    }

    /// densecl's results.
    pub(crate) fn ours(&self) -> &Figures {
        &self.contenders[0]
    }

    /// The results of all PyTorch variants.
    pub(crate) fn theirs(&self) -> &[Figures] {
        &self.contenders[1..]
    }

    /// The results of the fastest PyTorch variant.
    pub(crate) fn best(&self) -> Option<&Figures> {
        self.theirs()
            .iter()
            .find(|figures| Some(&figures.name) == self.best.as_ref())
    }

    /// The row in one line, printed as soon as it is measured.
    pub(crate) fn line(&self) -> String {
        let of = |figures: &Figures| format!("{} {}", figures.name, table::value(self, figures));
        let all: Vec<String> = self.contenders.iter().map(of).collect();
        let threads = if self.threads == 1 {
            "thread"
        } else {
            "threads"
        };
        format!(
            "{}, {} {threads}: {}",
            self.name,
            self.threads,
            all.join(" · ")
        )
    }
}
