//! Which curves appear in which panel, and in which colour.

use densecl::method::{Figure, Panel as Shown};
use plotters::style::RGBColor;

use super::super::scale::Axis;
use crate::row::MetricRow;

/// Okabe and Ito's palette, distinguishable with every kind of colour-blindness.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(204, 121, 167);
const PALETTE: [RGBColor; 4] = [BLUE, GREEN, VERMILION, PURPLE];
pub(super) const FAINT_INK: RGBColor = RGBColor(115, 115, 115);

/// One curve: its value in each row, NaN where there is none.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) color: RGBColor,
    pub(super) values: Vec<f64>,
    /// Whether it is a reference level, such as chance: drawn dashed and only as moving average.
    pub(super) reference: bool,
}

/// One of the six panels.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    pub(super) axis: Axis,
    pub(super) series: Vec<Series>,
}

/// The panels of a history: those of the method's figures, and those of every run.
pub(super) fn panels(history: &[MetricRow], figures: &[Figure]) -> [Panel; 6] {
    // A loss with negatives has a level at chance, and rises while its queue fills.
    let contrastive = figures
        .iter()
        .any(|figure| figure.panel == Shown::LossReference);
    [
        Panel {
            title: if contrastive {
                "Loss (InfoNCE, nats)"
            } else {
                "Loss"
            },
            note: if contrastive {
                "an early rise is normal"
            } else {
                ""
            },
            axis: Axis::Fitted,
            series: of_figures(history, figures, &[Shown::LossReference, Shown::Loss]),
        },
        Panel {
            title: "Correspondence accuracy",
            note: "matches within one cell",
            axis: Axis::Percent,
            series: vec![
                reference(history, "chance", FAINT_INK, |row| {
                    row.correspondence_chance
                }),
                reference(history, "same place", VERMILION, |row| {
                    row.correspondence_same_place
                }),
                series(history, "matches", BLUE, |row| row.correspondence_accuracy),
            ],
        },
        Panel {
            title: "Top-1 accuracy",
            note: "positive against the negatives",
            axis: Axis::Percent,
            series: std::iter::once(reference(history, "cells that overlap", FAINT_INK, |row| {
                row.overlap
            }))
            .chain(of_figures(history, figures, &[Shown::Accuracy]))
            .collect(),
        },
        Panel {
            title: "Learning rate",
            note: "",
            axis: Axis::FromZero,
            series: vec![series(history, "learning rate", BLUE, |row| {
                Some(row.learning_rate)
            })],
        },
        Panel {
            title: "Feature standard deviation",
            note: "0 is collapse",
            axis: Axis::FromZero,
            series: of_figures(history, figures, &[Shown::Spread]),
        },
        Panel {
            title: "Speed (images/s)",
            note: "",
            axis: Axis::FromZero,
            series: vec![series(history, "images/s", BLUE, |row| {
                Some(row.images_per_second)
            })],
        },
    ]
}

/// One curve of a history; missing values and values that are not finite become gaps.
fn series(
    history: &[MetricRow],
    name: &'static str,
    color: RGBColor,
    value: impl Fn(&MetricRow) -> Option<f64>,
) -> Series {
    let values = history
        .iter()
        .map(|row| value(row).filter(|v| v.is_finite()));
    Series {
        name,
        color,
        values: values.map(|value| value.unwrap_or(f64::NAN)).collect(),
        reference: false,
    }
}

/// The curve of a reference level.
fn reference(
    history: &[MetricRow],
    name: &'static str,
    color: RGBColor,
    value: impl Fn(&MetricRow) -> Option<f64>,
) -> Series {
    Series {
        reference: true,
        ..series(history, name, color, value)
    }
}

/// The curves of the figures that belong to the panels `there`. The first figure of a panel comes last, so that it is
/// drawn on top. Figures with the same label have the same colour in all panels.
fn of_figures(history: &[MetricRow], figures: &[Figure], there: &[Shown]) -> Vec<Series> {
    let mut labels: Vec<&str> = Vec::new();
    for figure in figures {
        if matches!(figure.panel, Shown::Loss | Shown::Accuracy) && !labels.contains(&figure.label)
        {
            labels.push(figure.label);
        }
    }
    let drawn = there.iter().flat_map(|panel| {
        let of_panel = figures
            .iter()
            .rev()
            .filter(move |figure| figure.panel == *panel);
        of_panel.collect::<Vec<_>>()
    });
    drawn
        .map(|figure| {
            let value = |row: &MetricRow| Some(row.figure(figure.name));
            if figure.panel == Shown::LossReference {
                return reference(history, figure.label, FAINT_INK, value);
            }
            let number = labels.iter().position(|label| *label == figure.label);
            let color = PALETTE[number.unwrap_or(0) % PALETTE.len()];
            series(history, figure.label, color, value)
        })
        .collect()
}
