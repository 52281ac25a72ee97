//! A comparison as text, Markdown, JSON and a picture.

use anyhow::Context;
use image::RgbImage;
use serde::Serialize;

use crate::figures::Summary;
use crate::report::plain_table;
use densecl_train::report::{Bar, BarPanel, bars};

/// All results of a comparison.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Comparison {
    /// Names of the backbones.
    pub(super) weights: Vec<String>,
    /// Their files, or `random`, in the same order.
    pub(super) sources: Vec<String>,
    /// The requested seeds.
    pub(super) seeds: Vec<u64>,
    pub(super) parts: Vec<Part>,
}

/// The results of one evaluation.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Part {
    pub(super) task: String,
    pub(super) protocol: serde_json::Value,
    /// The figures of each backbone, in the order of [`Comparison::weights`].
    pub(super) columns: Vec<Vec<Summary>>,
}

impl Part {
    /// The figures that measure a backbone (no chance levels or counts), each for all backbones.
    fn figures(&self) -> Vec<Vec<&Summary>> {
        let count = self.columns.first().map_or(0, Vec::len);
        let of = |index: usize| self.columns.iter().map(|c| &c[index]).collect::<Vec<_>>();
        let judging = |row: &Vec<&Summary>| row[0].higher_is_better.is_some();
        (0..count).map(of).filter(judging).collect()
    }
}

/// Index of the best backbone; on a tie the first.
fn best(row: &[&Summary]) -> Option<usize> {
    let sign = if row[0].higher_is_better? { 1.0 } else { -1.0 };
    let mut best = 0;
    for (index, one) in row.iter().enumerate() {
        if sign * one.mean > sign * row[best].mean {
            best = index;
        }
    }
    Some(best)
}

impl Comparison {
    /// The table for a terminal: a line per figure, a column per backbone.
    pub(super) fn text(&self) -> String {
        let mut header = vec!["task".to_string(), "figure".to_string()];
        header.extend(self.weights.iter().cloned());
        let mut rows = Vec::new();
        for part in &self.parts {
            for (index, row) in part.figures().into_iter().enumerate() {
                let task = if index == 0 { part.task.as_str() } else { "" };
                let mut cells = vec![task.to_string(), title(row[0])];
                cells.extend(row.iter().map(|one| one.show()));
                rows.push(cells);
            }
        }
        format!("{}{}\n", plain_table(&header, rows, 2), self.note())
    }

    /// The table as Markdown, the best value of each line in bold.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "| task | figure | {} |\n|---|---|",
            self.weights.join(" | ")
        );
        text += &"--:|".repeat(self.weights.len());
        text.push('\n');
        for part in &self.parts {
            for row in part.figures() {
                let best = best(&row);
                let cells = row.iter().enumerate().map(|(index, one)| {
                    let shown = one.show();
                    if best == Some(index) {
                        format!("**{shown}**")
                    } else {
                        shown
                    }
                });
                let cells: Vec<String> = cells.collect();
                let (task, figure) = (&part.task, title(row[0]));
                text += &format!("| {task} | {figure} | {} |\n", cells.join(" | "));
            }
        }
        text + "\n" + &self.note() + "\n"
    }

    fn note(&self) -> String {
        match self.seeds.len() {
            1 => "One seed.".to_string(),
            n => format!(
                "Mean ± standard deviation over {n} seeds; without ± where nothing is random."
            ),
        }
    }

    /// # Errors
    /// When a protocol cannot be written as JSON.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the comparison as JSON")
    }

    /// Draws a bar chart of the first figure of each evaluation.
    ///
    /// # Errors
    /// When the font cannot be used.
    pub(super) fn picture(&self) -> anyhow::Result<RgbImage> {
        let panels = self.parts.iter().filter_map(|part| {
            let row = part.figures().into_iter().next()?;
            let higher = row[0].higher_is_better?;
            let candidates = self.weights.iter().zip(&row).map(|(name, one)| Bar {
                name: name.clone(),
                value: one.mean,
                deviation: one.deviation.filter(|deviation| *deviation > 0.0),
                label: one.show(),
            });
            Some(BarPanel {
                title: format!("{} · {}", part.task, title(row[0])),
                note: if higher {
                    "higher is better"
                } else {
                    "lower is better"
                }
                .to_string(),
                bars: candidates.collect(),
            })
        });
        bars("What the backbones are worth", &panels.collect::<Vec<_>>())
    }
}

fn title(figure: &Summary) -> String {
    format!("{} {}", figure.name, figure.unit.sign())
        .trim_end()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;
    use crate::figures::Figure;

    fn column(values: &[f64]) -> Vec<Summary> {
        let measured: Vec<Measured> = values
            .iter()
            .map(|&value| Measured {
                figures: vec![
                    Figure::share("mIoU", value),
                    Figure::error_pixels("end-point error", 100.0 * value),
                    Figure::count("pictures", 9),
                ],
                ..Measured::default()
            })
            .collect();
        Summary::over_seeds(&measured)
    }

    #[test]
    fn the_table_has_means_deviations_and_the_best_in_bold() {
        let comparison = Comparison {
            weights: vec!["random".to_string(), "dense".to_string()],
            sources: vec![],
            seeds: vec![0, 1],
            parts: vec![Part {
                task: "linear-seg".to_string(),
                protocol: serde_json::Value::Null,
                columns: vec![column(&[0.2, 0.3]), column(&[0.5, 0.5])],
            }],
        };
        let expected = "\
| task | figure | random | dense |
|---|---|--:|--:|
| linear-seg | mIoU % | 25.0 ± 7.1 | **50.0** |
| linear-seg | end-point error px | **25.0 ± 7.1** | 50.0 |

Mean ± standard deviation over 2 seeds; without ± where nothing is random.
";
        assert_eq!(comparison.markdown(), expected);
        let text = comparison.text();
        assert!(
            text.contains("25.0 ± 7.1") && !text.contains("pictures"),
            "{text}"
        );
        assert!(comparison.picture().expect("drawn").width() > 100);
    }
}
