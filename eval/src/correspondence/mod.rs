//! `eval correspondence`: how precisely features find the points of one picture in another.
//!
//! Without training and randomness: every cell of A whose centre is visible in B (or every key point) is matched
//! with the most similar cell of B, refined to sub-cell precision by a parabola. Errors are in pixels of the
//! pictures on disk. Baselines are random matches and matches at the same position, because a network can encode the
//! position of a cell instead of its contents (see `probe`).

pub mod fields;
mod key_points;
mod matches;
mod pairs;
mod spair;

use anyhow::bail;
use densecl::features::network_picture;
use densecl::matching::l2_normalize;
use densecl::metrics::{PCK_BOUNDS, PairScore, PointErrors};
use densecl::visualize::{DrawOptions, MatchLine, draw_matches, stack_vertical};
use image::{Rgb, RgbImage, imageops};
use rayon::prelude::*;
use serde_json::json;

use super::backbone::Backbone;
use super::figures::{Figure, bootstrap};
use super::{Evaluation, Look, Measured, spread};
use crate::matching;
use densecl_train::notes::note;
use densecl_train::report::caption;
use matches::{Shown, match_pair};
use pairs::{Opened, Pair, Truth};

/// Number of pairs decoded at once.
const CHUNK: usize = 8;
/// Number of lines drawn per pair.
const LINES: usize = 80;

/// Correspondence as an evaluation: pairs with known truth, and the feature to match.
#[derive(Debug, Clone)]
pub struct Correspondence {
    data: String,
    look: Look,
    pairs: Vec<Pair>,
}

impl Correspondence {
    /// Lists the pairs of `data`, at most `limit` of them.
    ///
    /// # Errors
    /// When there are none, as one line for the user.
    pub fn new(data: &str, look: Look, limit: Option<usize>) -> anyhow::Result<Self> {
        Ok(Self {
            data: data.to_string(),
            look,
            pairs: spread(pairs::find(data)?, limit),
        })
    }

    /// Draws the matches of a pair, under its name and score.
    fn draw(&self, title: &str, pair: &Pair, found: &Found) -> anyhow::Result<RgbImage> {
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

/// The matches of a pair.
struct Found {
    score: PairScore,
    /// The errors with B mirrored, where matching by position is wrong.
    mirrored: PointErrors,
    /// PCK relative to the object's box, where the points are of an object.
    by_object: Option<[f64; 2]>,
    lines: Vec<MatchLine>,
    shown: Vec<Shown>,
}

/// The errors of a pair.
#[derive(Debug, Clone, Copy)]
struct Scored {
    score: PairScore,
    mirrored: PointErrors,
    by_object: Option<[f64; 2]>,
}

impl Evaluation for Correspondence {
    fn name(&self) -> &'static str {
        "correspondence"
    }

    fn protocol(&self) -> serde_json::Value {
        json!({ "data": self.data, "pairs": self.pairs.len(), "look": self.look })
    }

    fn look(&self) -> Look {
        self.look
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
        let scores: Vec<Scored> = found
            .iter()
            .flatten()
            .map(|one| Scored {
                score: one.score,
                mirrored: one.mirrored,
                by_object: one.by_object,
            })
            .collect();
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
            .map(|(&i, one)| {
                let score = one.score;
                json!({
                    "pair": self.pairs[i].name,
                    "points": score.points,
                    "pck": score.found.pck,
                    "pck_mirrored": one.mirrored.pck,
                    "pck_by_object": one.by_object,
                    "end_point_error": score.found.end_point,
                    "mutual_precision": score.mutual_precision,
                    "mutual_precision_without_border": score.mutual_precision_without_border,
                })
            })
            .collect();
        let shown: Vec<Shown> = found
            .iter()
            .flatten()
            .flat_map(|one| &one.shown)
            .copied()
            .collect();
        let one = Measured {
            figures: figures(&scores),
            picture: Some(picture),
            details: json!({ "pairs": details, "by_cosine": by_cosine(&shown) }),
        };
        Ok(vec![one; seeds.len()])
    }
}

/// The number of matches of all pairs whose cosine reaches a threshold, and the shares of them within each of
/// [`PCK_BOUNDS`], for thresholds 0, 0.05, …, 0.95. Thresholds that no match reaches are left out.
fn by_cosine(shown: &[Shown]) -> Vec<serde_json::Value> {
    let thresholds = (0..20).map(|step| f64::from(step) / 20.0);
    let rows = thresholds.filter_map(|threshold| {
        let reached = |one: &&Shown| f64::from(one.cosine) >= threshold;
        let matches = shown.iter().filter(reached).count();
        let precision = [0, 1].map(|bound| {
            let right = shown.iter().filter(reached).filter(|one| one.right[bound]);
            right.count() as f64 / matches as f64
        });
        (matches > 0)
            .then(|| json!({ "cosine": threshold, "matches": matches, "precision": precision }))
    });
    rows.collect()
}

/// Means over pairs, so that each pair has the same weight whatever its size.
fn figures(scores: &[Scored]) -> Vec<Figure> {
    type Value<'a> = &'a (dyn Fn(&Scored) -> Option<f64> + Sync);
    let mean = |value: Value, drawn: &[usize]| {
        let values = drawn.iter().map(|&i| value(&scores[i]));
        let values: Vec<f64> = values.flatten().collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let all: Vec<usize> = (0..scores.len()).collect();
    let figure = |make: fn(&str, f64) -> Figure, name: String, value: Value| {
        make(&name, mean(value, &all).unwrap_or(0.0))
            .with_interval(bootstrap(scores.len(), |drawn| mean(value, drawn)))
    };
    type Of = fn(&Scored) -> &PointErrors;
    let whose: [(&str, Of, bool); 4] = [
        ("", |one| &one.score.found, true),
        (" with B mirrored", |one| &one.mirrored, true),
        (" by chance", |one| &one.score.chance, false),
        (" at the same place", |one| &one.score.same_place, false),
    ];
    let mut figures = Vec::new();
    for (suffix, of, of_backbone) in whose {
        let mut add = |figure: Figure| {
            figures.push(if of_backbone {
                figure
            } else {
                figure.baseline()
            });
        };
        for (index, bound) in PCK_BOUNDS.iter().enumerate().rev() {
            let name = format!("PCK@{bound}{suffix}");
            add(figure(Figure::share, name, &move |one| {
                Some(of(one).pck[index])
            }));
        }
        let name = format!("end-point error{suffix}");
        add(figure(Figure::error_pixels, name, &move |one| {
            Some(of(one).end_point)
        }));
    }
    if scores.iter().any(|one| one.by_object.is_some()) {
        for (index, bound) in PCK_BOUNDS.iter().enumerate().rev() {
            let name = format!("PCK@{bound} of the object's box");
            figures.push(figure(Figure::share, name, &move |one| {
                one.by_object.map(|pck| pck[index])
            }));
        }
    }
    type Precision = fn(&PairScore) -> Option<[f64; 2]>;
    let of_which: [(&str, Precision); 2] = [
        ("", |score| score.mutual_precision),
        (" without border", |score| {
            score.mutual_precision_without_border
        }),
    ];
    for (suffix, of) in of_which {
        for (index, bound) in PCK_BOUNDS.iter().enumerate() {
            let name = format!("mutual precision@{bound}{suffix}");
            figures.push(figure(Figure::share, name, &move |one| {
                of(&one.score).map(|precision| precision[index])
            }));
        }
    }
    let mutual = figure(Figure::share, "mutual matches".to_string(), &|one| {
        Some(one.score.mutual)
    });
    figures.push(mutual.baseline());
    let points = scores.iter().map(|one| one.score.points).sum();
    figures.push(Figure::count("points", points));
    figures.push(Figure::count("pairs", scores.len()));
    figures
}

impl Correspondence {
    /// Matches each pair; `None` where no point is visible in both pictures.
    fn matches(&self, backbone: &Backbone) -> anyhow::Result<Vec<Option<Found>>> {
        let gauge = backbone.watch.begin("pairs", self.pairs.len() as u64);
        let mut found = Vec::with_capacity(self.pairs.len());
        let (mut outside, mut first) = (0, None);
        for chunk in self.pairs.chunks(CHUNK) {
            let opened = chunk.par_iter().map(|pair| {
                let Opened { a, b, truth } = pair.open()?;
                let sizes = [&a, &b].map(|picture| picture.dimensions().into());
                let [a, b] = [a, b].map(|picture| network_picture(&picture, self.look.size));
                Ok((a, b, sizes, truth))
            });
            for one in opened.collect::<anyhow::Result<Vec<_>>>()? {
                if let (_, _, sizes, Truth::Points(points)) = &one {
                    let beyond = points.points.len() - points.inside(*sizes).count();
                    if beyond > 0 {
                        outside += beyond;
                        first.get_or_insert(&self.pairs[found.len()].name);
                    }
                }
                found.push(self.match_one(backbone, one)?);
                gauge.advance(1);
            }
        }
        if let Some(first) = first {
            note(format_args!(
                "{}: {outside} key points are outside their picture and left out, the first of {first}",
                self.data
            ));
        }
        Ok(found)
    }

    fn match_one(
        &self,
        backbone: &Backbone,
        (a, b, sizes, truth): (RgbImage, RgbImage, [[u32; 2]; 2], Truth),
    ) -> anyhow::Result<Option<Found>> {
        if let Some(stride) = backbone.stride(self.look.feature) {
            matching::ensure_comparable([&a, &b], stride, self.look.size)?;
        }
        let features = |picture| l2_normalize(backbone.features(&[picture], self.look.feature), 1);
        let mirror = features(imageops::flip_horizontal(&b));
        let (a, b) = (features(a), features(b));
        let plain = match_pair(a.clone(), b, sizes, &truth, false)?;
        let mirrored = match_pair(a, mirror, sizes, &truth, true)?;
        Ok(plain.zip(mirrored).map(|(plain, mirrored)| Found {
            score: plain.score,
            mirrored: mirrored.score.found,
            by_object: plain.by_object,
            lines: plain.lines,
            shown: plain.shown,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_the_matches_that_reach_them() {
        let one = |cosine, right| Shown { cosine, right };
        let shown = [
            one(0.5, [true, true]),
            one(0.25, [false, true]),
            one(0.1, [false, false]),
        ];
        let rows = by_cosine(&shown);
        let row = |i: usize| (rows[i]["matches"].clone(), rows[i]["precision"].clone());
        assert_eq!(row(0), (json!(3), json!([1.0 / 3.0, 2.0 / 3.0])));
        assert_eq!(row(5), (json!(2), json!([0.5, 1.0])));
        assert_eq!(row(10), (json!(1), json!([1.0, 1.0])));
        assert_eq!(rows.len(), 11);
    }
}
