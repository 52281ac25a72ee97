//! `eval correspondence`: how near features find the points of one picture in another.
//!
//! No training and no randomness: every cell of A whose centre is seen in B (or every key point) takes
//! the most similar cell of B, refined between cells by a parabola. Distances to the truth are in pixels
//! of the pictures as they are on disk. Beside it stand what chance and the same place would reach: a
//! network can know *where* a cell is without knowing *what* is there (see `probe`).

mod fields;
mod matches;
mod pairs;

use anyhow::bail;
use burn::tensor::Tensor;
use densecl::features::network_picture;
use densecl::matching::l2_normalize;
use densecl::metrics::{PCK_BOUNDS, PairScore, PointErrors};
use densecl::visualize::{DrawOptions, MatchLine, draw_matches, stack_vertical};
use image::{Rgb, RgbImage};
use serde_json::json;

use super::backbone::Backbone;
use super::figures::{Figure, bootstrap};
use super::stream::stream;
use super::{Evaluation, Look, Measured, spread};
use crate::report::caption;
use matches::{PairMatches, match_pair};
use pairs::{Opened, Pair, Truth};

/// Lines drawn of a pair.
const LINES: usize = 80;

/// Pairs with truth, and where to look.
#[derive(Debug, Clone)]
pub(crate) struct Correspondence {
    data: String,
    look: Look,
    pairs: Vec<Pair>,
}

impl Correspondence {
    /// Finds the pairs of `data`, at most `limit` of them.
    ///
    /// # Errors
    /// When there are none; one line for the user.
    pub(crate) fn new(data: &str, look: Look, limit: Option<usize>) -> anyhow::Result<Self> {
        Ok(Self {
            data: data.to_string(),
            look,
            pairs: spread(pairs::find(data)?, limit),
        })
    }

    /// A picture with the matches of a pair, under its name and score.
    fn draw(&self, title: &str, pair: &Pair, found: &PairMatches) -> anyhow::Result<RgbImage> {
        let Opened { a, b, .. } = pair.open()?;
        let [a, b] = [a, b].map(|picture| network_picture(&picture, self.look.size));
        let options = DrawOptions {
            scale: (320 / a.width().max(a.height())).max(1),
            ..DrawOptions::default()
        };
        let lines = spread(found.lines.clone(), Some(LINES));
        let lines: Vec<MatchLine> = lines
            .into_iter()
            .map(|line| MatchLine {
                a: [0, 1].map(|i| line.a[i] * [a.width(), a.height()][i] as f32),
                b: [0, 1].map(|i| line.b[i] * [b.width(), b.height()][i] as f32),
                ..line
            })
            .collect();
        let drawn = draw_matches(&a, &b, &lines, &options);
        let text = format!(
            "{title}: {} · {:.0} % within {} of the larger side",
            pair.name,
            100.0 * found.score.found.pck[1],
            PCK_BOUNDS[1]
        );
        let head = caption(&text, drawn.width())?;
        Ok(stack_vertical(&[&head, &drawn], 0, Rgb([255; 3])))
    }
}

impl Evaluation for Correspondence {
    fn name(&self) -> &'static str {
        "correspondence"
    }

    fn protocol(&self) -> serde_json::Value {
        json!({ "data": self.data, "pairs": self.pairs.len(), "look": self.look })
    }

    fn stride(&self) -> Option<usize> {
        self.look.stride
    }

    fn is_random(&self) -> bool {
        false
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let found = self.matches(backbone)?;
        let judged: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_some()).collect();
        if judged.is_empty() {
            bail!(
                "{}: no pair has a point that is seen in both pictures",
                self.data
            );
        }
        let scores: Vec<PairScore> = found.iter().flatten().map(|one| one.score).collect();
        let by_score = |&i: &usize| found[i].as_ref().map_or(0.0, |one| one.score.found.pck[1]);
        let order = |a: &&usize, b: &&usize| by_score(a).total_cmp(&by_score(b));
        let mut drawn = Vec::new();
        for (title, pair) in [
            ("best", judged.iter().max_by(order)),
            ("worst", judged.iter().min_by(order)),
        ] {
            if let Some(&i) = pair
                && let Some(found) = &found[i]
            {
                drawn.push(self.draw(title, &self.pairs[i], found)?);
            }
        }
        let picture = stack_vertical(&drawn.iter().collect::<Vec<_>>(), 8, Rgb([255; 3]));
        let details: Vec<_> = judged
            .iter()
            .zip(&scores)
            .map(|(&i, score)| {
                json!({
                    "pair": self.pairs[i].name,
                    "points": score.points,
                    "pck": score.found.pck,
                    "end_point_error": score.found.end_point,
                    "mutual_precision": score.mutual_precision,
                })
            })
            .collect();
        let one = Measured {
            figures: figures(&scores),
            picture: Some(picture),
            details: json!({ "pairs": details }),
        };
        Ok(vec![one; seeds.len()])
    }
}

/// Means over pairs, so that each counts the same whatever its size.
fn figures(scores: &[PairScore]) -> Vec<Figure> {
    let mean = |value: &(dyn Fn(&PairScore) -> Option<f64> + Sync), drawn: &[usize]| {
        let values: Vec<f64> = drawn.iter().filter_map(|&i| value(&scores[i])).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let all: Vec<usize> = (0..scores.len()).collect();
    let figure = |make: fn(&str, f64) -> Figure,
                  name: String,
                  value: &(dyn Fn(&PairScore) -> Option<f64> + Sync)| {
        make(&name, mean(value, &all).unwrap_or(0.0))
            .with_interval(bootstrap(scores.len(), |drawn| mean(value, drawn)))
    };
    type Of = fn(&PairScore) -> &PointErrors;
    let whose: [(&str, Of); 3] = [
        ("", |score| &score.found),
        (" by chance", |score| &score.chance),
        (" at the same place", |score| &score.same_place),
    ];
    let mut figures = Vec::new();
    for (suffix, of) in whose {
        let baseline = |figure: Figure| {
            if suffix.is_empty() {
                figure
            } else {
                figure.baseline()
            }
        };
        for (index, bound) in PCK_BOUNDS.iter().enumerate().rev() {
            let name = format!("PCK@{bound}{suffix}");
            figures.push(baseline(figure(Figure::share, name, &move |score| {
                Some(of(score).pck[index])
            })));
        }
        let name = format!("end-point error{suffix}");
        figures.push(baseline(figure(
            Figure::error_pixels,
            name,
            &move |score| Some(of(score).end_point),
        )));
    }
    for (index, bound) in PCK_BOUNDS.iter().enumerate() {
        let name = format!("mutual precision@{bound}");
        figures.push(figure(Figure::share, name, &move |score| {
            score.mutual_precision.map(|precision| precision[index])
        }));
    }
    figures.push(
        figure(Figure::share, "mutual matches".to_string(), &|score| {
            Some(score.mutual)
        })
        .baseline(),
    );
    let points = scores.iter().map(|score| score.points).sum();
    figures.push(Figure::count("points", points));
    figures.push(Figure::count("pairs", scores.len()));
    figures
}

impl Correspondence {
    /// What the backbone finds in each pair; `None` where no point is seen in both pictures.
    fn matches(&self, backbone: &Backbone) -> anyhow::Result<Vec<Option<PairMatches>>> {
        let mut found = Vec::with_capacity(self.pairs.len());
        let mut first: Option<(Tensor<4>, [u32; 2])> = None;
        // Pictures come one by one, A and B by turns; the truth comes with B.
        let open = |i: usize| {
            let Opened { a, b, truth } = self.pairs[i / 2].open()?;
            let (picture, truth) = if i.is_multiple_of(2) {
                (a, None)
            } else {
                (b, Some(truth))
            };
            let size = picture.dimensions().into();
            Ok((network_picture(&picture, self.look.size), (size, truth)))
        };
        stream(
            backbone,
            self.look.feature,
            2 * self.pairs.len(),
            "pictures",
            open,
            |_, (size, truth): ([u32; 2], Option<Truth>), map| {
                let map = l2_normalize(map, 1);
                match (first.take(), truth) {
                    (Some((a, size_a)), Some(truth)) => {
                        found.push(match_pair(a, map, [size_a, size], &truth)?);
                    }
                    _ => first = Some((map, size)),
                }
                Ok(())
            },
        )?;
        Ok(found)
    }
}
