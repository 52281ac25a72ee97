//! The writers of `metrics.jsonl` and of TensorBoard's files as observers of a run.

use std::io::Cursor;

use image::ImageFormat;

use super::{JsonlWriter, TensorBoardWriter};
use crate::events::{Observer, TrainEvent};

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
