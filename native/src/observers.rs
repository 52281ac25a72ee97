//! Those who listen to a run: the terminal, `metrics.jsonl`, TensorBoard.

use std::io::Cursor;
use std::time::{Duration, Instant};

use image::ImageFormat;
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;
use crate::events::{Observer, TrainEvent};
use crate::report::{JsonlWriter, MetricRow, TensorBoardWriter};

/// Rows to `metrics.jsonl`.
impl Observer for JsonlWriter {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Row(row) => self.write(row),
            _ => Ok(()),
        }
    }
}

/// Scalars and pictures to TensorBoard.
impl Observer for TensorBoardWriter {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Row(row) => {
                let scalars = [
                    ("loss/total", Some(row.loss)),
                    ("loss/global", Some(row.loss_global)),
                    ("loss/dense", Some(row.loss_dense)),
                    ("loss/in_view", row.loss_in_view),
                    ("accuracy/global", Some(row.accuracy_global)),
                    ("accuracy/dense", Some(row.accuracy_dense)),
                    ("accuracy/in_view", row.accuracy_in_view),
                    ("correspondence/accuracy", row.correspondence_accuracy),
                    ("correspondence/chance", row.correspondence_chance),
                    ("correspondence/same_place", row.correspondence_same_place),
                    ("correspondence/overlap", row.overlap),
                    ("features/std", Some(row.feature_std)),
                    ("optim/grad_norm", Some(row.grad_norm)),
                    ("optim/learning_rate", Some(row.learning_rate)),
                    ("optim/loss_scale", row.loss_scale),
                    ("optim/skipped_steps", row.skipped_steps.map(|n| n as f64)),
                    ("speed/images_per_second", Some(row.images_per_second)),
                    ("speed/data_wait_share", Some(row.data_wait_share)),
                    (
                        "memory/resident_bytes",
                        row.resident_bytes.map(|n| n as f64),
                    ),
                ];
                for (tag, value) in scalars {
                    if let Some(value) = value {
                        self.scalar(tag, row.step, value)?;
                    }
                }
                Ok(())
            }
            TrainEvent::Measured { step, measured } => {
                self.scalar("correspondence/held_out", *step, measured.accuracy)
            }
            TrainEvent::Picture { tag, step, image } => {
                let mut png = Vec::new();
                image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png)?;
                self.image(tag, *step, &png, image.width(), image.height())
            }
            TrainEvent::Saved { .. } | TrainEvent::Ended => self.flush(),
            _ => Ok(()),
        }
    }
}

/// A progress bar where someone watches, a line now and then where not.
pub(crate) struct Terminal {
    bar: ProgressBar,
    last_line: Option<Instant>,
    /// The last row, unless it stands in a line already.
    untold: Option<MetricRow>,
    total_steps: u64,
    epochs: u64,
}

/// Time between lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);

impl Terminal {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        // Two lines, each of which fits in 80 columns.
        let style = ProgressStyle::with_template(
            "{bar:24.cyan/dim} {pos}/{len} · {eta} left{prefix}\n{wide_msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        console::keep_above(&bar);
        Self {
            bar,
            last_line: None,
            untold: None,
            total_steps: 0,
            epochs: 0,
        }
    }

    fn tell(&self, row: &MetricRow) {
        let (step, total) = (row.step, self.total_steps);
        console::note(format_args!(
            "step {step}/{total}{} · {}",
            pace(row, self.epochs),
            figures(row)
        ));
    }
}

/// How far and how fast.
fn pace(row: &MetricRow, epochs: u64) -> String {
    let skipped = match row.skipped_steps {
        Some(steps) if steps > 0 => format!(" · {steps} skipped"),
        _ => String::new(),
    };
    format!(
        " · epoch {:.1}/{epochs} · {:.1} img/s{skipped}",
        row.epoch, row.images_per_second
    )
}

/// How well, in about 80 columns: the losses, the share of right matches, and what random ones and
/// those at the same place would reach.
fn figures(row: &MetricRow) -> String {
    let percent = |share: Option<f64>| {
        share.map_or("–".to_string(), |share| format!("{:.1}", 100.0 * share))
    };
    let in_view = row
        .loss_in_view
        .map_or(String::new(), |loss| format!(", in view {loss:.2}"));
    format!(
        "loss global {:.2}, dense {:.2}{in_view} · correspondence {} % (chance {}, place {})",
        row.loss_global,
        row.loss_dense,
        percent(row.correspondence_accuracy),
        percent(row.correspondence_chance),
        percent(row.correspondence_same_place),
    )
}

impl Observer for Terminal {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started {
                step,
                total_steps,
                steps_per_epoch,
            } => {
                self.total_steps = *total_steps;
                self.epochs = total_steps.div_ceil(*steps_per_epoch);
                self.bar.set_length(*total_steps);
                self.bar.set_position(*step);
                // Without this the time before the resume counts as time for the steps after it.
                self.bar.reset_eta();
            }
            TrainEvent::Stepped { step } => self.bar.set_position(*step),
            TrainEvent::Row(row) => {
                self.bar.set_prefix(pace(row, self.epochs));
                self.bar.set_message(figures(row));
                let due = self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY);
                if self.bar.is_hidden() && due {
                    self.tell(row);
                    self.last_line = Some(Instant::now());
                    self.untold = None;
                } else {
                    self.untold = Some((*row).clone());
                }
            }
            TrainEvent::Note(text) => console::note(text),
            TrainEvent::Measured { step, measured } => console::note(format_args!(
                "step {step}: correspondence accuracy {:.1} % on {} held-out pairs ({} cells, chance \
                 {:.1} %)",
                100.0 * measured.accuracy,
                measured.pairs,
                measured.cells,
                100.0 * measured.chance,
            )),
            TrainEvent::Saved { path } => log::debug!("saved {}", path.display()),
            TrainEvent::Picture { .. } => {}
            TrainEvent::Ended => {
                self.bar.finish_and_clear();
                if let Some(row) = self.untold.take() {
                    self.tell(&row);
                }
            }
        }
        Ok(())
    }
}
