//! The table, for a terminal and as Markdown.

use std::fmt::Write;

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{CellAlignment, Table, TableComponent};

use super::{Measured, Report};
use crate::cli::Group;
use crate::measure::Figures;
use crate::work::{Part, Work};

/// Which columns a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Terminal,
    /// Adds a column with the results of all PyTorch variants.
    Page,
}

/// The tables as text for a terminal.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = format!("\n{}\n", caption(report));
    for group in Group::ALL {
        if let Some(mut table) = group_table(report, group, Width::Terminal) {
            table.load_preset(NOTHING);
            table.set_style(TableComponent::HeaderLines, '─');
            table.set_style(TableComponent::MiddleHeaderIntersections, '─');
            let _ = writeln!(text, "\n{}\n{table}", group.title());
            text += &shares(report, group);
        }
    }
    text
}

/// The tables as Markdown, for docs/performance.md.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!("{}\n", caption(report).replace('\n', "\n\n"));
    for group in Group::ALL {
        if let Some(mut table) = group_table(report, group, Width::Page) {
            table.load_preset(ASCII_MARKDOWN);
            let _ = writeln!(text, "\n### {}\n\n{table}", group.title());
            for line in shares(report, group).lines() {
                let _ = writeln!(text, "\n{line}");
            }
        }
    }
    text
}

/// The lines above the tables: command, date, machine, versions, and how the figures are computed.
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

/// A line for each row of a program that reports where its time goes.
fn shares(report: &Report, group: Group) -> String {
    let mut text = String::new();
    for row in report.rows.iter().filter(|row| row.group == group) {
        let shares = row.ours().shares.iter();
        let parts: Vec<String> = shares
            .map(|(part, share)| format!("{} {:.0} %", part.replace('_', " "), share * 100.0))
            .collect();
        if !parts.is_empty() {
            let (name, threads) = (&row.name, row.threads);
            let _ = writeln!(
                text,
                "densecl, {name}, threads {threads}: {}",
                parts.join(", ")
            );
        }
    }
    text
}

/// The cells of a row, one for every column that a table can have.
#[derive(Default)]
struct Cells {
    name: String,
    threads: String,
    ours: String,
    our_share: String,
    our_memory: String,
    theirs: String,
    which: String,
    ratio: String,
    their_share: String,
    their_memory: String,
    all: String,
}

impl Cells {
    fn header(group: Group) -> Self {
        // The loss is a single function: compare the memory it uses beyond its inputs, not the peak of the
        // process, which includes its libraries.
        let memory = if group == Group::Loss {
            "extra memory"
        } else {
            "peak memory"
        };
        Self {
            threads: "threads".to_string(),
            ours: "densecl".to_string(),
            our_share: "share".to_string(),
            our_memory: memory.to_string(),
            theirs: "PyTorch, its best".to_string(),
            which: "which".to_string(),
            ratio: "densecl / PyTorch".to_string(),
            their_share: "its share".to_string(),
            their_memory: format!("its {memory}"),
            all: "PyTorch, all".to_string(),
            name: String::new(),
        }
    }

    /// The cells of the columns that this table has.
    fn shown(self, group: Group, compared: bool, width: Width) -> Vec<String> {
        let parts = group == Group::Parts;
        let cells = [
            (true, self.name),
            (true, self.threads),
            (true, self.ours),
            (parts, self.our_share),
            (true, self.our_memory),
            (compared, self.theirs),
            (compared, self.which),
            (compared, self.ratio),
            (compared && parts, self.their_share),
            (compared, self.their_memory),
            (compared && width == Width::Page, self.all),
        ];
        let shown = cells.into_iter().filter(|(shown, _)| *shown);
        shown.map(|(_, cell)| cell).collect()
    }
}

/// The table of a group; none if the group has no rows.
fn group_table(report: &Report, group: Group, width: Width) -> Option<Table> {
    let of_group = |row: &&Measured| row.group == group;
    let rows: Vec<&Measured> = report.rows.iter().filter(of_group).collect();
    if rows.is_empty() {
        return None;
    }
    let shown = |cells: Cells| cells.shown(group, report.theirs.is_some(), width);
    let mut table = Table::new();
    table.set_header(shown(Cells::header(group)));
    for row in &rows {
        table.add_row(shown(cells(row, &rows)));
        if row.work.as_ref().is_some_and(is_last_part) {
            table.add_row(shown(rest(row, &rows)));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(table)
}

fn cells(row: &Measured, rows: &[&Measured]) -> Cells {
    let ours = row.ours();
    let best = row.best();
    let whole = whole_of(row, rows);
    let share = |figures: Option<&Figures>, whole: Option<&Figures>| {
        let share = seconds(figures?)? / seconds(whole?)?;
        Some(percent(share))
    };
    let all = row.theirs().iter();
    let all = all.map(|figures| format!("{} {}", figures.name, short(row, figures)));
    Cells {
        name: row.name.clone(),
        threads: row.threads.to_string(),
        ours: value(row, ours),
        our_share: share(Some(ours), whole.map(Measured::ours)).unwrap_or_default(),
        our_memory: memory(row, ours),
        theirs: best.map_or("–".to_string(), |figures| value(row, figures)),
        which: row.best.clone().unwrap_or_default(),
        ratio: row.ratio.map_or(String::new(), |ratio| {
            format!("{:.2}× ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
        }),
        their_share: share(best, whole.and_then(Measured::best)).unwrap_or_default(),
        their_memory: best.map_or(String::new(), |figures| memory(row, figures)),
        all: all.collect::<Vec<_>>().join("; "),
    }
}

/// The time of a step that its parts do not account for: reading the figures, updating the queues, and
/// operations between the parts with their gradients.
fn rest(row: &Measured, rows: &[&Measured]) -> Cells {
    let Some(whole) = whole_of(row, rows) else {
        return Cells::default();
    };
    let of = |side: fn(&Measured) -> Option<&Figures>| -> Option<(String, String)> {
        let total = seconds(side(whole)?)?;
        let parts = rows.iter().filter(|part| {
            part.threads == row.threads
                && matches!(part.work, Some(Work::Part { part, .. }) if part.is_of_the_paper())
                && network(part) == network(row)
        });
        let times = parts.map(|part| side(part).and_then(seconds));
        let rest = total - times.sum::<Option<f64>>()?;
        Some((milliseconds(rest), percent(rest / total)))
    };
    let (ours, our_share) = of(|row| Some(row.ours())).unwrap_or_default();
    let (theirs, their_share) = of(Measured::best).unwrap_or_default();
    Cells {
        name: whole.name.replace("whole step", "rest"),
        threads: row.threads.to_string(),
        ours,
        our_share,
        theirs,
        their_share,
        ..Cells::default()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn is_last_part(work: &Work) -> bool {
    matches!(work, Work::Part { part, .. } if Some(part) == Part::ALL.last())
}

/// The row of the whole step that `row` is a part of.
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

/// A speed or time with its spread, e.g. `61.3 images/s ± 1.2 %` or `12.3 ms ± 0.4 %`; the error if it failed.
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

/// A speed or time without its spread; the error if it failed.
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

/// Three significant digits; above 1000, a whole number.
fn digits(value: f64) -> String {
    let decimals = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// Peak memory: the device's if known, otherwise the process's. For the loss on a CPU, the memory that its
/// inputs take is subtracted.
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
