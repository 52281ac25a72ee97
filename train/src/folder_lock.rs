//! One process at a time writes into a folder: a run's, or a comparison's.
//!
//! The lock is the operating system's, on a file in the folder, and ends with the process however it ends, SIGKILL
//! and power cuts included: nothing is left that a user would have to remove. The file itself stays, because one
//! that is removed can be locked by two, each holding another file of that name. It says who holds the lock, for
//! the message to the next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

/// The file that is locked.
const NAME: &str = ".densecl.lock";

/// Held until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    /// None where the file system has no locks.
    file: Option<File>,
}

impl FolderLock {
    /// The file that is locked in `folder`.
    pub(crate) fn file_in(folder: &Path) -> PathBuf {
        folder.join(NAME)
    }

    /// Takes the lock of `folder`, which exists. `remedy` ends the message when another process has it.
    ///
    /// # Errors
    /// When another process has it, with its host and number; and when the folder cannot be written to.
    pub fn take(folder: &Path, remedy: &str) -> anyhow::Result<Self> {
        let path = Self::file_in(folder);
        let shown = folder.display();
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("{shown} cannot be written to"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                bail!("{shown} is in use by {holder}: {remedy}");
            }
            Err(TryLockError::Error(error)) => {
                log::warn!(
                    "{shown}: its file system has no locks ({error}); see to it that no other process writes there"
                );
                return Ok(Self { file: None });
            }
        }
        let lock = Self { file: Some(file) };
        // What it says is for people; the lock holds without it.
        if let Err(error) = lock.sign(&introduction()) {
            log::debug!("{}: {error}", path.display());
        }
        Ok(lock)
    }

    /// False where the file system has no locks.
    pub(crate) fn is_held(&self) -> bool {
        self.file.is_some()
    }

    fn sign(&self, text: &str) -> std::io::Result<()> {
        let Some(mut file) = self.file.as_ref() else {
            return Ok(());
        };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // An empty file names nobody; after a process that was killed it names one that is gone, which is no harm.
        let _ = self.sign("");
    }
}

/// `process 4711 on mira since 2026-11-28T09:15:00Z`.
fn introduction() -> String {
    let since = humantime::format_rfc3339_seconds(SystemTime::now());
    format!("process {} on {} since {since}", std::process::id(), host())
}

/// What the holder wrote, or less where it has not yet, or the system lets nobody read a locked file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(1000).read_to_string(&mut text);
    match text.lines().next() {
        Some(line) if read.is_ok() && !line.trim().is_empty() => line.trim().to_string(),
        _ => "another process".to_string(),
    }
}

/// The name of this machine.
#[cfg(target_os = "linux")]
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    named(name.trim())
}

/// The name of this machine.
#[cfg(not(target_os = "linux"))]
fn host() -> String {
    named(&sysinfo::System::host_name().unwrap_or_default())
}

fn named(host: &str) -> String {
    if host.is_empty() {
        "this machine".to_string()
    } else {
        host.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_whom_the_next_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = FolderLock::take(folder.path(), "wait").expect("free");
        let refused = FolderLock::take(folder.path(), "wait for it");
        let error = refused.expect_err("held").to_string();
        let process = format!("is in use by process {} on ", std::process::id());
        assert!(error.contains(&process), "{error}");
        assert!(error.ends_with(": wait for it"), "{error}");
        drop(held);
        FolderLock::take(folder.path(), "wait").expect("free again");
    }

    #[test]
    fn what_a_killed_holder_left_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = FolderLock::file_in(folder.path());
        std::fs::write(&file, "process 1 on elsewhere since ever").expect("written");
        let held = FolderLock::take(folder.path(), "wait").expect("free");
        let text = std::fs::read_to_string(&file).expect("read");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(held);
        assert_eq!(std::fs::read(&file).expect("read"), b"");
    }
}
