//! The folder of a run: the paths in it, its lock, and the removal of an earlier run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::files::{remove_unfinished, write_atomically};
use crate::folder_lock::FolderLock;

/// The folder `RUN/`, with `config.toml`, `data.json`, `metrics.jsonl`, `checkpoints/`, `tensorboard/`,
/// `weights.safetensors`, `result.json`, `kernels.json`, `curves.png`, `matches.png`, `bad_files.txt`, `boxes.jsonl` and a
/// lock file.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held while this process writes to the folder. Reading needs no lock, because files are written atomically.
    lock: Option<FolderLock>,
}

impl RunDir {
    /// The paths of a folder, which need not exist; takes no lock.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            lock: None,
        }
    }

    /// All files that a run in `path` writes or removes, as far as they can be known beforehand.
    pub fn outputs(path: &Path) -> Vec<PathBuf> {
        let run = Self::at(path);
        let checkpoints = run.checkpoints().unwrap_or_default();
        let mut files = run.files().to_vec();
        files.extend(checkpoints.into_iter().map(|(_, path)| path));
        files.extend(event_files(&run.tensorboard()).unwrap_or_default());
        files.push(FolderLock::file_in(path));
        files
    }

    /// Locks the folder for this process until the value is dropped. `remedy` ends the error message.
    ///
    /// # Errors
    /// When another process holds the lock; the message gives its host and process id.
    pub fn lock(&mut self, remedy: &str) -> anyhow::Result<()> {
        let lock = FolderLock::take(&self.path, remedy)?;
        if lock.is_held() {
            // A run that was killed while writing a checkpoint leaves a temporary file of a checkpoint's size.
            remove_unfinished(&self.checkpoints_dir());
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Creates and locks the folder of a new run.
    ///
    /// # Errors
    /// When it cannot be written to, another process holds its lock, or it already holds a run and `overwrite` is
    /// false.
    pub fn create(path: &Path, overwrite: bool) -> anyhow::Result<Self> {
        let mut run = Self::at(path);
        let shown = path.display();
        let refused = |error: std::io::Error| {
            anyhow::anyhow!(
                "{shown} cannot be written to ({error}): choose another folder with --out"
            )
        };
        fs::create_dir_all(run.checkpoints_dir()).map_err(refused)?;
        // Checked now, because otherwise the first checkpoint would fail, perhaps an hour into the run.
        tempfile::tempfile_in(path).map_err(refused)?;
        run.lock("wait for it, stop it, or choose another folder with --out")?;
        if overwrite {
            return Ok(run);
        }
        if let Some((step, _)) = run.checkpoints()?.last() {
            bail!(
                "{shown} already holds a run (at step {step}): continue it with --resume {shown}, \
                 replace it with --overwrite, or choose another folder with --out"
            );
        }
        if let Some(found) = run
            .files()
            .into_iter()
            .chain(event_files(&run.tensorboard())?)
            .find(|p| p.exists())
        {
            bail!(
                "{} is there already, from a run without a checkpoint or from something else: replace \
                 it with --overwrite, or choose another folder with --out",
                found.display()
            );
        }
        Ok(run)
    }

    /// The files of a run except checkpoints and event files.
    fn files(&self) -> [PathBuf; 12] {
        [
            self.config(),
            self.data(),
            self.metrics(),
            self.weights(),
            self.result(),
            self.before(),
            self.kernels(),
            self.curves(),
            self.matches_before(),
            self.matches(),
            self.bad_files(),
            self.boxes(),
        ]
    }

    /// Removes the files of an earlier run and nothing else: the folder may hold other files.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> anyhow::Result<()> {
        let checkpoints = self.checkpoints()?.into_iter().map(|(_, path)| path);
        let events = event_files(&self.tensorboard())?;
        for file in self.files().into_iter().chain(checkpoints).chain(events) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens the folder of an earlier run for reading.
    ///
    /// # Errors
    /// When the folder holds no run.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let run = Self::at(path);
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
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the resolved settings.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Path of the checksums of the run's data, which are compared on resume.
    pub fn data(&self) -> PathBuf {
        self.path.join("data.json")
    }

    /// Path of the log: one JSON object per logged step.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Path of the folder of TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// Path of the weights of the query encoder after training.
    pub fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }

    /// Path of the figures of the whole run.
    pub fn result(&self) -> PathBuf {
        self.path.join("result.json")
    }

    /// Path of the figures of the untrained network.
    pub fn before(&self) -> PathBuf {
        self.path.join("before.json")
    }

    /// Path of the kernels that were chosen for convolutions on a GPU.
    pub fn kernels(&self) -> PathBuf {
        self.path.join("kernels.json")
    }

    /// Path of the picture of the curves.
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    /// Path of the picture of matches before training.
    pub(crate) fn matches_before(&self) -> PathBuf {
        self.path.join("matches_before.png")
    }

    /// Path of the picture of matches before and after training.
    pub fn matches(&self) -> PathBuf {
        self.path.join("matches.png")
    }

    /// Path of the list of files that did not decode, one per line.
    pub fn bad_files(&self) -> PathBuf {
        self.path.join("bad_files.txt")
    }

    /// Path of the boxes of the run's images, for methods with instances; a resumed run reads them.
    pub fn boxes(&self) -> PathBuf {
        self.path.join("boxes.jsonl")
    }

    fn checkpoints_dir(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The checkpoints by step, oldest first.
    pub fn checkpoints(&self) -> anyhow::Result<Vec<(u64, PathBuf)>> {
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

    /// Writes the checkpoint of `step`, then removes all but the newest `keep` checkpoints.
    ///
    /// # Errors
    /// When the disk is full or not available; earlier checkpoints are then unchanged.
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

/// TensorBoard's event files in `folder`; none when there is no such folder.
fn event_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b"events.out.tfevents.") {
            found.push(path);
        }
    }
    Ok(found)
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
        let path = run.path().to_path_buf();
        drop(run);
        let error = RunDir::create(&path, false)
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
        let tensorboard = run.tensorboard();
        fs::create_dir(&tensorboard).expect("made");
        let event = tensorboard.join("events.out.tfevents.1.densecl");
        fs::write(&event, "").expect("written");
        fs::write(tensorboard.join("notes.txt"), "mine").expect("written");
        fs::write(dir.path().join("notes.txt"), "mine").expect("written");
        fs::write(dir.path().join("checkpoints/best.pt"), "mine").expect("written");
        // The temporary file of a run that was killed while writing a checkpoint.
        let half = dir.path().join("checkpoints/.densecl-x.partial");
        fs::write(&half, "half").expect("written");
        drop(run);
        let run = RunDir::create(dir.path(), true).expect("free again");
        run.clear().expect("cleared");
        assert!(!half.exists());
        assert!(run.checkpoints().expect("listed").is_empty());
        assert!(!run.config().exists());
        assert!(!event.exists());
        assert!(tensorboard.join("notes.txt").exists());
        assert!(dir.path().join("notes.txt").exists());
        assert!(dir.path().join("checkpoints/best.pt").exists());
    }

    #[test]
    fn a_file_of_something_else_is_not_replaced_unasked() {
        for name in ["weights.safetensors", "result.json"] {
            let dir = tempfile::tempdir().expect("a temporary folder");
            fs::write(dir.path().join(name), "mine").expect("written");
            let error = RunDir::create(dir.path(), false)
                .expect_err("refused")
                .to_string();
            assert!(
                error.contains(name) && error.contains("--overwrite"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_no_run_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = RunDir::open(dir.path()).expect_err("no run").to_string();
        assert!(error.contains("config.toml"), "{error}");
    }
}
