use super::panels::BLUE;
use super::*;
use crate::row::test_rows::row;

fn figures() -> Vec<Figure> {
    densecl::method::figures(&densecl::config::MethodConfig::default())
}

#[test]
fn any_history_makes_a_figure_of_the_stated_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut gaps: Vec<MetricRow> = (1..=300).map(row).collect();
    for row in gaps.iter_mut().skip(100).take(30) {
        row.loss = f64::NAN;
        row.correspondence_accuracy = None;
    }
    gaps[7]
        .figures
        .insert("loss_dense".to_string(), f64::INFINITY);
    let mut empty = row(5);
    empty.loss = f64::NAN;
    empty.learning_rate = 0.0;
    let long = (1..=6000).map(row).collect();
    for history in [
        vec![],
        vec![row(1)],
        vec![row(1), row(2)],
        vec![empty],
        gaps,
        long,
    ] {
        let path = dir.path().join("curves.png");
        curves_png(&history, &figures(), "a test", &path).expect("a figure");
        let bytes = std::fs::read(&path).expect("a file");
        assert_eq!(image::guess_format(&bytes).ok(), Some(ImageFormat::Png));
        let image = image::load_from_memory(&bytes).expect("a picture");
        assert_eq!((image.width(), image.height()), SIZE);
    }
    let nowhere = dir.path().join("none/curves.png");
    let error = curves_png(&[], &[], "", &nowhere).expect_err("no folder");
    assert!(format!("{error:#}").contains("curves.png"));
}

#[test]
fn every_curve_is_on_the_figure() {
    let history: Vec<MetricRow> = (1..=200).map(|i| row(i * 10)).collect();
    let (blank, drawn) = (draw(&[], &[], ""), draw(&history, &figures(), ""));
    let count = |image: Result<RgbImage>, color: RGBColor| {
        let image = image.expect("a figure");
        image
            .pixels()
            .filter(|p| p.0 == [color.0, color.1, color.2])
            .count()
    };
    let blank = count(blank, BLUE);
    assert!(
        count(drawn, BLUE) > blank + 500,
        "blue lines in five panels"
    );
}
