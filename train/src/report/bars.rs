//! Bar charts with error bars: one panel per figure, one bar per candidate.

use anyhow::{Context, Result};
use image::RgbImage;
use image::imageops::{self, FilterType};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::text::{self, FONT};

/// Okabe and Ito's palette, distinguishable with every kind of colour-blindness.
const COLORS: [RGBColor; 7] = [
    RGBColor(150, 150, 150),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT_INK: RGBColor = RGBColor(115, 115, 115);

/// Rendered pixels per pixel of the chart along each axis: anti-aliases lines and text.
const OVERSAMPLING: i32 = 2;
/// Panels side by side, and the dimensions of a panel in pixels of the chart.
const COLUMNS: usize = 2;
const PANEL_WIDTH: i32 = 560;
const TITLE: i32 = 64;
const HEADER: i32 = 44;
const BAR: i32 = 30;
const MARGIN: i32 = 20;
/// Where bars begin and where the longest one ends, in pixels from the panel's left edge.
const LEFT: i32 = 150;
const RIGHT: i32 = 420;

/// One figure for all candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct BarPanel {
    /// What is measured.
    pub title: String,
    /// How to read the figure, such as its unit.
    pub note: String,
    /// The candidates, the same in every panel.
    pub bars: Vec<Bar>,
}

/// The bar of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Name of the candidate.
    pub name: String,
    /// Length, ≥ 0.
    pub value: f64,
    /// Half the length of the error bar; `None` draws none.
    pub deviation: Option<f64>,
    /// The value as text.
    pub label: String,
}

/// Draws the panels under a title; each panel's axis goes from 0 to its own largest value.
///
/// # Errors
/// When the font cannot be used.
pub fn bars(title: &str, panels: &[BarPanel]) -> Result<RgbImage> {
    text::register()?;
    let rows: Vec<&[BarPanel]> = panels.chunks(COLUMNS).collect();
    let height_of = |row: &[BarPanel]| {
        let most = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
        HEADER + BAR * most as i32 + MARGIN
    };
    let height = TITLE + rows.iter().map(|row| height_of(row)).sum::<i32>();
    let width = PANEL_WIDTH * COLUMNS as i32;
    let size = [width, height].map(|side| (side * OVERSAMPLING) as u32);
    let mut buffer = vec![0u8; (size[0] * size[1] * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut buffer, size.into()).into_drawing_area();
        area.fill(&WHITE)?;
        area.draw_text(title, &style(24, &INK), at(MARGIN, 18))?;
        let mut top = TITLE;
        for row in rows {
            for (column, panel) in row.iter().enumerate() {
                draw(&area, panel, [PANEL_WIDTH * column as i32, top])?;
            }
            top += height_of(row);
        }
        area.present()?;
    }
    let image = RgbImage::from_raw(size[0], size[1], buffer).context("a buffer of this size")?;
    let (width, height) = (width as u32, height as u32);
    Ok(imageops::resize(
        &image,
        width,
        height,
        FilterType::Triangle,
    ))
}

fn draw(
    area: &DrawingArea<BitMapBackend, Shift>,
    panel: &BarPanel,
    [x, y]: [i32; 2],
) -> Result<()> {
    area.draw_text(&panel.title, &style(18, &INK), at(x + MARGIN, y))?;
    area.draw_text(&panel.note, &style(14, &FAINT_INK), at(x + MARGIN, y + 21))?;
    let reach = |bar: &Bar| bar.value + bar.deviation.unwrap_or(0.0);
    let greatest = panel.bars.iter().map(reach).fold(0.0, f64::max);
    let place = |value: f64| {
        let share = if greatest > 0.0 {
            value / greatest
        } else {
            0.0
        };
        x + LEFT + (share.clamp(0.0, 1.0) * f64::from(RIGHT - LEFT)).round() as i32
    };
    for (index, bar) in panel.bars.iter().enumerate() {
        let top = y + HEADER + BAR * index as i32;
        let middle = top + BAR / 2 - 3;
        let color = COLORS[index % COLORS.len()];
        let name = style(15, &INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw_text(&bar.name, &name, at(x + LEFT - 8, middle))?;
        let corners = [at(x + LEFT, top), at(place(bar.value), top + BAR - 8)];
        area.draw(&Rectangle::new(corners, color.filled()))?;
        if let Some(deviation) = bar.deviation {
            let [low, high] = [-1.0, 1.0].map(|side| place(bar.value + side * deviation));
            let line = |from: (i32, i32), to: (i32, i32)| {
                PathElement::new(vec![from, to], INK.stroke_width(2 * OVERSAMPLING as u32))
            };
            area.draw(&line(at(low, middle), at(high, middle)))?;
            for end in [low, high] {
                area.draw(&line(at(end, middle - 5), at(end, middle + 5)))?;
            }
        }
        let label = style(15, &INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&bar.label, &label, at(place(reach(bar)) + 10, middle))?;
    }
    Ok(())
}

fn at(x: i32, y: i32) -> (i32, i32) {
    (x * OVERSAMPLING, y * OVERSAMPLING)
}

fn style(size: i32, color: &'static RGBColor) -> TextStyle<'static> {
    let font = (FONT, size * OVERSAMPLING);
    font.into_text_style(&(0, 0)).color(color)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(values: &[f64]) -> BarPanel {
        BarPanel {
            title: "mIoU %".to_string(),
            note: "higher is better".to_string(),
            bars: values
                .iter()
                .map(|&value| Bar {
                    name: "name".to_string(),
                    value,
                    deviation: Some(value / 10.0),
                    label: format!("{value}"),
                })
                .collect(),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let picture = bars("title", &[panel(&[0.5, 2.0, 1.0]), panel(&[0.0])]).expect("drawn");
        let length = |color: RGBColor| {
            let near = |p: &image::Rgb<u8>| {
                let RGBColor(r, g, b) = color;
                [r, g, b].iter().zip(p.0).all(|(a, b)| a.abs_diff(b) < 8)
            };
            let rows = picture.rows().map(|row| row.filter(|p| near(p)).count());
            rows.max().expect("rows")
        };
        // The first bar is left out, because its grey also occurs at the edges of letters.
        let (long, short) = (length(COLORS[1]) as f64, length(COLORS[2]) as f64);
        assert!((long / short - 2.0).abs() < 0.05, "{long} {short}");
        assert!(bars("", &[]).is_ok());
    }
}
