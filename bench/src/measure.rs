//! Paired runs: A B A B …, so that other load on the machine affects all contenders alike.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::contender::{Asked, Program};
use crate::protocol::Memory;
use crate::statistics::Spread;
use crate::work::Work;

/// One of the implementations compared in a row.
pub(crate) struct Contender {
    /// `densecl`, or the PyTorch variant.
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

/// The results of one contender.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Name of the contender.
    pub(crate) name: String,
    /// Seconds per iteration or picture, one value per run in order.
    pub(crate) seconds: Vec<f64>,
    /// Median and quartiles of [`Self::seconds`]; none if the contender failed.
    pub(crate) spread: Option<Spread>,
    /// Main memory of the process in bytes when its inputs existed, before the first iteration.
    pub(crate) resident: Option<f64>,
    /// Peak memory of the process.
    pub(crate) memory: Memory,
    /// Share of the time that each part of the work takes, if the program reports it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) shares: BTreeMap<String, f64>,
    /// Why the contender failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Figures {
    /// The results of a contender that failed: no figures, only the error.
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
    /// A worker process, prepared for `work`.
    ///
    /// # Errors
    /// If the process cannot do this work.
    pub(crate) fn asked(name: &str, mut process: Asked, work: &Work) -> anyhow::Result<Self> {
        let prepared = process.prepare(work, name)?;
        Ok(Self {
            resident: prepared.resident,
            ..Self::new(name, Kind::Asked(process))
        })
    }

    /// A program, after one run that is not counted.
    ///
    /// # Errors
    /// If this first run fails.
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
                // `max` ignores NaN, so the first known peak replaces it.
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
            // The times are valid even if the process died afterwards; only its memory is then unknown.
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

/// A contender that still takes part, or the results of one that failed.
pub(crate) enum Entry {
    Ready(Contender),
    Out(Figures),
}

impl Entry {
    /// An entry for a contender that may have failed to start.
    pub(crate) fn of(name: &str, contender: anyhow::Result<Contender>) -> Self {
        match contender {
            Ok(contender) => Self::Ready(contender),
            Err(error) => Self::Out(Figures::failed(name, &error)),
        }
    }
}

/// Runs all contenders in turn, `runs` times. A contender that fails is left out of the remaining runs.
pub(crate) fn in_turn(mut entries: Vec<Entry>, runs: usize, least_seconds: f64) -> Vec<Figures> {
    for run in 0..runs {
        for entry in &mut entries {
            let Entry::Ready(contender) = entry else {
                continue;
            };
            // Gives the previous contender's spinning threads time to fall asleep.
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
