//! Calls `densecl` in a temporary folder, and checks exit code, output and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// Arguments of a run whose steps take a few milliseconds; arguments appended to them take precedence.
pub(crate) const TINY: &str = "pretrain --set train.device=cpu --set train.batch_size=4 --set \
    model.backbone=resnet10 --set model.width=8 --set views.size=64 --set method.bn_groups=2 --set \
    method.queue=8 --set eval.pairs=2 --set data.scene_count=16 --set scenes.size=64 --set \
    log.every_steps=1";

/// A temporary folder that is the working directory of every call.
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A call of `densecl` with these arguments, separated by spaces.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_densecl"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE");
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ran {
        Ran::from(self.command(arguments).output().expect("the binary starts"))
    }

    /// Runs a tiny `pretrain` with further arguments.
    pub(crate) fn pretrain(&self, arguments: &str) -> Ran {
        self.run(&format!("{TINY} {arguments}"))
    }

    /// Starts a tiny `pretrain` with further arguments and does not wait for it.
    pub(crate) fn start(&self, arguments: &str) -> Child {
        self.command(&format!("{TINY} {arguments}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("UTF-8")
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, bytes).expect("a written file");
    }

    pub(crate) fn picture(&self, name: &str) -> RgbImage {
        let picture = image::open(self.path(name));
        picture
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .to_rgb8()
    }

    /// Writes `count` small pictures to `folder`, in turn as JPEG, PNG and WebP, some of them to a subfolder.
    pub(crate) fn pictures(&self, folder: &str, count: u32) {
        for i in 0..count {
            let extension = ["jpg", "png", "webp"][i as usize % 3];
            let below = if i % 4 == 0 { "below/" } else { "" };
            let path = self.path(&format!("{folder}/{below}{i:03}.{extension}"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            let pixel =
                |x, y| Rgb([x * 5 + i, y * 7 * (i % 3), (x * y) ^ (i * 9)].map(|v| v as u8));
            RgbImage::from_fn(48, 40, pixel)
                .save(path)
                .expect("a picture");
        }
    }

    /// The sorted names in a folder; empty if there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// The rows of a run's log, without the figures that depend on time and memory use.
    pub(crate) fn metrics(&self, run: &str) -> Vec<Value> {
        let text = self.text(&format!("{run}/metrics.jsonl"));
        let rows = text.lines().map(|line| {
            let mut row: Value = serde_json::from_str(line).expect("a row");
            let fields = row.as_object_mut().expect("an object");
            let of_the_machine = [
                "seconds",
                "images_per_second",
                "data_wait_share",
                "resident_bytes",
            ];
            for name in of_the_machine {
                fields.remove(name).expect(name);
            }
            row
        });
        rows.collect()
    }

    /// The tensors of a run's weights: the bytes of the file after its header.
    pub(crate) fn weights(&self, run: &str) -> Vec<u8> {
        let bytes = self.read(&format!("{run}/weights.safetensors"));
        SafeTensors::parse(&bytes).data
    }

    /// densecl's metadata in a run's weights.
    pub(crate) fn weights_info(&self, run: &str) -> Value {
        let bytes = self.read(&format!("{run}/weights.safetensors"));
        let header = SafeTensors::parse(&bytes).header;
        let info = header["__metadata__"]["densecl"]
            .as_str()
            .expect("metadata");
        serde_json::from_str(info).expect("JSON")
    }
}

/// The header and the data of a safetensors file.
pub(crate) struct SafeTensors {
    pub(crate) header: Value,
    pub(crate) data: Vec<u8>,
}

impl SafeTensors {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        let (header, data) = rest.split_at(length as usize);
        Self {
            header: serde_json::from_slice(header).expect("a JSON header"),
            data: data.to_vec(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = self.header.to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &self.data].concat()
    }
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; none if a signal ended the process.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let ran = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        };
        for sign in [
            "panicked",
            "RUST_BACKTRACE",
            "stack backtrace",
            "bug in densecl",
        ] {
            assert!(!ran.stderr.contains(sign), "{}", ran.stderr);
        }
        ran
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Checks that the call failed with exit code 1 and one line that begins with `error:` and contains all
    /// `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:"));
        assert_eq!(errors.count(), 1, "{}", self.stderr);
        let last = self.stderr.lines().last().expect("a line");
        assert!(last.starts_with("error: "), "{}", self.stderr);
        for part in parts {
            assert!(last.contains(part), "`{part}` is not in: {last}");
        }
    }
}

/// Whether `path` is a folder with at least one checkpoint.
pub(crate) fn has_checkpoint(path: &Path) -> bool {
    let entries = fs::read_dir(path.join("checkpoints")).into_iter().flatten();
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("step_")
    })
}

/// Waits until a run has written its first checkpoint.
pub(crate) fn wait_for_checkpoint(run: &Path) {
    let started = Instant::now();
    while !has_checkpoint(run) {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        sleep(Duration::from_millis(2));
    }
}

/// Stops a process by SIGTERM. SIGINT would have no effect if the tests run in the background of a script,
/// because a shell starts such jobs with SIGINT ignored.
#[cfg(unix)]
pub(crate) fn interrupt(process: u32) {
    signal(process, "TERM");
}

/// Sends a signal; `name` is its name without `SIG`.
#[cfg(unix)]
pub(crate) fn signal(process: u32, name: &str) {
    // The shell's own `kill`: the program of this name is missing in a bare Debian.
    let status = Command::new("sh")
        .args(["-c", "kill -s $0 $1", name, &process.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}
