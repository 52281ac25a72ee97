//! `densecl search`: the pictures of an index that are most like one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::RgbImage;
use serde::Serialize;

use crate::cli::embed::Search;
use crate::console;
use crate::device;
use crate::outputs::Files;
use crate::results::{ensure_png, write_json};
use densecl_eval::contact_sheet::{Tile, contact_sheet};
use densecl_eval::embedding::index::{Hit, Index};
use densecl_eval::embedding::{Kind, Network, Pool, Recipe};
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::files::write_png;
use densecl_train::paths;

/// `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    query: String,
    index: String,
    feature: Kind,
    /// Rows of the index.
    rows: usize,
    /// The best first.
    found: Vec<Found<'a>>,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    /// As the index has it.
    name: &'a str,
    #[serde(serialize_with = "paths::serialize")]
    path: PathBuf,
    /// Row of the index.
    row: usize,
    /// Cosine similarity, -1 to 1.
    score: f32,
}

/// Finds, prints and draws.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &Search) -> anyhow::Result<()> {
    let device = &device::open(&args.device)?.device;
    if let Some(out) = &args.out {
        ensure_png(out)?;
    }
    let index = Index::open(&args.index)?;
    let shown = args.index.display();
    let root = args.images.clone();
    let root = root.unwrap_or_else(|| paths::path_of(&index.origin.images));
    let pictures = index
        .names
        .iter()
        .map(|name| root.join(paths::path_of(name)));
    let pictures = pictures.collect();
    Files::default()
        .reads_each("--index", &args.index, pictures)
        .may_write("--out", args.out.as_deref())
        .may_write("--json", args.json.as_deref())
        .check()?;
    let kinds = index.vectors();
    let kind = match args.feature {
        Some(kind) if kinds.contains(&kind) => kind,
        Some(kind) => bail!(
            "--feature {}: {shown} has no such vectors, it has {}",
            kind.name(),
            names(&kinds)
        ),
        None => *kinds.first().with_context(|| {
            format!("{shown} has cells, not a vector per picture: embed again with --pool mean")
        })?,
    };

    let origin = &index.origin;
    let network = Network::open(&args.weights, Some(origin.recipe.stride), device)?;
    if network.sha256 != origin.weights_sha256 {
        bail!(
            "{} are not the weights of {shown}, which was made with {} (SHA-256 {}…, not {}…): give \
             those, or embed again",
            args.weights.display(),
            origin.weights,
            &origin.weights_sha256.chars().take(12).collect::<String>(),
            &network.sha256[..12]
        );
    }
    // The same as for the rows of the index.
    let recipe = Recipe {
        features: vec![kind],
        pool: Pool::Mean,
        ..origin.recipe.clone()
    };
    recipe
        .validate()
        .with_context(|| format!("{shown} is damaged"))?;
    recipe.ensure_in(&network.encoder)?;
    let pixels = decode(&args.query, &DecodeLimits::default())
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", args.query.display()))?;
    let query = recipe.prepare(&pixels);
    let computed = recipe.compute(&network.encoder, std::slice::from_ref(&query), device)?;
    let hits = index.nearest(kind, &computed[0].values, usize::from(args.k))?;

    let found: Vec<Found> = hits
        .iter()
        .map(|&Hit { row, score }| Found {
            name: &index.names[row],
            path: root.join(paths::path_of(&index.names[row])),
            row,
            score,
        })
        .collect();
    if let Some(out) = &args.out {
        write_png(out, &sheet(&query, &found, &recipe)?)?;
        console::note(format_args!("the pictures found: {}", out.display()));
    }
    // Standard output is either for people or for programs.
    if args.json.as_deref() != Some(Path::new("-")) {
        let lines = found
            .iter()
            .map(|found| format!("{:7.4}  {}\n", found.score, paths::line(&found.path)));
        console::print(&lines.collect::<String>())?;
    }
    if let Some(json) = &args.json {
        let report = Report {
            query: paths::text(&args.query),
            index: paths::text(&args.index),
            feature: kind,
            rows: index.names.len(),
            found,
        };
        write_json(json, &report)?;
    }
    Ok(())
}

/// The query and what was found, as the network saw them. A picture that is gone leaves its place
/// empty.
fn sheet(query: &RgbImage, found: &[Found], recipe: &Recipe) -> anyhow::Result<RgbImage> {
    let mut tiles = vec![Tile {
        picture: Some(query.clone()),
        caption: "query".to_string(),
    }];
    for Found {
        name, path, score, ..
    } in found
    {
        let picture = match decode(path, &DecodeLimits::default()) {
            Ok(pixels) => Some(recipe.prepare(&pixels)),
            Err(reason) => {
                log::warn!(
                    "{}: {reason}; --images says where the pictures are",
                    path.display()
                );
                None
            }
        };
        let name = paths::path_of(name);
        let name = paths::line(name.file_name().unwrap_or_default());
        tiles.push(Tile {
            picture,
            caption: format!("{score:.3}  {name}"),
        });
    }
    contact_sheet(&tiles)
}

fn names(kinds: &[Kind]) -> String {
    if kinds.is_empty() {
        return "none".to_string();
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}
