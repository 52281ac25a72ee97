//! `densecl search`: finds the pictures of an index that are most similar to a given one.

use std::path::Path;

use densecl_eval::embedding::index::Index;
use densecl_eval::embedding::{Found, Kind, SearchRequest, search};
use densecl_train::files::write_png;
use densecl_train::paths;
use serde::Serialize;

use crate::cli::embed::Search;
use crate::console;
use crate::device;
use crate::outputs::Files;
use crate::results::{ensure_png, write_json};

/// The content of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    query: String,
    index: String,
    feature: Kind,
    /// Number of rows in the index.
    rows: usize,
    /// The results, best first.
    found: Vec<Found>,
}

/// Searches, prints the results and draws them.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &Search) -> anyhow::Result<()> {
    let device = &device::open(&args.device)?.device;
    if let Some(out) = &args.out {
        ensure_png(out)?;
    }
    let index = Index::open(&args.index)?;
    let root = args.images.clone();
    let root = root.unwrap_or_else(|| paths::path_of(&index.origin.images));
    let pictures = index
        .names
        .iter()
        .map(|name| root.join(paths::path_of(name)));
    let pictures = pictures.collect();
    Files::default()
        .reads_each("--index", &args.index, pictures)
        .may_write("--out", args.out.as_deref())
        .may_write("--json", args.json.as_deref())
        .check()?;
    let request = SearchRequest {
        query: &args.query,
        weights: &args.weights,
        selection: &(&args.part).into(),
        feature: args.feature,
        k: usize::from(args.k),
        root: &root,
    };
    let answer = search(&index, &request, device)?;
    if let Some(out) = &args.out {
        write_png(out, &answer.sheet()?)?;
        console::note(format_args!("the pictures found: {}", out.display()));
    }
    // With JSON on standard output the list for people is left out.
    if args.json.as_deref() != Some(Path::new("-")) {
        let line = |found: &Found| format!("{:7.4}  {}\n", found.score, paths::line(&found.path));
        console::print(&answer.found.iter().map(line).collect::<String>())?;
    }
    if let Some(json) = &args.json {
        let report = Report {
            query: paths::text(&args.query),
            index: paths::text(&args.index),
            feature: answer.feature,
            rows: index.names.len(),
            found: answer.found,
        };
        write_json(json, &report)?;
    }
    Ok(())
}
