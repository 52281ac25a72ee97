//! Parts in processes of their own: PyTorch, and the program's quick start.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use densecl::config::Precision;

use super::Parts;
use crate::contender::Asked;
use crate::gpu::report::{Report, Step, Training};
use crate::inputs::script;
use crate::work::{Network, Work};

impl Parts<'_> {
    pub(super) fn pytorch(&self, network: Network, report: &mut Report) -> anyhow::Result<()> {
        if self.options.python == "none" {
            return Ok(());
        }
        let mut variants = vec![
            "eager",
            "channels_last",
            "channels_last+tf32",
            "channels_last+f16",
        ];
        if !self.options.quick {
            variants.push("channels_last+f16+compile");
        }
        for variant in variants {
            if Instant::now() >= self.deadline {
                report.note(format!(
                    "PyTorch, {variant}: left out, the time was used up"
                ));
                continue;
            }
            let mut command = Command::new(&self.options.python);
            let device = if self.options.quick { "cpu" } else { "cuda" };
            command
                .arg(script("pytorch.py"))
                .args(["--threads", "2", "--device", device]);
            let mut asked = match Asked::start(command) {
                Ok(asked) => asked,
                Err(error) => {
                    report.note(format!("PyTorch is left out: {error:#}"));
                    return Ok(());
                }
            };
            let work = Work::Step { network };
            let timed = asked
                .prepare(&work, variant)
                .and_then(|_| asked.run(self.at_least().as_secs_f64()));
            match timed {
                Ok(run) => report.steps.push(Step {
                    name: Self::name_of(network, Precision::F32),
                    contender: format!("PyTorch, {variant}"),
                    seconds: run.seconds,
                    images_per_second: Some(network.batch as f64 / run.seconds),
                    memory: asked.finish().ok().and_then(|memory| memory.device_peak),
                    estimate: None,
                }),
                Err(error) => report.note(format!("PyTorch, {variant}: {error:#}")),
            }
        }
        Ok(())
    }

    /// Runs the program's quick start on the device, at most for the seconds that were asked for.
    pub(super) fn training(&self, report: &mut Report) -> anyhow::Result<()> {
        let here = std::env::current_exe().context("where this program is")?;
        let program: PathBuf = here.with_file_name("densecl");
        if !program.is_file() {
            report.note(format!("no training: {} is not there", program.display()));
            return Ok(());
        }
        let folder = tempfile::tempdir().context("a folder for the run")?;
        let run = folder.path().join("run");
        let start = Instant::now();
        let mut command = Command::new(program);
        command.args([
            "pretrain",
            "--config",
            "quickstart",
            "--device",
            &self.options.device,
        ]);
        command.arg("--out").arg(&run);
        if self.options.quick {
            let sets = [
                "train.steps=4",
                "train.batch_size=4",
                "eval.pairs=2",
                "log.every_steps=1",
            ];
            for set in sets {
                command.args(["--set", set]);
            }
        }
        let errors = tempfile::NamedTempFile::new().context("a file for what goes wrong")?;
        command.stdout(Stdio::null()).stderr(errors.reopen()?);
        let mut child = command.spawn().context("starting densecl")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed().as_secs_f64() >= self.options.training_seconds {
                // Each logged step is in the file already.
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let seconds = start.elapsed().as_secs_f64();
        if status.is_some_and(|status| !status.success()) {
            let text = std::fs::read_to_string(errors.path())?;
            bail!("{}", text.lines().last().unwrap_or("densecl failed"));
        }
        let log = std::fs::read_to_string(run.join("metrics.jsonl")).context("reading the log")?;
        let rows: Vec<serde_json::Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            bail!("the run has written no figures")
        };
        let number = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        report.training = Some(Training {
            steps: number(last, "step") as u64,
            seconds,
            images_per_second: number(last, "images_per_second"),
            first_loss: number(first, "loss"),
            last_loss: number(last, "loss"),
        });
        Ok(())
    }
}
