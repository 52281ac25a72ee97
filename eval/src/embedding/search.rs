//! Finds the pictures of an index that are most similar to a given one.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Device;
use densecl::foreign::names::Selection;
use densecl_train::data::decode::{DecodeLimits, decode};
use densecl_train::paths;
use image::RgbImage;
use serde::Serialize;

use super::contact_sheet::{Tile, contact_sheet};
use super::index::{Hit, Index};
use super::job::Network;
use super::recipe::{Kind, Pool, Recipe};

/// The query of a search.
#[derive(Debug, Clone)]
pub struct SearchRequest<'a> {
    /// The query picture, to be compared with those of the index.
    pub query: &'a Path,
    /// The weights with which the index was made.
    pub weights: &'a Path,
    /// What is read of weights of another program: as for the index.
    pub selection: &'a Selection,
    /// The feature to compare; `None` = the first one with one vector per picture.
    pub feature: Option<Kind>,
    /// Number of pictures to find.
    pub k: usize,
    /// The folder that the names in the index are relative to.
    pub root: &'a Path,
}

/// A result of a search.
#[derive(Debug, Serialize)]
pub struct Found {
    /// Name of the picture in the index.
    pub name: String,
    /// Path of the picture.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Row of the index.
    pub row: usize,
    /// Cosine similarity, -1 to 1.
    pub score: f32,
}

/// The results of [`search`].
pub struct FoundPictures {
    /// The feature that was compared.
    pub feature: Kind,
    /// The results, best first.
    pub found: Vec<Found>,
    /// The query picture, resized for the network.
    query: RgbImage,
    recipe: Recipe,
}

/// Finds the pictures of `index` whose features are most similar to those of the query picture.
///
/// # Errors
/// One line for the user: for weights with which the index was not made, a feature that the index lacks, and a query
/// that does not decode.
pub fn search(
    index: &Index,
    request: &SearchRequest,
    device: &Device,
) -> anyhow::Result<FoundPictures> {
    let shown = index.path().display();
    let kinds = index.vectors();
    let feature = match request.feature {
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
    let network = Network::open(
        request.weights,
        request.selection,
        Some(origin.recipe.stride),
        device,
    )?;
    if network.sha256 != origin.weights_sha256 {
        bail!(
            "{} are not the weights of {shown}, which was made with {} (SHA-256 {}…, not {}…): give \
             those, or embed again",
            request.weights.display(),
            origin.weights,
            &origin.weights_sha256.chars().take(12).collect::<String>(),
            &network.sha256[..12]
        );
    }
    // The query is processed exactly as the rows of the index were.
    let recipe = Recipe {
        features: vec![feature],
        pool: Pool::Mean,
        ..origin.recipe.clone()
    };
    recipe
        .validate()
        .with_context(|| format!("{shown} is damaged"))?;
    recipe.ensure_in(&network.encoder)?;
    let pixels = decode(request.query, &DecodeLimits::default())
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", request.query.display()))?;
    let query = recipe.prepare(&pixels);
    let computed = recipe.compute(&network.encoder, std::slice::from_ref(&query), device)?;
    let hits = index.nearest(feature, &computed[0].values, request.k)?;
    let found = hits.iter().map(|&Hit { row, score }| Found {
        name: index.names[row].clone(),
        path: request.root.join(paths::path_of(&index.names[row])),
        row,
        score,
    });
    Ok(FoundPictures {
        feature,
        found: found.collect(),
        query,
        recipe,
    })
}

impl FoundPictures {
    /// Draws the query and the results. The place of a picture whose file is missing stays empty.
    ///
    /// # Errors
    /// When the text cannot be drawn.
    pub fn sheet(&self) -> anyhow::Result<RgbImage> {
        let mut tiles = vec![Tile {
            picture: Some(self.query.clone()),
            caption: "query".to_string(),
        }];
        for Found {
            name, path, score, ..
        } in &self.found
        {
            let picture = match decode(path, &DecodeLimits::default()) {
                Ok(pixels) => Some(self.recipe.prepare(&pixels)),
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
}

fn names(kinds: &[Kind]) -> String {
    if kinds.is_empty() {
        return "none".to_string();
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}
