//! The figures of all backbones as a table, JSON and a picture.

use anyhow::Context;
use comfy_table::{CellAlignment, Table, TableComponent, presets::NOTHING};
use densecl::config::ModelConfig;
use densecl::visualize::stack_vertical;
use image::{Rgb, RgbImage};
use serde::Serialize;

use super::backbone::Training;
use super::figures::{Over, Summary};
use densecl_train::report::caption;

/// The results of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the evaluation.
    pub task: &'static str,
    /// Every setting that determines its figures.
    pub protocol: serde_json::Value,
    /// The requested seeds.
    pub seeds: Vec<u64>,
    /// The results of each backbone, in the order given.
    pub backbones: Vec<Judged>,
}

/// The results of one backbone.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Name of the weights.
    pub name: String,
    /// Its file, or `random`.
    pub source: String,
    /// Architecture and output stride of the network.
    pub model: ModelConfig,
    /// How it was trained; `null` for an untrained network.
    pub training: Option<Training>,
    /// The figures, the most important one first.
    pub figures: Vec<Summary>,
    /// Further results of the evaluation, one value per seed.
    pub details: Vec<serde_json::Value>,
    /// One picture per seed.
    #[serde(skip)]
    pub pictures: Vec<RgbImage>,
}

/// Formats a table: the first `left` columns aligned to the left, the others to the right.
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
    /// A line per figure. For one backbone its mean, deviation and interval; for several a column each.
    pub fn table(&self) -> String {
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

    /// The whole report as JSON.
    ///
    /// # Errors
    /// When a setting or detail cannot be written as JSON.
    pub fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the report as JSON")
    }

    /// The pictures of the first seed, one backbone below the other under its name.
    ///
    /// # Errors
    /// When the names cannot be drawn.
    pub fn picture(&self) -> anyhow::Result<Option<RgbImage>> {
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
