//! A lock that lets only one process at a time write into a folder: a run's, or a comparison's.
//!
//! The operating system locks a file in the folder and releases the lock when the process ends, also after SIGKILL
//! or a power cut: the user never has to remove a stale lock. The file itself stays: if it were removed, two
//! processes could each lock a different file of that name. Its text names the process that holds the lock, for the
//! error message of others.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

/// The file that is locked.
const NAME: &str = ".densecl.lock";

/// The lock of a folder, held until this value is dropped.
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

    /// Takes the lock of `folder`, which must exist. If another process holds the lock, the error message ends with
    /// `remedy`.
    ///
    /// # Errors
    /// When another process holds the lock (the message gives its host and process id), and when the folder cannot
    /// be written to.
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
        // The text only improves messages; the lock holds without it.
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
        // Removes the text. If a killed process leaves its text behind, only a later message can be wrong.
        let _ = self.sign("");
    }
}

/// `process 4711 on mira since 2026-11-28T09:15:00Z`.
fn introduction() -> String {
    let since = humantime::format_rfc3339_seconds(SystemTime::now());
    format!("process {} on {} since {since}", std::process::id(), host())
}

/// The text written by the process that holds the lock, or "another process" where it is not written yet or a locked
/// file cannot be read.
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
