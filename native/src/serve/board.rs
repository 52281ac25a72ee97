//! What a run publishes for those who watch it: its status and the newest weights. The training's thread writes it, and
//! the threads of the connections read it.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use densecl::method::{Figure, Panel};
use densecl_train::config::RunConfig;
use densecl_train::events::{Observer, TrainEvent};
use densecl_train::held_out::HeldOutFigures;
use serde::Serialize;

/// How long a reader waits for weights that are newer than the last ones that were copied. A step of a large run may
/// take longer; the reader then gets the weights that there are.
const WAIT: Duration = Duration::from_secs(10);

/// Somebody who has asked for the status less than this long ago is watching. The page asks every second.
const WATCHING: Duration = Duration::from_secs(10);

/// The part of a run that is going on, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Before the first step.
    Preparing,
    Training,
    /// After the last step.
    Measuring,
    /// All steps were taken and the results are written.
    Ended,
    /// The user stopped it; it can be resumed.
    Stopped,
    /// It ended with an error.
    Failed,
}

/// `status.json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Status {
    densecl_version: &'static str,
    phase: Phase,
    /// The error of a run that failed.
    message: Option<String>,
    /// The training objective and the data, as in the settings; empty before they are read.
    objective: String,
    data: String,
    backbone: &'static str,
    batch_size: usize,
    step: u64,
    /// 0 before the run has started.
    total_steps: u64,
    steps_per_epoch: u64,
    /// The figures of the method in `metrics.jsonl`, and where each is drawn.
    figures: Vec<Shown>,
    /// The measurements on held-out pairs so far.
    measured: Vec<Measured>,
    /// Steps that the newest copied weights have; null before there are any.
    weights_step: Option<u64>,
    /// Whether there are weights of the untrained network.
    untrained: bool,
}

/// A figure of the method, as the page's plot takes it.
#[derive(Debug, Clone, Serialize)]
struct Shown {
    name: &'static str,
    label: &'static str,
    panel: &'static str,
}

impl From<&Figure> for Shown {
    fn from(figure: &Figure) -> Self {
        let panel = match figure.panel {
            Panel::Loss => "loss",
            Panel::Accuracy => "accuracy",
            Panel::Spread => "spread",
            Panel::LossReference => "loss-reference",
            Panel::Hidden => "hidden",
        };
        Self {
            name: figure.name,
            label: figure.label,
            panel,
        }
    }
}

/// A measurement on held-out pairs.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    step: u64,
    #[serde(flatten)]
    figures: HeldOutFigures,
}

/// A whole file of weights. It is never changed, so a reader cannot get half of one and half of another.
type File = Arc<Vec<u8>>;

struct Inner {
    status: Status,
    /// The log of the run, once this run has begun it.
    metrics: Option<PathBuf>,
    untrained: Option<File>,
    newest: Option<File>,
    /// Whether somebody has asked for weights that are newer than `newest`.
    wanted: bool,
    /// When the status was last asked for.
    watched: Option<Instant>,
}

/// The published state of a run.
pub(super) struct Board {
    inner: Mutex<Inner>,
    /// Signalled when `newest` or the phase has changed.
    changed: Condvar,
}

impl Board {
    /// The board of a run that prepares.
    pub(super) fn new() -> Self {
        let status = Status {
            densecl_version: env!("CARGO_PKG_VERSION"),
            phase: Phase::Preparing,
            message: None,
            objective: String::new(),
            data: String::new(),
            backbone: "",
            batch_size: 0,
            step: 0,
            total_steps: 0,
            steps_per_epoch: 0,
            figures: Vec::new(),
            measured: Vec::new(),
            weights_step: None,
            untrained: false,
        };
        let inner = Inner {
            status,
            metrics: None,
            untrained: None,
            newest: None,
            wanted: false,
            watched: None,
        };
        Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    /// A panic of another thread while it held the lock leaves no half-changed state: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters what the settings say.
    pub(super) fn describe(&self, config: &RunConfig) {
        let status = &mut self.lock().status;
        status.objective = config.method.objective();
        status.data.clone_from(&config.data.source);
        status.backbone = config.model.backbone.name();
        status.batch_size = config.train.batch_size;
    }

    /// Enters how the run ended, with the error of one that failed.
    pub(super) fn finish(&self, phase: Phase, message: Option<String>) {
        let status = &mut self.lock().status;
        (status.phase, status.message) = (phase, message);
        self.changed.notify_all();
    }

    /// Whether somebody watches the run.
    pub(super) fn is_watched(&self) -> bool {
        let watched = self.lock().watched;
        watched.is_some_and(|at| at.elapsed() < WATCHING)
    }

    /// `status.json`, for somebody who watches.
    ///
    /// # Errors
    /// When a figure has no JSON form.
    pub(super) fn status(&self) -> anyhow::Result<Vec<u8>> {
        let mut inner = self.lock();
        inner.watched = Some(Instant::now());
        Ok(serde_json::to_vec(&inner.status)?)
    }

    /// The path of `metrics.jsonl`; `None` before this run has begun it, when an earlier run's may be there.
    pub(super) fn metrics(&self) -> Option<PathBuf> {
        self.lock().metrics.clone()
    }

    /// The weights of the untrained network, if it was measured in this run.
    pub(super) fn untrained(&self) -> Option<File> {
        self.lock().untrained.clone()
    }

    /// The newest weights. If steps were taken since the last copy, waits for the next step to end, at most [`WAIT`].
    /// `None` before there are any.
    pub(super) fn newest(&self) -> Option<File> {
        let mut inner = self.lock();
        let known = inner.status.weights_step;
        let ends = inner.status.phase != Phase::Training;
        if known.is_some() && known != Some(inner.status.step) && !ends {
            inner.wanted = true;
            let waits = |inner: &mut Inner| {
                inner.status.weights_step == known && inner.status.phase == Phase::Training
            };
            let waited = self.changed.wait_timeout_while(inner, WAIT, waits);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // The next ones are copied while this reader is busy with these.
        inner.wanted = true;
        inner.newest.clone()
    }
}

/// Writes the events of a run to its board.
pub(super) struct Publisher {
    board: Arc<Board>,
    metrics: PathBuf,
    started: bool,
}

impl Publisher {
    /// `metrics`: the path of the run's log.
    pub(super) fn new(board: Arc<Board>, metrics: PathBuf) -> Self {
        Self {
            board,
            metrics,
            started: false,
        }
    }

    /// Copies the weights if somebody wants them. A failure to do so does not end the run: only those who watch would
    /// notice.
    fn copy(&self, step: u64, file: &dyn Fn() -> anyhow::Result<Vec<u8>>) {
        let wanted = {
            let inner = self.board.lock();
            let last = step > 0 && step == inner.status.total_steps;
            !self.started || last || inner.wanted || inner.newest.is_none()
        };
        if !wanted {
            return;
        }
        // Without the lock: reading from the device takes a while, and the status stays readable.
        let file = match file() {
            Ok(file) => Arc::new(file),
            Err(error) => {
                log::warn!("the weights of step {step} cannot be served: {error:#}");
                return;
            }
        };
        let mut inner = self.board.lock();
        if self.started {
            inner.newest = Some(file);
            inner.status.weights_step = Some(step);
            inner.wanted = false;
            self.board.changed.notify_all();
        } else {
            inner.untrained = Some(file);
            inner.status.untrained = true;
        }
    }
}

impl Observer for Publisher {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started {
                step,
                total_steps,
                steps_per_epoch,
                figures,
            } => {
                self.started = true;
                let mut inner = self.board.lock();
                inner.metrics = Some(self.metrics.clone());
                let status = &mut inner.status;
                status.phase = Phase::Training;
                (status.step, status.total_steps) = (*step, *total_steps);
                status.steps_per_epoch = *steps_per_epoch;
                status.figures = figures.iter().map(Shown::from).collect();
            }
            TrainEvent::Stepped { step } => self.board.lock().status.step = *step,
            TrainEvent::Weights { step, file } => {
                self.copy(*step, *file);
                let status = &mut self.board.lock().status;
                if self.started && *step == status.total_steps {
                    status.phase = Phase::Measuring;
                    self.board.changed.notify_all();
                }
            }
            TrainEvent::Measured { step, measured } => {
                let measured = Measured {
                    step: *step,
                    figures: (*measured).clone(),
                };
                self.board.lock().status.measured.push(measured);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    fn started(total_steps: u64) -> (Arc<Board>, Publisher) {
        let board = Arc::new(Board::new());
        let mut publisher = Publisher::new(Arc::clone(&board), PathBuf::from("metrics.jsonl"));
        let event = TrainEvent::Started {
            step: 0,
            total_steps,
            steps_per_epoch: 1,
            figures: &[],
        };
        publisher.event(&event).expect("nothing fails");
        (board, publisher)
    }

    /// Takes a step whose file of weights is its number; counts the files that are made.
    fn step(publisher: &mut Publisher, step: u64, made: &AtomicU64) {
        let file = || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(step.to_le_bytes().to_vec())
        };
        for event in [
            TrainEvent::Stepped { step },
            TrainEvent::Weights { step, file: &file },
        ] {
            publisher.event(&event).expect("nothing fails");
        }
    }

    /// The step in whose file these bytes are.
    fn number_of(file: &[u8]) -> u64 {
        u64::from_le_bytes(file.try_into().expect("8 bytes"))
    }

    #[test]
    fn weights_are_copied_only_when_somebody_asks() {
        let (board, mut publisher) = started(u64::MAX);
        let made = AtomicU64::new(0);
        assert!(board.newest().is_none());
        for number in 0..5 {
            step(&mut publisher, number, &made);
        }
        assert_eq!(made.load(Ordering::SeqCst), 1, "the first ones, once");
        let reader = {
            let board = Arc::clone(&board);
            thread::spawn(move || number_of(&board.newest().expect("weights")))
        };
        // The reader waits for a step after its request; how many are taken until then is not known.
        let mut number = 4;
        while !reader.is_finished() {
            number += 1;
            step(&mut publisher, number, &made);
            thread::sleep(Duration::from_millis(1));
        }
        let read = reader.join().expect("no panic");
        assert!(read > 4, "weights of step {read}");
        let before = made.load(Ordering::SeqCst);
        for more in 1..5 {
            step(&mut publisher, number + more, &made);
        }
        let after = made.load(Ordering::SeqCst);
        assert!(after - before <= 1, "{before} {after}");
    }

    #[test]
    fn the_last_weights_are_there_without_waiting() {
        let (board, mut publisher) = started(3);
        let made = AtomicU64::new(0);
        for number in 0..=3 {
            step(&mut publisher, number, &made);
        }
        let begun = Instant::now();
        assert_eq!(number_of(&board.newest().expect("weights")), 3);
        assert!(begun.elapsed() < WAIT / 2);
        let status = String::from_utf8(board.status().expect("JSON")).expect("UTF-8");
        assert!(status.contains(r#""phase":"measuring""#), "{status}");
        assert!(board.is_watched());
    }

    #[test]
    fn weights_that_cannot_be_read_end_nothing() {
        let (board, mut publisher) = started(3);
        let file = || anyhow::bail!("the device is lost");
        let event = TrainEvent::Weights {
            step: 1,
            file: &file,
        };
        publisher.event(&event).expect("the run goes on");
        assert!(board.newest().is_none());
    }
}
