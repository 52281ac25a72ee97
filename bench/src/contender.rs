//! Those who are timed: a process that is asked for each run, or a whole program that is one run.

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

/// A process of our own protocol.
pub(crate) struct Asked {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: File,
    /// What it said first.
    pub(crate) greeting: Greeting,
}

impl Asked {
    /// Starts `command` and waits for its greeting.
    ///
    /// # Errors
    /// When it does not start, or does not greet; then with the last line of its errors.
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

    /// Makes it ready for `work`.
    ///
    /// # Errors
    /// When it cannot do it.
    pub(crate) fn prepare(&mut self, work: &Work, variant: &str) -> anyhow::Result<Prepared> {
        self.ask(&Request::Prepare {
            work: work.clone(),
            variant: variant.to_string(),
        })
    }

    /// One run of at least so many seconds.
    ///
    /// # Errors
    /// When it failed.
    pub(crate) fn run(&mut self, seconds: f64) -> anyhow::Result<Run> {
        self.ask(&Request::Run { seconds })
    }

    /// What it needed; the process ends with `self`.
    ///
    /// # Errors
    /// When it does not answer any more.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Memory> {
        self.ask(&Request::Finish)
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> anyhow::Result<T> {
        let line = serde_json::to_string(request)?;
        // A process that has ended is told about by `read`.
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
        // It may be in the middle of something; nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ended with exit status: 1: `.
fn ended(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return "was killed: out of memory? ".to_string();
    }
    format!("ended with {status}: ")
}

/// Why a program ended, of all that it wrote: the line that says `error`, or else the last.
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

/// A whole program, started anew for every run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Variables of its environment.
    pub(crate) variables: Vec<(String, String)>,
    /// What one run is worth.
    pub(crate) measure: Measure,
}

/// How the seconds per picture of a [`Program`] are found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// It works on so many pictures and ends; all of its time counts.
    Whole { pictures: usize },
    /// It tells its images per second, as [`Told`].
    Told,
}

/// What a program writes that measures itself: `densecl loader-speed`, `loader_pytorch.py`.
#[derive(Debug, Deserialize)]
struct Told {
    images_per_second: Speed,
    /// Part of the work → its share of the time.
    #[serde(default)]
    shares: BTreeMap<String, f64>,
}

/// Of the one thing measured, or by its name.
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
    /// Per picture.
    pub(crate) seconds: f64,
    pub(crate) shares: BTreeMap<String, f64>,
    pub(crate) peak: Option<f64>,
}

impl Program {
    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// When it does not start, fails, or does not say what it should.
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
            // Gone when the process has ended, and it never falls: the last one that was seen is it.
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
