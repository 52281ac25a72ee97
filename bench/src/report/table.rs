//! The table, for a terminal and as Markdown.

use std::fmt::Write;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table, TableComponent};

use super::{Measured, Report};
use crate::cli::Group;
use crate::measure::Figures;
use crate::work::{Part, Work};

/// With lines between the rows' heads and the rows.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = format!("\n{}\n", caption(report));
    for group in Group::ALL {
        if let Some(mut table) = group_table(report, group) {
            table.load_preset(NOTHING);
            table.set_style(TableComponent::HeaderLines, '─');
            table.set_style(TableComponent::MiddleHeaderIntersections, '─');
            let _ = writeln!(text, "\n{}\n{table}", group.title());
        }
    }
    text
}

/// For docs/performance.md.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!("{}\n", caption(report).replace('\n', "\n\n"));
    for group in Group::ALL {
        if let Some(mut table) = group_table(report, group) {
            table.load_preset(ASCII_MARKDOWN);
            let _ = writeln!(text, "\n### {}\n\n{table}", group.title());
        }
    }
    text
}

/// What the figures depend on.
fn caption(report: &Report) -> String {
    let versions = |greeting: &crate::protocol::Greeting| {
        let all = greeting
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"));
        format!(
            "{} on {}",
            all.collect::<Vec<_>>().join(", "),
            greeting.device
        )
    };
    let mut text = format!(
        "`{}`, {}.\n{}. {}",
        report.command,
        report.date,
        report.machine.line(),
        versions(&report.ours),
    );
    if let Some(theirs) = &report.theirs {
        let _ = write!(text, "; {}", versions(theirs));
    }
    let _ = write!(
        text,
        ".\nMedians of {} paired runs; ± is half the distance between the quartiles, brackets are the quartiles.",
        report.runs
    );
    if report.quick {
        text += " Tiny sizes (--quick): no figures to quote.";
    }
    text
}

/// None where the group has no rows.
fn group_table(report: &Report, group: Group) -> Option<Table> {
    let rows: Vec<&Measured> = report
        .rows
        .iter()
        .filter(|row| row.group == group)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let compared = report.theirs.is_some();
    // The dense loss is a function: what it takes beside its inputs says more than the process.
    let memory = if group == Group::Loss {
        "extra memory"
    } else {
        "peak memory"
    };
    let mut header = vec!["".to_string(), "threads".to_string(), "densecl".to_string()];
    let mut theirs = vec!["PyTorch, its best", "which", "densecl / PyTorch"];
    if group == Group::Parts {
        header.push("share".to_string());
        theirs.push("its share");
    }
    header.push(memory.to_string());
    if compared {
        theirs.push(if group == Group::Loss {
            "its extra memory"
        } else {
            "its peak memory"
        });
        theirs.push("PyTorch, all");
        header.extend(theirs.into_iter().map(str::to_string));
    }
    let mut table = Table::new();
    table.set_header(header);
    for row in &rows {
        table.add_row(cells(row, &rows, compared));
        if group == Group::Parts && row.work.as_ref().is_some_and(is_last_part) {
            table.add_row(rest(row, &rows, compared));
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Some(table)
}

fn cells(row: &Measured, rows: &[&Measured], compared: bool) -> Vec<String> {
    let ours = row.ours();
    let mut cells = vec![row.name.clone(), row.threads.to_string(), value(row, ours)];
    let whole = whole_of(row, rows);
    let share = |figures: Option<&Figures>, whole: Option<&Figures>| {
        let share = seconds(figures?)? / seconds(whole?)?;
        Some(format!("{:.1} %", share * 100.0))
    };
    let parts = row.group == Group::Parts;
    if parts {
        cells.push(share(Some(ours), whole.map(Measured::ours)).unwrap_or_default());
    }
    cells.push(memory(row, ours));
    if compared {
        let best = row.best();
        cells.push(best.map_or("–".to_string(), |figures| value(row, figures)));
        cells.push(row.best.clone().unwrap_or_default());
        cells.push(row.ratio.map_or(String::new(), |ratio| {
            format!("{:.2}× ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
        }));
        if parts {
            cells.push(share(best, whole.and_then(Measured::best)).unwrap_or_default());
        }
        cells.push(best.map_or(String::new(), |figures| memory(row, figures)));
        let all = row
            .theirs()
            .iter()
            .map(|figures| format!("{} {}", figures.name, short(row, figures)));
        cells.push(all.collect::<Vec<_>>().join("; "));
    }
    cells
}

/// What the parts of a step leave of it: the figures, the queues, the graph between the parts.
fn rest(row: &Measured, rows: &[&Measured], compared: bool) -> Vec<String> {
    let Some(whole) = whole_of(row, rows) else {
        return Vec::new();
    };
    let of = |side: fn(&Measured) -> Option<&Figures>| -> Option<(String, String)> {
        let total = seconds(side(whole)?)?;
        let parts = rows.iter().filter(|part| {
            part.threads == row.threads
                && matches!(part.work, Some(Work::Part { .. }))
                && network(part) == network(row)
        });
        let sum: f64 = parts
            .map(|part| side(part).and_then(seconds))
            .sum::<Option<f64>>()?;
        let rest = total - sum;
        Some((milliseconds(rest), format!("{:.1} %", rest / total * 100.0)))
    };
    let name = whole.name.replace("whole step", "rest");
    let (time, share) = of(|row| Some(row.ours())).unwrap_or_default();
    let mut cells = vec![name, row.threads.to_string(), time, share, String::new()];
    if compared {
        let (time, share) = of(Measured::best).unwrap_or_default();
        cells.extend([time, String::new(), String::new(), share]);
    }
    cells
}

fn is_last_part(work: &Work) -> bool {
    matches!(work, Work::Part { part, .. } if Some(part) == Part::ALL.last())
}

/// The whole step of which `row` is a part.
fn whole_of<'r>(row: &Measured, rows: &[&'r Measured]) -> Option<&'r Measured> {
    let is_whole = |other: &&&Measured| {
        matches!(other.work, Some(Work::Step { .. }))
            && other.threads == row.threads
            && network(other) == network(row)
    };
    rows.iter().find(is_whole).copied()
}

fn network(row: &Measured) -> Option<&crate::work::Network> {
    match &row.work {
        Some(Work::Step { network } | Work::Part { network, .. }) => Some(network),
        _ => None,
    }
}

fn seconds(figures: &Figures) -> Option<f64> {
    figures.spread.map(|spread| spread.median)
}

/// `61.3 images/s ± 1.2 %`, `12.3 ms ± 0.4 %`, or why there is none.
pub(crate) fn value(row: &Measured, figures: &Figures) -> String {
    match figures.spread {
        Some(spread) => format!(
            "{} ± {:.1} %",
            short(row, figures),
            spread.relative() * 100.0
        ),
        None => short(row, figures),
    }
}

/// The same without how it spreads.
fn short(row: &Measured, figures: &Figures) -> String {
    match (seconds(figures), row.images) {
        (Some(seconds), Some(images)) => format!("{} images/s", digits(images as f64 / seconds)),
        (Some(seconds), None) => milliseconds(seconds),
        (None, _) => {
            let error = figures.error.as_deref().unwrap_or_default();
            format!("failed ({})", error.replace('|', "/"))
        }
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{} ms", digits(seconds * 1e3))
}

/// Three significant digits, or whole.
fn digits(value: f64) -> String {
    let decimals = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// The most memory of the device where that is told, else of the process; of a loss what it took
/// beside its inputs.
fn memory(row: &Measured, figures: &Figures) -> String {
    let peak = figures.memory.device_peak.or(figures.memory.peak);
    let before = match (row.group, figures.memory.device_peak) {
        (Group::Loss, None) => figures.resident,
        _ => Some(0.0),
    };
    match (peak, before) {
        (Some(peak), Some(before)) => format!("{} MB", digits((peak - before).max(0.0) / 1e6)),
        _ => "–".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let written = [1234.6, 61.34, 0.01234, 0.0, -2.5].map(digits);
        assert_eq!(written, ["1235", "61.3", "0.0123", "0.000000", "-2.50"]);
    }
}
