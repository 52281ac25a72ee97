//! What is timed: a worker process that does one run per request, or a program started anew for each run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::machine;
use crate::protocol::{Greeting, Memory, Prepared, Refused, Request, Run};
use crate::work::Work;

/// A worker process that speaks the protocol of [`crate::protocol`].
pub(crate) struct Asked {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: File,
    /// The first line that the process wrote.
    pub(crate) greeting: Greeting,
}

impl Asked {
    /// Starts `command` and waits for its greeting.
    ///
    /// # Errors
    /// If the process does not start or sends no greeting; the error ends with the last line of its standard
    /// error.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let errors = tempfile::tempfile().context("a file for what goes wrong")?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{program} has no pipes")
        };
        let mut process = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            errors,
            greeting: Greeting::default(),
        };
        process.greeting = process.read()?;
        Ok(process)
    }

    /// Lets the process make the inputs of `work` and do it once, untimed.
    ///
    /// # Errors
    /// If the process cannot do this work, e.g. because PyTorch does not support the variant.
    pub(crate) fn prepare(&mut self, work: &Work, variant: &str) -> anyhow::Result<Prepared> {
        self.ask(&Request::Prepare {
            work: work.clone(),
            variant: variant.to_string(),
        })
    }

    /// Does one run: repeats the work for at least this many seconds.
    ///
    /// # Errors
    /// If the work fails.
    pub(crate) fn run(&mut self, seconds: f64) -> anyhow::Result<Run> {
        self.ask(&Request::Run { seconds })
    }

    /// Reads how much memory the process needed. The process is killed when `self` is dropped.
    ///
    /// # Errors
    /// If the process has ended.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Memory> {
        self.ask(&Request::Finish)
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> anyhow::Result<T> {
        let line = serde_json::to_string(request)?;
        // If the process has ended, the write fails; `read` then reports its exit status and last error.
        let _ = writeln!(self.questions, "{line}");
        self.read()
    }

    fn read<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            let last = reason(&mut self.errors)?;
            bail!("{}", [ended(status), last].concat());
        }
        if let Ok(Refused { error }) = serde_json::from_str(&line) {
            return Err(anyhow!(error));
        }
        serde_json::from_str(&line).with_context(|| format!("not an answer: {}", line.trim_end()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // The process may still compute: its results are no longer needed, so it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Formats how a process ended, e.g. `ended with exit status: 1: `.
fn ended(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return "was killed: out of memory? ".to_string();
    }
    format!("ended with {status}: ")
}

/// Why a program failed: the last line of `file` that begins with `error: `, or else the last line.
fn reason(file: &mut File) -> anyhow::Result<String> {
    let text = read_all(file)?;
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next().unwrap_or_default();
    Ok(lines
        .find(|line| line.starts_with("error: "))
        .unwrap_or(last)
        .trim()
        .to_string())
}

fn read_all(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A program that is started anew for every run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Environment variables to set, as (name, value).
    pub(crate) variables: Vec<(String, String)>,
    /// How a run's time is measured.
    pub(crate) measure: Measure,
}

/// How the seconds per picture of a [`Program`] are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// By the clock: the program's whole running time, divided by the number of pictures it works on.
    Whole { pictures: usize },
    /// By the program itself, which prints its images per second as [`Told`].
    Told,
}

/// The JSON printed by programs that measure themselves: `densecl loader-speed` and `loader_pytorch.py`.
#[derive(Debug, Deserialize)]
struct Told {
    images_per_second: Speed,
    /// Share of the time that each part of the work takes, by its name.
    #[serde(default)]
    shares: BTreeMap<String, f64>,
}

/// One speed, or one speed for each pipeline by its name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Speed {
    Of(f64),
    Named(BTreeMap<String, f64>),
}

impl Told {
    fn seconds_per_image(&self) -> Option<f64> {
        let speed = match &self.images_per_second {
            Speed::Of(speed) => Some(*speed),
            Speed::Named(speeds) => speeds.values().next().copied(),
        };
        speed.filter(|speed| *speed > 0.0).map(f64::recip)
    }
}

/// One run of a [`Program`].
pub(crate) struct Ran {
    /// Seconds per picture.
    pub(crate) seconds: f64,
    pub(crate) shares: BTreeMap<String, f64>,
    pub(crate) peak: Option<f64>,
}

impl Program {
    /// Starts the program and waits until it ends.
    ///
    /// # Errors
    /// If the program does not start, fails, or prints no figures where [`Measure::Told`] expects them.
    pub(crate) fn run(&self) -> anyhow::Result<Ran> {
        let (mut output, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let start = Instant::now();
        let (name, arguments) = self.words.split_first().context("no program")?;
        let mut child = Command::new(name)
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let mut peak = None;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            // The peak only grows, and /proc no longer shows it once the process has ended: the last value read
            // is kept.
            peak = machine::peak(&child.id().to_string()).or(peak);
            thread::sleep(Duration::from_millis(5));
        };
        let wall = start.elapsed().as_secs_f64();
        if !status.success() {
            bail!("{}", [ended(status), reason(&mut errors)?].concat());
        }
        let (seconds, shares) = match self.measure {
            Measure::Whole { pictures } => (wall / pictures as f64, BTreeMap::new()),
            Measure::Told => {
                let told: Told = serde_json::from_str(&read_all(&mut output)?)
                    .with_context(|| format!("{name} did not write its figures"))?;
                let seconds = told.seconds_per_image().context("a speed of 0")?;
                (seconds, told.shares)
            }
        };
        Ok(Ran {
            seconds,
            shares,
            peak,
        })
    }
}
