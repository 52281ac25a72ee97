//! Plots speed as the work grows: a panel for each axis, a curve for each implementation and number of threads.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

use super::{Measured, Report};
use crate::cli::Group;
use crate::measure::Figures;
use crate::rows::Axis;

/// Size of the figure in pixels. It is drawn larger by [`OVERSAMPLING`] and reduced, which smooths lines and
/// text.
const SIZE: (u32, u32) = (1500, 520);
const OVERSAMPLING: u32 = 2;
const FONT: &str = "densecl-bench";

/// Colours of Okabe and Ito's palette, as in the training curves.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(228, 228, 228);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// The speed of one implementation with one number of threads: points are (value on the axis, images/s).
struct Curve {
    label: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws the rows [`Group::Scale`] into a PNG.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(report: &Report, path: &Path) -> Result<()> {
    let rows: Vec<&Measured> = report
        .rows
        .iter()
        .filter(|row| row.group == Group::Scale)
        .collect();
    draw(&rows)?
        .save_with_format(path, ImageFormat::Png)
        .with_context(|| format!("writing {}", path.display()))
}

fn draw(rows: &[&Measured]) -> Result<RgbImage> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the embedded font cannot be used"))?;
    let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
    let mut buffer = vec![0; (width * height * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut buffer, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        // The row that lies on every axis has the sizes that stay fixed while another grows.
        let base = rows.iter().max_by_key(|row| row.points.len());
        let title = format!(
            "Training step: {}, one thing changed at a time",
            base.map_or("", |row| &row.name)
        );
        area.draw_text(&title, &text(18), (px(18), px(14)))?;
        let (_, body) = area.split_vertically(px(44));
        let panels = [
            (Axis::Batch, "images per batch"),
            (Axis::Queue, "keys in each queue"),
            (Axis::Size, "pixels of a side"),
        ];
        for (cell, (axis, label)) in body.split_evenly((1, 3)).iter().zip(panels) {
            panel(
                &cell.margin(px(10), px(10), px(10), px(16)),
                label,
                &curves(rows, axis),
            )?;
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

/// A curve for each implementation and number of threads; more threads have a stronger colour.
fn curves(rows: &[&Measured], axis: Axis) -> Vec<Curve> {
    let mut threads: Vec<u16> = rows.iter().map(|row| row.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    type Side = fn(&Measured) -> Option<&Figures>;
    let sides: [(&str, RGBColor, Side); 2] = [
        ("densecl", BLUE, |row| Some(row.ours())),
        ("PyTorch", VERMILION, Measured::best),
    ];
    let mut curves = Vec::new();
    for (name, color, side) in sides {
        for (rank, &count) in threads.iter().enumerate() {
            let point = |row: &&Measured| {
                let place = row.points.iter().find(|(of, _)| *of == axis)?.1;
                let speed = row.images? as f64 / side(row)?.spread?.median;
                (row.threads == count).then_some((place as f64, speed))
            };
            let mut points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let strength = (rank + 1) as f64 / threads.len() as f64;
            if !points.is_empty() {
                curves.push(Curve {
                    label: format!(
                        "{name}, {count} {}",
                        if count == 1 { "thread" } else { "threads" }
                    ),
                    color: tint(color, strength),
                    points,
                });
            }
        }
    }
    curves
}

/// Mixes a colour with white: `strength` 1 is the colour itself, 0 is white.
fn tint(RGBColor(r, g, b): RGBColor, strength: f64) -> RGBColor {
    let channel = |value: u8| (255.0 - (255.0 - f64::from(value)) * strength) as u8;
    RGBColor(channel(r), channel(g), channel(b))
}

fn px(length: u32) -> i32 {
    (length * OVERSAMPLING) as i32
}

fn text(size: u32) -> TextStyle<'static> {
    (FONT, px(size)).into_text_style(&(0, 0)).color(&INK)
}

fn panel(area: &Area, label: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let fold = |of: fn(&(f64, f64)) -> f64, pick: fn(f64, f64) -> f64, from: f64| {
        points().map(of).fold(from, pick)
    };
    let (first, last) = (
        fold(|p| p.0, f64::min, f64::INFINITY),
        fold(|p| p.0, f64::max, 1.0),
    );
    let fastest = fold(|p| p.1, f64::max, 0.0);
    if curves.is_empty() {
        return Ok(());
    }
    // Leaves a margin on either side of the outermost points.
    let room = (last / first).max(2.0).powf(0.07);
    let (low, high) = (first / room, last * room);
    let mut chart = ChartBuilder::on(area)
        .x_label_area_size(px(44))
        .y_label_area_size(px(56))
        .build_cartesian_2d((low..high).log_scale(), 0.0..fastest * 1.3)?;
    let mut places: Vec<f64> = points().map(|p| p.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .axis_style(INK.stroke_width(OVERSAMPLING))
        .x_label_formatter(&|_| String::new())
        .y_label_formatter(&|speed| format!("{speed:.0}"))
        .x_desc(label)
        .y_desc("images/s")
        .axis_desc_style(text(15))
        .label_style(text(14))
        .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
        .draw()?;
    // Plotters would label powers of ten only; these labels are drawn at the measured sizes.
    for &place in &places {
        let (x, y) = chart.backend_coord(&(place, 0.0));
        let (left, top) = area.get_base_pixel();
        let style = text(14).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        area.draw_text(&format!("{place}"), &style, (x - left, y - top + px(7)))?;
    }
    for curve in curves {
        let style = curve.color.stroke_width(3 * OVERSAMPLING / 2);
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
            .label(curve.label.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + px(16), y)], style));
        let dot = |&point: &(f64, f64)| Circle::new(point, px(3), style.filled());
        chart.draw_series(curve.points.iter().map(dot))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(px(20))
        .label_font(text(14))
        .draw()?;
    Ok(())
}
