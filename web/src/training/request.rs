//! The settings of a training, from what a page asks for.

use anyhow::bail;
use densecl::config::Precision;
use densecl_train::config::{RunConfig, SCENES};
use densecl_train::{presets, settings};
use serde::{Deserialize, Serialize};

/// The preset of a training in a page.
const PRESET: &str = "tab";

/// The value of `data.source` for pictures that a page gives.
const PICTURES: &str = "pictures in a browser";

/// The fewest images that are held out of a training on pictures. The program holds out a twentieth, which of a few
/// pictures would be none.
const LEAST_HELD_OUT: usize = 2;

/// What a training minimises: the settings that differ from the preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Objective {
    /// The preset's, which is that of the quick start.
    QuickStart,
    /// DenseCL as in its paper.
    DenseCl,
    /// MoCo v2: DenseCL with λ = 0.
    MocoV2,
    /// BYOL as in `configs/byol_scenes.toml`.
    Byol,
}

/// What is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    /// The embedded scenes.
    Scenes,
    /// Pictures that the page gives.
    Pictures,
}

/// What a page asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) source: Source,
    pub(super) objective: Objective,
    /// Steps of the run; none = those of the preset.
    #[serde(default)]
    steps: Option<u64>,
    #[serde(default)]
    seed: u64,
    /// Further settings, as of the program's `--set`.
    #[serde(default)]
    set: Vec<String>,
    /// All settings of a run that is resumed, as TOML; the fields before are then not used.
    #[serde(default)]
    settings: Option<String>,
}

impl Objective {
    fn sets(self) -> &'static [&'static str] {
        match self {
            Self::QuickStart => &[],
            Self::DenseCl => &["method.matching=backbone", "method.in_view_weight=0"],
            Self::MocoV2 => &[
                "method.matching=backbone",
                "method.in_view_weight=0",
                "method.lambda=0",
            ],
            Self::Byol => &[
                "method.name=byol",
                "method.matching=backbone",
                "method.in_view_weight=0",
                "method.in_view_temperature=0.2",
                "method.queue=0",
                "method.momentum=0.99",
                "method.momentum_schedule=cosine",
                "method.projector_hidden=512",
                "method.projector_dim=128",
                "method.bn_groups=1",
                "views.saturation=0.2",
                "views.blur_p=1.0",
                "views.second={ blur_p = 0.1, solarize_p = 0.2 }",
            ],
        }
    }
}

impl Request {
    /// Whether the settings are those of an earlier run.
    pub(super) fn is_resumed(&self) -> bool {
        self.settings.is_some()
    }

    /// The settings.
    ///
    /// # Errors
    /// One line that names the setting, for one that does not exist, is out of range, or does not work in a browser.
    pub(super) fn config(&self) -> anyhow::Result<RunConfig> {
        let mut config: RunConfig = match &self.settings {
            Some(text) => settings::resolve(&[("the stored settings", text)], &[])?,
            None => self.new_config()?,
        };
        config.data.source = match self.source {
            Source::Scenes => SCENES,
            Source::Pictures => PICTURES,
        }
        .to_string();
        // The page decides when the state is kept; the loop keeps it after the last step.
        config.checkpoint.every_steps = 0;
        config.validate()?;
        if config.optim.precision != Precision::F32 {
            bail!(
                "optim.precision = {}: a training in a browser computes in f32",
                config.optim.precision.name()
            );
        }
        Ok(config)
    }

    fn new_config(&self) -> anyhow::Result<RunConfig> {
        let preset = presets::PRESETS.iter().find(|(name, _)| *name == PRESET);
        let (name, text) = preset.expect("the preset comes with the library");
        let own = [
            Some(format!("train.seed={}", self.seed)),
            self.steps.map(|steps| format!("train.steps={steps}")),
        ];
        let objective = self.objective.sets().iter().map(ToString::to_string);
        let sets: Vec<String> = objective
            .chain(own.into_iter().flatten())
            .chain(self.set.iter().cloned())
            .collect();
        settings::resolve(&[(name, text)], &sets)
    }
}

/// How many of `pictures` pictures are held out of training for the measurement.
pub(super) fn held_out(config: &RunConfig, pictures: usize) -> usize {
    (pictures / 20).max(LEAST_HELD_OUT).min(config.eval.pairs)
}

/// Makes the batch of a new run small enough for `images` images to train on: at most as many, in whole groups of batch
/// normalisation.
pub(super) fn fit(config: &mut RunConfig, images: usize) {
    let groups = config.method.bn_groups * config.optim.accumulate.max(1);
    let most = config.train.batch_size.min(images);
    config.train.batch_size = (most / groups * groups).max(groups);
    if config.method.queue > images {
        config.method.queue = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        serde_json::from_str(text).expect("a request")
    }

    #[test]
    fn every_objective_gives_valid_settings_on_both_sources() {
        for objective in ["quickstart", "densecl", "mocov2", "byol"] {
            for source in ["scenes", "pictures"] {
                let text = format!(r#"{{"source": "{source}", "objective": "{objective}"}}"#);
                let config = request(&text).config().expect(&text);
                let named = match objective {
                    "mocov2" => config.method.lambda == 0.0,
                    "byol" => config.method.objective() == "BYOL",
                    "densecl" => config.method.objective() == "DenseCL",
                    _ => config.method.needs_geometry(),
                };
                assert!(named, "{text}: {}", config.method.objective());
                let text = settings::to_toml(&config).expect("TOML");
                let again = serde_json::json!({
                    "source": source, "objective": objective, "settings": text,
                });
                let again = request(&again.to_string()).config().expect("resolved");
                assert_eq!(again, config);
            }
        }
    }

    #[test]
    fn settings_of_the_page_come_last_and_are_checked() {
        let set = |set: &str| {
            let text = serde_json::json!({
                "source": "scenes", "objective": "quickstart", "seed": 3, "steps": 7, "set": [set],
            });
            request(&text.to_string()).config()
        };
        let config = set("optim.lr=0.5").expect("a setting");
        assert_eq!(
            (config.optim.lr, config.train.seed, config.train.steps),
            (0.5, 3, 7)
        );
        for (wrong, says) in [
            ("optim.speed=1", "optim.speed"),
            ("train.batch_size=0", "train.batch_size"),
            ("optim.precision=f16", "in f32"),
        ] {
            let error = set(wrong).expect_err(wrong).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn few_pictures_make_a_smaller_batch() {
        let config = request(r#"{"source": "pictures", "objective": "quickstart"}"#);
        let config = config.config().expect("settings");
        assert_eq!(held_out(&config, 16), 2);
        assert_eq!(held_out(&config, 2000), config.eval.pairs.min(100));
        for (images, batch) in [(14, 14), (15, 14), (1000, config.train.batch_size)] {
            let mut config = config.clone();
            fit(&mut config, images);
            assert_eq!(config.train.batch_size, batch, "{images} images");
            config.validate().expect("still valid");
            assert!(config.method.queue_len(images, batch).is_ok());
        }
    }
}
