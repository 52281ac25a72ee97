//! Trains for a few steps on a folder of photographs and prints the figures.
//!
//! ```sh
//! cargo run --release --example train_on_a_folder -- photos 20
//! ```

use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use densecl::device::{DeviceChoice, select};
use densecl_train::events::{Observer, TrainEvent};
use densecl_train::run::{PreparedRun, RunRequest};

/// Receives the events of the run; the library itself prints nothing.
struct Printer;

impl Observer for Printer {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        match event {
            TrainEvent::Row(row) => println!(
                "step {:3}: loss {:.3}, {:.0} % of the matches are right, by chance {:.0} %",
                row.step,
                row.loss,
                100.0 * row.correspondence_accuracy.unwrap_or(f64::NAN),
                100.0 * row.correspondence_chance.unwrap_or(f64::NAN),
            ),
            TrainEvent::Note(text) => println!("{text}"),
            _ => {}
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, steps] = arguments.as_slice() else {
        bail!("give a folder of photographs and the number of steps")
    };
    // A network small enough for a CPU. docs/training.md describes each setting.
    let sets = [
        &format!("data.source={folder}"),
        &format!("train.steps={steps}"),
        "train.batch_size=8",
        "model.backbone=resnet10",
        "model.width=16",
        "views.size=64",
        "method.bn_groups=2",
        "eval.pairs=8",
        "log.every_steps=5",
    ];
    let request = RunRequest {
        sets: sets.map(String::from).to_vec(),
        out: Some("runs/example".into()),
        overwrite: true,
        ..RunRequest::default()
    };
    let device = pollster::block_on(select(DeviceChoice::Auto))?;
    // A signal handler could set this to stop after the current step; the run can be resumed then.
    let stop = AtomicBool::new(false);
    let run = PreparedRun::new(&request)?;
    let (_, result) = run
        .run(&device, Box::new(Printer), &stop)?
        .context("it was stopped")?;
    println!("weights: {}", result.weights.display());
    Ok(())
}
