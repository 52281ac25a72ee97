//! The figures of all backbones as a table, JSON and a picture.

use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, TableComponent, presets::NOTHING};
use densecl::config::ModelConfig;
use densecl::visualize::stack_vertical;
use image::{Rgb, RgbImage};
use serde::Serialize;

use super::backbone::Training;
use super::figures::{Over, Summary};
use crate::console;
use crate::files::{write_atomically, write_png};
use crate::report::caption;

/// What an evaluation found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The evaluation's name.
    pub(crate) task: &'static str,
    /// Every setting that decides its figures.
    pub(crate) protocol: serde_json::Value,
    /// The seeds asked for.
    pub(crate) seeds: Vec<u64>,
    /// Those judged, in the order given.
    pub(crate) backbones: Vec<Judged>,
}

/// What it found about one backbone.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judged {
    /// How it is called.
    pub(crate) name: String,
    /// Its file, or `random`.
    pub(crate) source: String,
    /// The network as it was judged.
    pub(crate) model: ModelConfig,
    /// Where it comes from; `null` for an untrained one.
    pub(crate) training: Option<Training>,
    /// Its figures, the most important one first.
    pub(crate) figures: Vec<Summary>,
    /// What the evaluation had to say beyond its figures, per seed.
    pub(crate) details: Vec<serde_json::Value>,
    /// A picture per seed.
    #[serde(skip)]
    pub(crate) pictures: Vec<RgbImage>,
}

/// Lines under a header, the first `left` columns aligned to the left, the others to the right.
pub(crate) fn plain_table(header: &[String], rows: Vec<Vec<String>>, left: usize) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    for line in [
        TableComponent::TopBorder,
        TableComponent::TopBorderIntersections,
        TableComponent::HeaderLines,
        TableComponent::MiddleHeaderIntersections,
        TableComponent::BottomBorder,
        TableComponent::BottomBorderIntersections,
    ] {
        table.set_style(line, '─');
    }
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

impl Report {
    /// A line per figure. One backbone: its mean, deviation and interval. Several: a column each.
    pub(crate) fn table(&self) -> String {
        let Some(first) = self.backbones.first() else {
            return String::new();
        };
        let mut header = vec![self.task.to_string()];
        header.extend(self.backbones.iter().map(|one| one.name.clone()));
        if self.backbones.len() == 1 {
            header.push("95 % interval".to_string());
        }
        let mut rows = Vec::new();
        for (index, figure) in first.figures.iter().enumerate() {
            let mut row = vec![format!("{} {}", figure.name, figure.unit.sign())];
            row.extend(self.backbones.iter().map(|one| one.figures[index].show()));
            if self.backbones.len() == 1 {
                row.push(interval(figure));
            }
            rows.push(row);
        }
        plain_table(&header, rows, 1)
    }

    /// The whole report.
    ///
    /// # Errors
    /// When a setting or detail is no JSON.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the report as JSON")
    }

    /// The pictures of the first seed, one backbone below the other under its name.
    ///
    /// # Errors
    /// When the names cannot be drawn.
    pub(crate) fn picture(&self) -> anyhow::Result<Option<RgbImage>> {
        let mut parts = Vec::new();
        for one in &self.backbones {
            if let Some(picture) = one.pictures.first() {
                let title = format!("{} · {}", self.task, one.name);
                parts.push(caption(&title, picture.width())?);
                parts.push(picture.clone());
            }
        }
        let parts: Vec<&RgbImage> = parts.iter().collect();
        Ok((!parts.is_empty()).then(|| stack_vertical(&parts, 8, Rgb([255; 3]))))
    }

    /// Prints the table, and writes the picture to `out` and the JSON to `json`; `-` for standard
    /// output, where the table then is left out.
    ///
    /// # Errors
    /// When something cannot be written.
    pub(crate) fn deliver(&self, out: &Path, json: Option<&Path>) -> anyhow::Result<()> {
        if let Some(picture) = self.picture()? {
            write_png(out, &picture)?;
            console::note(format_args!("picture: {}", out.display()));
        }
        if let Some(path) = json.filter(|path| *path != Path::new("-")) {
            write_atomically(path, self.json()?.as_bytes())?;
        }
        if json == Some(Path::new("-")) {
            console::print(&format!("{}\n", self.json()?))
        } else {
            console::print(&self.table())
        }
    }
}

fn interval(figure: &Summary) -> String {
    let Some([low, high]) = figure.interval else {
        return String::new();
    };
    let over = match figure.interval_over {
        Some(Over::Seeds) => " (seeds)",
        Some(Over::Pictures) => " (pictures)",
        None => "",
    };
    format!(
        "{} – {}{over}",
        figure.unit.show(low),
        figure.unit.show(high)
    )
}
