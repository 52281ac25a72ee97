//! The figure of a run's curves: six panels over the training steps, as PNG.
//!
//! Rendered by plotters at twice the size and then halved, which anti-aliases lines and text. The font is embedded,
//! so that the figure looks the same on every machine.

mod panels;

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use densecl::method::Figure;
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::panels::{FAINT_INK, Panel, panels};
use super::scale::{envelope, moving_average, step_label, x_range};
use super::text::{self, FONT};
use crate::row::MetricRow;

/// Width and height of the figure in pixels.
const SIZE: (u32, u32) = (1600, 1000);
/// Rendered pixels per pixel of the figure along each axis.
const OVERSAMPLING: u32 = 2;

const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(228, 228, 228);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Chart<'a, 'b> =
    ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the curves of a run whose method measures `figures` as a PNG of 1600 × 1000 pixels: losses, correspondence
/// accuracy, top-1 accuracies, learning rate, spread of the features and speed over the steps. Logged values are
/// drawn light, their moving average strong, chance levels dashed. Values that are missing or not finite are gaps; a
/// history without rows gives empty plots.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn curves_png(
    history: &[MetricRow],
    figures: &[Figure],
    title: &str,
    path: &Path,
) -> Result<()> {
    draw(history, figures, title)?
        .save_with_format(path, ImageFormat::Png)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Draws the whole figure.
fn draw(history: &[MetricRow], figures: &[Figure], title: &str) -> Result<RgbImage> {
    text::register()?;
    let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
    let mut buffer = vec![0u8; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut buffer, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        area.draw_text(title, &text(28, &INK), (px(28), px(20)))?;
        let key = "over steps · thin: as logged, thick: moving average and its latest value";
        let right = text(16, &FAINT_INK).pos(Pos::new(HPos::Right, VPos::Top));
        area.draw_text(key, &right, (width as i32 - px(28), px(28)))?;
        let (_, body) = area
            .margin(0, px(8), px(12), px(24))
            .split_vertically(px(64));
        let steps: Vec<f64> = history.iter().map(|row| row.step as f64).collect();
        for (cell, panel) in body
            .split_evenly((2, 3))
            .iter()
            .zip(panels(history, figures))
        {
            draw_panel(&cell.margin(px(8), px(14), px(10), px(14)), &panel, &steps)?;
        }
        area.present()?;
    }
    let image = RgbImage::from_raw(width, height, buffer).context("a buffer of another size")?;
    Ok(imageops::resize(
        &image,
        SIZE.0,
        SIZE.1,
        FilterType::Triangle,
    ))
}

/// Converts a length of the figure to rendered pixels.
fn px(length: i32) -> i32 {
    length * OVERSAMPLING as i32
}

/// A font of this height in pixels of the figure.
fn text(size: i32, color: &'static RGBColor) -> TextStyle<'static> {
    (FONT, px(size)).into_text_style(&(0, 0)).color(color)
}

fn draw_panel(area: &Area, panel: &Panel, steps: &[f64]) -> Result<()> {
    let (header, body) = area.split_vertically(px(56));
    let smooth: Vec<Vec<f64>> = panel
        .series
        .iter()
        .map(|series| moving_average(&series.values))
        .collect();
    draw_header(&header, panel, &smooth)?;

    let x_range = x_range(steps);
    let logged = panel.series.iter().filter(|series| !series.reference);
    let y_range = panel.axis.range(
        smooth.iter().map(Vec::as_slice),
        logged.map(|series| series.values.as_slice()),
    );
    let mut chart = ChartBuilder::on(&body)
        .x_label_area_size(px(28))
        .y_label_area_size(px(58))
        .build_cartesian_2d(x_range, y_range.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .axis_style(FAINT_INK.stroke_width(OVERSAMPLING))
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|step| step_label(*step))
        .y_label_formatter(&|value| panel.axis.tick(*value))
        .label_style(text(15, &INK))
        .set_all_tick_mark_size(px(4))
        .draw()?;
    if panel
        .series
        .iter()
        .all(|series| series.values.iter().all(|v| v.is_nan()))
    {
        let (w, h) = body.dim_in_pixel();
        let centred = text(16, &FAINT_INK).pos(Pos::new(HPos::Center, VPos::Center));
        body.draw_text(
            "no data yet",
            &centred,
            (w as i32 / 2 + px(20), h as i32 / 2),
        )?;
    }
    // All logged values are drawn first, so that they hide no moving average.
    for (series, smooth) in panel.series.iter().zip(&smooth) {
        if !series.reference && *smooth != series.values {
            thin_curve(
                &mut chart,
                &envelope(steps, &series.values),
                &y_range,
                series.color,
            )?;
        }
    }
    for (series, smooth) in panel.series.iter().zip(&smooth) {
        let points = envelope(steps, smooth);
        if series.reference {
            dashed_curve(&mut chart, &points, &y_range, series.color.stroke_width(3))?;
        } else {
            thick_curve(&mut chart, &points, &y_range, series.color)?;
            mark_points(&mut chart, &points, &y_range, series.color)?;
        }
    }
    Ok(())
}

/// The panel's title and note, and below them a legend with the latest value of each series.
fn draw_header(area: &Area, panel: &Panel, smooth: &[Vec<f64>]) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    area.draw_text(panel.title, &text(21, &INK), (0, 0))?;
    let right = text(15, &FAINT_INK).pos(Pos::new(HPos::Right, VPos::Top));
    area.draw_text(panel.note, &right, (width as i32, px(5)))?;
    let mut x = 0;
    // The last series is drawn on top, so that it is listed first.
    for (series, values) in panel.series.iter().zip(smooth).rev() {
        let middle = px(38);
        let dash = if series.reference {
            [(0, 7), (11, 18)]
        } else {
            [(0, 9), (9, 18)]
        };
        for (from, to) in dash {
            let ends = vec![(x + px(from), middle), (x + px(to), middle)];
            area.draw(&PathElement::new(ends, series.color.stroke_width(5)))?;
        }
        let latest = values.iter().rev().find(|v| v.is_finite());
        let label = match latest {
            Some(&value) => format!("{} {}", series.name, panel.axis.single(value)),
            None => series.name.to_string(),
        };
        let style = text(15, &INK);
        let (label_width, _) = area.estimate_text_size(&label, &style)?;
        area.draw_text(&label, &style, (x + px(23), px(31)))?;
        x += px(23) + label_width as i32 + px(18);
    }
    Ok(())
}

/// The unbroken parts of a curve, clipped to the axis range (plotters would draw over the frame).
fn parts<'p>(
    points: &'p [(f64, f64)],
    y_range: &Range<f64>,
) -> impl Iterator<Item = Vec<(f64, f64)>> + use<'p> {
    let (low, high) = (y_range.start, y_range.end);
    points
        .split(|(_, y)| y.is_nan())
        .filter(|part| !part.is_empty())
        .map(move |part| part.iter().map(|&(x, y)| (x, y.clamp(low, high))).collect())
}

/// Draws a light line, one rendered pixel wide: plotters gives wider lines mitred corners, which overshoot the
/// values of a noisy curve. It is opaque, because the strokes of a long run overlap.
fn thin_curve(
    chart: &mut Chart,
    points: &[(f64, f64)],
    y_range: &Range<f64>,
    color: RGBColor,
) -> Result<()> {
    let tint = |channel: u8| (f32::from(channel) * 0.4 + 255.0 * 0.6) as u8;
    let light = RGBColor(tint(color.0), tint(color.1), tint(color.2));
    for part in parts(points, y_range) {
        chart.draw_series(LineSeries::new(part, light))?;
    }
    Ok(())
}

/// Draws a strong line segment by segment, with discs as round joints.
fn thick_curve(
    chart: &mut Chart,
    points: &[(f64, f64)],
    y_range: &Range<f64>,
    color: RGBColor,
) -> Result<()> {
    for part in parts(points, y_range) {
        let segments = part
            .windows(2)
            .map(|ends| PathElement::new(ends, color.stroke_width(5)));
        chart.draw_series(segments)?;
        chart.draw_series(
            part.iter()
                .map(|&point| Circle::new(point, 2, color.filled())),
        )?;
    }
    Ok(())
}

fn dashed_curve(
    chart: &mut Chart,
    points: &[(f64, f64)],
    y_range: &Range<f64>,
    style: ShapeStyle,
) -> Result<()> {
    for part in parts(points, y_range) {
        chart.draw_series(DashedLineSeries::new(
            part,
            px(8) as u32,
            px(5) as u32,
            style,
        ))?;
    }
    Ok(())
}

/// Draws dots on all points of a short curve and on single points between gaps, which a line would not show.
fn mark_points(
    chart: &mut Chart,
    points: &[(f64, f64)],
    y_range: &Range<f64>,
    color: RGBColor,
) -> Result<()> {
    let few = points.len() <= 30;
    let marked = parts(points, y_range)
        .filter(|part| few || part.len() == 1)
        .flatten();
    chart.draw_series(marked.map(|point| Circle::new(point, px(3), color.filled())))?;
    Ok(())
}

#[cfg(test)]
mod tests;
