//! Shows a training run in a terminal.

use std::time::{Duration, Instant};

use densecl::method::Panel;
use densecl_train::events::{Observer, TrainEvent};
use densecl_train::row::MetricRow;
use indicatif::{ProgressBar, ProgressStyle};

use crate::console;

/// Shows a progress bar on a terminal; elsewhere writes a line every [`LINE_EVERY`].
pub(crate) struct Terminal {
    bar: ProgressBar,
    last_line: Option<Instant>,
    /// The last row, if it has not been written as a line yet.
    untold: Option<MetricRow>,
    total_steps: u64,
    epochs: u64,
    /// The parts of the method's total loss, as (name, label).
    losses: Vec<(&'static str, &'static str)>,
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
            losses: Vec::new(),
        }
    }

    fn tell(&self, row: &MetricRow) {
        let (step, total) = (row.step, self.total_steps);
        console::note(format_args!(
            "step {step}/{total}{} · {}",
            pace(row, self.epochs),
            figures(row, &self.losses)
        ));
    }
}

/// Progress and speed.
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

/// The losses, and of a step that matches cells the share of right matches, for comparison with that of random
/// matches and of matches at the same position, in about 80 columns.
fn figures(row: &MetricRow, losses: &[(&str, &str)]) -> String {
    let parts = losses
        .iter()
        .map(|(name, label)| format!("{label} {:.2}", row.figure(name)));
    let parts: Vec<String> = parts.collect();
    let loss = if parts.is_empty() {
        format!("loss {:.2}", row.loss)
    } else {
        format!("loss {}", parts.join(", "))
    };
    let percent = |share: Option<f64>| {
        share.map_or("–".to_string(), |share| format!("{:.1}", 100.0 * share))
    };
    match row.correspondence_accuracy {
        None => loss,
        Some(right) => format!(
            "{loss} · correspondence {:.1} % (chance {}, place {})",
            100.0 * right,
            percent(row.correspondence_chance),
            percent(row.correspondence_same_place),
        ),
    }
}

impl Observer for Terminal {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started {
                step,
                total_steps,
                steps_per_epoch,
                figures,
            } => {
                let losses = figures
                    .iter()
                    .filter(|figure| figure.panel == Panel::Loss && figure.name != "loss");
                self.losses = losses.map(|figure| (figure.name, figure.label)).collect();
                self.total_steps = *total_steps;
                self.epochs = total_steps.div_ceil(*steps_per_epoch);
                self.bar.set_length(*total_steps);
                self.bar.set_position(*step);
                // Steps taken before a resume must not enter the estimate of the time left.
                self.bar.reset_eta();
            }
            TrainEvent::Stepped { step } => self.bar.set_position(*step),
            TrainEvent::Row(row) => {
                self.bar.set_prefix(pace(row, self.epochs));
                self.bar.set_message(figures(row, &self.losses));
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
            TrainEvent::Picture { .. } | TrainEvent::Weights { .. } => {}
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
