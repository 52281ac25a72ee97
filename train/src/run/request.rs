//! What a user asks for: which run to start or to resume, with which settings, in which folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::folder::RunDir;
use super::pretrain::PreparedRun;
use crate::config::RunConfig;
use crate::presets::PRESETS;
use crate::settings;

/// Describes the run to start or to resume.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// A preset's name or a TOML file.
    pub config: Option<String>,
    /// Overrides `section.key=value`, applied in order.
    pub sets: Vec<String>,
    /// The folder of the run; `None` = `runs/<name of the config>`.
    pub out: Option<PathBuf>,
    /// The folder of a run to resume.
    pub resume: Option<PathBuf>,
    /// Replace an earlier run in the same folder.
    pub overwrite: bool,
}

impl RunRequest {
    /// The quick start: embedded scenes, a small network, minutes on a CPU.
    pub fn quick_start() -> Self {
        Self {
            config: Some("quickstart".to_string()),
            // Newcomers may repeat the quick start; the second time must not fail because of the first.
            overwrite: true,
            ..Self::default()
        }
    }
}

/// An earlier run, locked, with the step and path of its newest checkpoint.
pub(super) struct Resumed {
    pub(super) run: RunDir,
    pub(super) step: u64,
    pub(super) path: PathBuf,
}

/// The run that is requested, without the training state of another program.
///
/// # Errors
/// One line for the user.
pub(super) fn prepare(request: &RunRequest) -> anyhow::Result<PreparedRun> {
    if let Some(path) = &request.resume {
        return prepare_resume(request, path);
    }
    let (config, out) = settings_and_folder(request)?;
    config.validate()?;
    Ok(PreparedRun {
        overwrite: request.overwrite,
        ..PreparedRun::of(config, out)
    })
}

/// The settings, not yet validated, and the folder of a request.
///
/// # Errors
/// When the settings cannot be read, or neither a config nor a setting is given.
pub fn settings_and_folder(request: &RunRequest) -> anyhow::Result<(RunConfig, PathBuf)> {
    if let Some(path) = &request.resume {
        let run = RunDir::open(path)?;
        let config = settings::resolve_file(&run.config(), &request.sets)?;
        return Ok((config, path.clone()));
    }
    if request.config.is_none() && request.sets.is_empty() {
        bail!(
            "nothing says what to train on: give --data PATH, or --config with a preset or a file \
             (`densecl config` lists the presets)"
        );
    }
    let (name, config) = preset_or_file(request.config.as_deref(), &request.sets)?;
    let out = request
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name));
    Ok((config, out))
}

fn prepare_resume(request: &RunRequest, path: &Path) -> anyhow::Result<PreparedRun> {
    if request.config.is_some() || request.out.is_some() {
        bail!("--resume continues a run with its own settings: leave out --config and --out");
    }
    let mut run = RunDir::open(path)?;
    // Locked before reading, because a run that is still training could change the files.
    run.lock("wait for it, or stop it; it can be continued then")?;
    let saved: RunConfig = settings::resolve_file(&run.config(), &[])?;
    let config: RunConfig = settings::resolve_file(&run.config(), &request.sets)?;
    config.validate()?;
    // Resets the settings that do not affect the result of the remaining steps, and the number of steps.
    let comparable = |config: &RunConfig| {
        let mut config = config.clone();
        config.train.device.clear();
        config.train.exceeds_memory = false;
        (config.train.steps, config.train.epochs) = (0, 0);
        (config.data.threads, config.data.prefetch) = (0, 1);
        config.log = Default::default();
        config.checkpoint = Default::default();
        config
    };
    let (saved, asked) = (comparable(&saved), comparable(&config));
    if saved != asked {
        bail!(
            "--resume continues the same run, {}: only train.steps, train.epochs, train.device, \
             train.exceeds_memory, data.threads, data.prefetch, log.* and checkpoint.* may be changed",
            settings::differences(&saved, &asked)?.join(", ")
        );
    }
    let (step, newest) = run.checkpoints()?.pop().with_context(|| {
        format!(
            "{} holds no checkpoint yet: start it again with --overwrite",
            path.display()
        )
    })?;
    Ok(PreparedRun {
        resumed: Some(Resumed {
            run,
            step,
            path: newest,
        }),
        ..PreparedRun::of(config, path.to_path_buf())
    })
}

/// Loads a preset or a file, with overrides; returns the name for the run's folder and the settings.
pub fn preset_or_file(
    config: Option<&str>,
    sets: &[String],
) -> anyhow::Result<(String, RunConfig)> {
    let Some(wanted) = config else {
        return Ok(("pretrain".to_string(), settings::resolve(&[], sets)?));
    };
    if let Some(preset) = PRESETS.iter().find(|(name, _)| *name == wanted) {
        return Ok((wanted.to_string(), settings::resolve(&[*preset], sets)?));
    }
    let path = Path::new(wanted);
    if !path.exists() {
        let names = PRESETS.map(|(name, _)| name).join(", ");
        bail!("{wanted} is neither a file nor a preset; the presets are {names}");
    }
    let name = path
        .file_stem()
        .map_or("pretrain".into(), |stem| stem.to_string_lossy());
    Ok((name.into_owned(), settings::resolve_file(path, sets)?))
}
