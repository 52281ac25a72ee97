//! Runs several evaluations of several backbones and puts their figures into one table.
//!
//! Every measured cell is written to `cells.json` at once, with everything that determines it. So an interrupted
//! comparison continues where it stopped, and added seeds, backbones or evaluations only cost their own measurement.

mod cells;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::backbone::NamedWeights;
use super::figures::Summary;
use super::{Contest, Evaluation, Measured, measure, needed};
use cells::Cells;
use densecl_train::files::{write_atomically, write_png};
use densecl_train::folder_lock::FolderLock;
use densecl_train::notes::note;
use table::{Comparison, Part};

/// An evaluation and its title in the table.
pub struct Task {
    /// Such as `linear-seg msrc21`.
    pub title: String,
    /// The evaluation.
    pub evaluation: Box<dyn Evaluation>,
}

/// The files that a new comparison writes into `folder`; none if `folder` holds an earlier comparison, which is
/// continued.
pub fn outputs(folder: &Path) -> Vec<PathBuf> {
    if folder.join(CELLS).exists() {
        return Vec::new();
    }
    let names = [
        CELLS,
        "compare.txt",
        "compare.md",
        "compare.json",
        "compare.png",
    ];
    names.map(|name| folder.join(name)).to_vec()
}

/// File of the measured cells.
const CELLS: &str = "cells.json";

/// Measures the missing cells, and writes `compare.txt`, `.md`, `.json` and `.png` into `out`. Returns the table as
/// text.
///
/// # Errors
/// For weights or data that cannot be used, when the device fails, and when something cannot be
/// written.
pub fn compare(tasks: &[Task], contest: &Contest, out: &Path) -> anyhow::Result<String> {
    // Two processes writing `cells.json` would each lose the cells of the other.
    let _lock = FolderLock::take(out, "wait for it, or choose another folder with --out")?;
    let mut cells = Cells::open(&out.join(CELLS))?;
    let mut parts = Vec::new();
    for task in tasks {
        let columns = contest.weights.iter().map(|weights| {
            column(task, weights, contest, &mut cells).with_context(|| weights.name.clone())
        });
        parts.push(Part {
            task: task.title.clone(),
            protocol: task.evaluation.protocol(),
            columns: columns.collect::<anyhow::Result<_>>()?,
        });
    }
    let comparison = Comparison {
        weights: contest.weights.iter().map(|w| w.name.clone()).collect(),
        sources: contest.weights.iter().map(NamedWeights::source).collect(),
        seeds: contest.seeds.clone(),
        parts,
    };
    let text = comparison.text();
    write_atomically(&out.join("compare.txt"), text.as_bytes())?;
    write_atomically(&out.join("compare.md"), comparison.markdown().as_bytes())?;
    write_atomically(&out.join("compare.json"), comparison.json()?.as_bytes())?;
    write_png(&out.join("compare.png"), &comparison.picture()?)?;
    Ok(text)
}

/// One evaluation of one backbone over the seeds.
fn column(
    task: &Task,
    weights: &NamedWeights,
    contest: &Contest,
    cells: &mut Cells,
) -> anyhow::Result<Vec<Summary>> {
    let evaluation = &*task.evaluation;
    let seeds = needed(evaluation, weights, &contest.seeds);
    let key = |&seed: &u64| -> anyhow::Result<(u64, Value)> {
        let identity = weights.identity(seed)?;
        Ok((seed, cells::key(evaluation, &identity, seed)))
    };
    let keys: Vec<(u64, Value)> = seeds.iter().map(key).collect::<anyhow::Result<_>>()?;
    let missing = keys.iter().filter(|(_, key)| cells.get(key).is_none());
    let (missing, new_keys): (Vec<u64>, Vec<Value>) = missing.cloned().unzip();
    note(format_args!(
        "{}: {}{}",
        task.title,
        weights.name,
        match seeds.len() - missing.len() {
            0 => String::new(),
            kept => format!(", {kept} of {} seeds known", seeds.len()),
        }
    ));
    if !missing.is_empty() {
        let run = measure(evaluation, weights, &missing, contest)?;
        // The file is read once for the key and again for measuring, and may have been replaced in between.
        for (seed, kept) in missing.iter().zip(&new_keys) {
            ensure!(
                key(seed)?.1 == *kept,
                "its file changed while it was measured: start again"
            );
        }
        let figures = run.measured.into_iter().map(|measured| measured.figures);
        cells.add(new_keys.into_iter().zip(figures))?;
    }
    let known = keys.iter().filter_map(|(_, key)| cells.get(key));
    let measured: Vec<Measured> = known
        .map(|figures| Measured {
            figures: figures.to_vec(),
            ..Measured::default()
        })
        .collect();
    Ok(Summary::over_seeds(&measured))
}
