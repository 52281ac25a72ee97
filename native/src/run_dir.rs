//! A run's folder: what is where, and writes that leave either the old file or the new one.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::{ImageFormat, RgbImage};

/// `RUN/`: `config.toml`, `data.json`, `metrics.jsonl`, `checkpoints/`, `tensorboard/`, `weights.safetensors`,
/// `result.json`, `curves.png`, `matches.png`, `bad_files.txt`.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When it cannot be written to, or already holds a run and is not to be overwritten.
    pub(crate) fn create(path: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let run = Self(path.to_path_buf());
        let shown = path.display();
        let refused = |error: std::io::Error| {
            anyhow::anyhow!(
                "{shown} cannot be written to ({error}): choose another folder with --out"
            )
        };
        fs::create_dir_all(run.checkpoints_dir()).map_err(refused)?;
        // Found out now rather than at the first checkpoint, an hour into the run.
        tempfile::tempfile_in(path).map_err(refused)?;
        if overwrite {
            return Ok(run);
        }
        if let Some((step, _)) = run.checkpoints()?.last() {
            bail!(
                "{shown} already holds a run (at step {step}): continue it with --resume {shown}, \
                 replace it with --overwrite, or choose another folder with --out"
            );
        }
        if run.config().exists() {
            bail!(
                "{shown} already holds a config.toml, of a run without a checkpoint or of something \
                 else: replace it with --overwrite, or choose another folder with --out"
            );
        }
        Ok(run)
    }

    /// Removes what an earlier run left, and nothing else: the folder may hold other files too.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        let removed = |result: std::io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        };
        for (_, path) in self.checkpoints()? {
            removed(fs::remove_file(&path), &path)?;
        }
        let folder = self.tensorboard();
        removed(fs::remove_dir_all(&folder), &folder)?;
        for file in [
            self.config(),
            self.data(),
            self.metrics(),
            self.weights(),
            self.result(),
            self.before(),
            self.curves(),
            self.matches_before(),
            self.matches(),
            self.bad_files(),
        ] {
            removed(fs::remove_file(&file), &file)?;
        }
        Ok(())
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let run = Self(path.to_path_buf());
        if !run.config().is_file() {
            bail!(
                "{} is not the folder of a run: it has no config.toml; give the folder that \
                 pretrain wrote with --out",
                path.display()
            );
        }
        Ok(run)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The resolved settings.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Which files the run is on, so that it is not continued on others.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data.json")
    }

    /// One JSON object per logged step.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// TensorBoard's event files.
    pub(crate) fn tensorboard(&self) -> PathBuf {
        self.0.join("tensorboard")
    }

    /// The query encoder at the end.
    pub(crate) fn weights(&self) -> PathBuf {
        self.0.join("weights.safetensors")
    }

    /// The figures of the whole run.
    pub(crate) fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }

    /// What the untrained network could do, for the comparison at the end.
    pub(crate) fn before(&self) -> PathBuf {
        self.0.join("before.json")
    }

    /// Curves over the run.
    pub(crate) fn curves(&self) -> PathBuf {
        self.0.join("curves.png")
    }

    /// Matches before training.
    pub(crate) fn matches_before(&self) -> PathBuf {
        self.0.join("matches_before.png")
    }

    /// Matches before and after training.
    pub(crate) fn matches(&self) -> PathBuf {
        self.0.join("matches.png")
    }

    /// Files that did not decode, a line each.
    pub(crate) fn bad_files(&self) -> PathBuf {
        self.0.join("bad_files.txt")
    }

    fn checkpoints_dir(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// The checkpoints by step, oldest first.
    pub(crate) fn checkpoints(&self) -> anyhow::Result<Vec<(u64, PathBuf)>> {
        let dir = self.checkpoints_dir();
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let step = name
                .strip_prefix("step_")
                .and_then(|s| s.strip_suffix(".safetensors"));
            if let Some(step) = step.and_then(|digits| digits.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes the checkpoint of `step`, then removes all but the newest `keep`.
    ///
    /// # Errors
    /// When the disk is full or gone; earlier checkpoints are then untouched.
    pub(crate) fn save_checkpoint(
        &self,
        step: u64,
        bytes: &[u8],
        keep: usize,
    ) -> anyhow::Result<PathBuf> {
        let path = self
            .checkpoints_dir()
            .join(format!("step_{step:08}.safetensors"));
        write_atomically(&path, bytes)
            .context("saving a checkpoint failed; earlier checkpoints are untouched")?;
        let checkpoints = self.checkpoints()?;
        for (_, old) in &checkpoints[..checkpoints.len().saturating_sub(keep)] {
            fs::remove_file(old).with_context(|| format!("removing {}", old.display()))?;
        }
        Ok(path)
    }
}

/// Writes `bytes` beside `path`, makes sure that they are on the disk, and only then takes its place.
///
/// # Errors
/// When that fails; what was at `path` is then still there, whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".densecl-")
        .suffix(".partial")
        .tempfile_in(folder)
        .with_context(context)?;
    // Not through the wrapper, whose errors name the temporary file.
    file.as_file_mut().write_all(bytes).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    // Temporary files are private to the user; results are to be shared like any other file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(0o644);
        file.as_file()
            .set_permissions(permissions)
            .with_context(context)?;
    }
    file.persist(path)
        .map_err(|e| e.error)
        .with_context(context)?;
    Ok(())
}

/// Refuses a name for a picture that promises another format than PNG.
///
/// # Errors
/// When `path` does not end in `.png`.
pub(crate) fn ensure_png(path: &Path) -> anyhow::Result<()> {
    let extension = path.extension().unwrap_or_default();
    if !extension.eq_ignore_ascii_case("png") {
        bail!(
            "{}: the picture is a PNG, give a name that ends in .png",
            path.display()
        );
    }
    Ok(())
}

/// Writes a picture as PNG, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_png(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("encoding {}", path.display()))?;
    write_atomically(path, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_checkpoints_are_kept_in_order_of_steps() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(&dir.path().join("run"), false).expect("a new run");
        for step in [5, 90, 100, 1000] {
            run.save_checkpoint(step, b"state", 2).expect("saved");
        }
        let steps: Vec<u64> = run
            .checkpoints()
            .expect("listed")
            .into_iter()
            .map(|(step, _)| step)
            .collect();
        assert_eq!(steps, [100, 1000]);
        let error = RunDir::create(run.path(), false)
            .expect_err("a run is there")
            .to_string();
        assert!(
            error.contains("--resume") && error.contains("step 1000"),
            "{error}"
        );
    }

    #[test]
    fn only_what_a_run_wrote_is_cleared() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(dir.path(), false).expect("a new run");
        run.save_checkpoint(5, b"state", 2).expect("saved");
        fs::write(run.config(), "").expect("written");
        fs::write(dir.path().join("notes.txt"), "mine").expect("written");
        fs::write(dir.path().join("checkpoints/best.pt"), "mine").expect("written");
        RunDir::create(dir.path(), true)
            .and_then(|run| run.clear())
            .expect("cleared");
        assert!(run.checkpoints().expect("listed").is_empty());
        assert!(!run.config().exists());
        assert!(dir.path().join("notes.txt").exists());
        assert!(dir.path().join("checkpoints/best.pt").exists());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        write_atomically(&path, b"old").expect("written");
        // A folder cannot be replaced by a file.
        let taken = dir.path().join("folder");
        fs::create_dir(&taken).expect("made");
        assert!(write_atomically(&taken, b"new").is_err());
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_folder_that_is_no_run_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = RunDir::open(dir.path()).expect_err("no run").to_string();
        assert!(error.contains("config.toml"), "{error}");
    }
}
