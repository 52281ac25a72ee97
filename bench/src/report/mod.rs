//! What came of all rows; as a table, as JSON, and as curves.

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

/// One run of the program.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// As it was started.
    pub(crate) command: String,
    /// UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// Versions and device of densecl.
    pub(crate) ours: Greeting,
    /// Of PyTorch, where there is one.
    pub(crate) theirs: Option<Greeting>,
    /// Paired runs of each row.
    pub(crate) runs: u16,
    /// A run repeats its work for at least so many seconds.
    pub(crate) least_seconds: f64,
    /// Tiny sizes: no figures to quote.
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Measured>,
}

/// A row and its figures.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) group: Group,
    pub(crate) name: String,
    pub(crate) threads: u16,
    /// Images of one iteration; none where the time itself is shown.
    pub(crate) images: Option<usize>,
    /// The curves that the row is a point of: axis and place.
    pub(crate) points: Vec<(Axis, usize)>,
    /// What both sides did when asked; none for whole programs.
    pub(crate) work: Option<Work>,
    /// Ours first, then theirs.
    pub(crate) contenders: Vec<Figures>,
    /// The fastest of theirs.
    pub(crate) best: Option<String>,
    /// Our speed over that of the fastest of theirs, run by run.
    pub(crate) ratio: Option<Spread>,
}

impl Measured {
    /// # Panics
    /// When there is no contender.
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

    /// densecl's.
    pub(crate) fn ours(&self) -> &Figures {
        &self.contenders[0]
    }

    /// PyTorch's, all ways of asking it.
    pub(crate) fn theirs(&self) -> &[Figures] {
        &self.contenders[1..]
    }

    /// PyTorch's fastest.
    pub(crate) fn best(&self) -> Option<&Figures> {
        self.theirs()
            .iter()
            .find(|figures| Some(&figures.name) == self.best.as_ref())
    }

    /// A line while the program goes on.
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
