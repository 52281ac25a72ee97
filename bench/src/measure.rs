//! Paired runs: A B A B …, so that whatever the machine does besides meets both alike.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::contender::{Asked, Program};
use crate::protocol::Memory;
use crate::statistics::Spread;
use crate::work::Work;

/// One that takes part in a row.
pub(crate) struct Contender {
    /// `densecl`, or how PyTorch was asked.
    pub(crate) name: String,
    kind: Kind,
    seconds: Vec<f64>,
    resident: Option<f64>,
    memory: Memory,
    shares: BTreeMap<String, f64>,
}

enum Kind {
    Asked(Asked),
    Program(Program),
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// As [`Contender::name`].
    pub(crate) name: String,
    /// Of every run, per iteration or picture, in the order of the runs.
    pub(crate) seconds: Vec<f64>,
    /// Of [`Self::seconds`]; none where it failed.
    pub(crate) spread: Option<Spread>,
    /// Main memory in bytes before the work was done for the first time.
    pub(crate) resident: Option<f64>,
    /// The most main memory and device memory of the process, in bytes.
    pub(crate) memory: Memory,
    /// Part of the work → its share, where the program says so.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) shares: BTreeMap<String, f64>,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Figures {
    /// Of one that could not take part.
    pub(crate) fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_string(),
            seconds: Vec::new(),
            spread: None,
            resident: None,
            memory: Memory::default(),
            shares: BTreeMap::new(),
            error: Some(format!("{error:#}")),
        }
    }
}

impl Contender {
    /// A process that does `work`; ready to run.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn asked(name: &str, mut process: Asked, work: &Work) -> anyhow::Result<Self> {
        let prepared = process.prepare(work, name)?;
        Ok(Self {
            resident: prepared.resident,
            ..Self::new(name, Kind::Asked(process))
        })
    }

    /// A program; it is run once, uncounted.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn program(name: &str, program: Program) -> anyhow::Result<Self> {
        program.run()?;
        Ok(Self::new(name, Kind::Program(program)))
    }

    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_string(),
            kind,
            seconds: Vec::new(),
            resident: None,
            memory: Memory::default(),
            shares: BTreeMap::new(),
        }
    }

    fn run(&mut self, least_seconds: f64) -> anyhow::Result<()> {
        let seconds = match &mut self.kind {
            Kind::Asked(process) => process.run(least_seconds)?.seconds,
            Kind::Program(program) => {
                let ran = program.run()?;
                self.shares = ran.shares;
                // NaN, where nothing is known yet, is no maximum.
                let before = self.memory.peak.unwrap_or(f64::NAN);
                self.memory.peak = ran.peak.map(|peak| peak.max(before));
                ran.seconds
            }
        };
        self.seconds.push(seconds);
        Ok(())
    }

    fn finish(mut self) -> Figures {
        if let Kind::Asked(process) = &mut self.kind {
            // The times stand, whatever became of the process after them.
            self.memory = process.finish().unwrap_or_default();
        }
        Figures {
            name: self.name,
            spread: Some(Spread::of(&self.seconds)),
            seconds: self.seconds,
            resident: self.resident,
            memory: self.memory,
            shares: self.shares,
            error: None,
        }
    }
}

/// A contender, or why it is none.
pub(crate) enum Entry {
    Ready(Contender),
    Out(Figures),
}

impl Entry {
    /// What became of making one.
    pub(crate) fn of(name: &str, contender: anyhow::Result<Contender>) -> Self {
        match contender {
            Ok(contender) => Self::Ready(contender),
            Err(error) => Self::Out(Figures::failed(name, &error)),
        }
    }
}

/// Runs all in turn, `runs` times. One that fails in between is left out from then on.
pub(crate) fn in_turn(mut entries: Vec<Entry>, runs: usize, least_seconds: f64) -> Vec<Figures> {
    for run in 0..runs {
        for entry in &mut entries {
            let Entry::Ready(contender) = entry else {
                continue;
            };
            // Threads of the one before fall asleep.
            thread::sleep(Duration::from_millis(20));
            let ran = contender.run(least_seconds);
            if let Err(error) = ran.with_context(|| format!("run {}", run + 1)) {
                *entry = Entry::Out(Figures::failed(&contender.name, &error));
            }
        }
    }
    let finish = |entry| match entry {
        Entry::Ready(contender) => contender.finish(),
        Entry::Out(figures) => figures,
    };
    entries.into_iter().map(finish).collect()
}
