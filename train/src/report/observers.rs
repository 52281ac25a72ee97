//! Observers that write `metrics.jsonl` and TensorBoard's event files.

use std::io::Cursor;

use image::ImageFormat;

use super::{JsonlWriter, TensorBoardWriter};
use crate::events::{Observer, TrainEvent};

/// Appends each logged row to `metrics.jsonl`.
impl Observer for JsonlWriter {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Row(row) => self.write(row),
            _ => Ok(()),
        }
    }
}

/// Writes scalars and pictures for TensorBoard.
impl Observer for TensorBoardWriter {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Started { figures, .. } => {
                self.figures = figures.to_vec();
                Ok(())
            }
            TrainEvent::Row(row) => {
                for figure in self.figures.clone() {
                    let value = row.figure(figure.name);
                    if !figure.tag.is_empty() && !value.is_nan() {
                        self.scalar(figure.tag, row.step, value)?;
                    }
                }
                let scalars = [
                    ("correspondence/accuracy", row.correspondence_accuracy),
                    ("correspondence/chance", row.correspondence_chance),
                    ("correspondence/same_place", row.correspondence_same_place),
                    ("correspondence/overlap", row.overlap),
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
