//! Ranks as processes over loopback, by the program that was built with the feature `mpi`:
//!
//! ```sh
//! apt-get install mpich libmpich-dev libclang-dev
//! cargo build --release --features densecl-cli/mpi --bin densecl
//! cargo test --release --features densecl-cli/mpi --test processes
//! ```

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use densecl_tests::needs::{self, Need};

/// A step of 16 images in 4 parts, which 1, 2 and 4 ranks can share.
const TINY: &str = "--set train.device=cpu --batch-size 16 --set model.backbone=resnet10 --set \
    model.width=8 --set views.size=64 --set method.bn_groups=2 --set method.queue=16 --set eval.pairs=0 --set \
    data.scene_count=32 --set scenes.size=64 --set log.every_steps=1 --set log.tensorboard=false --set \
    optim.accumulate=4 --set optim.schedule=step --set checkpoint.every_steps=4";

/// The program, in the folder above that of this test.
fn program() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent);
    folder.expect("two folders").join("densecl")
}

/// Whether this machine can run the test of this name; notes it if not.
fn can_run(name: &str) -> bool {
    let name = format!("processes::{name}");
    let says = |command: &mut Command| {
        let said = command.output().ok().filter(|said| said.status.success());
        said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
    };
    let missing = if says(Command::new("mpiexec").arg("--version")).is_none() {
        Some("mpiexec")
    } else if !says(Command::new(program()).arg("devices"))
        .is_some_and(|said| said.contains("machines: built in"))
    {
        Some("the program with MPI")
    } else {
        None
    };
    match missing {
        None => needs::forget(&name),
        Some(missing) => needs::not_run(
            Need::Mpi,
            &name,
            missing,
            "apt-get install mpich libmpich-dev libclang-dev, then cargo build --release --features densecl-cli/mpi --bin \
             densecl and cargo test --release --features densecl-cli/mpi --test processes",
        ),
    }
    missing.is_none()
}

/// A folder in which the program runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A call of the program, as `ranks` processes if there are several.
    fn command(&self, ranks: usize, arguments: &str) -> Command {
        let mut command = Command::new("mpiexec");
        if ranks == 1 {
            command = Command::new(program());
        } else {
            command.args(["-n", &ranks.to_string()]).arg(program());
        }
        command
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            // The processes share two cores in CI.
            .env("RAYON_NUM_THREADS", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn output(&self, ranks: usize, arguments: &str) -> (Output, String) {
        let output = self.command(ranks, arguments).output();
        let output = output.expect("the program starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, text)
    }

    fn train(&self, ranks: usize, arguments: &str) -> String {
        let (output, text) = self.output(ranks, arguments);
        assert!(
            output.status.success(),
            "{ranks} ranks, {arguments}: {text}"
        );
        text
    }

    /// The tensors of a file: its bytes after the header.
    fn tensors(&self, file: &str) -> Vec<u8> {
        let bytes = fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        rest[length as usize..].to_vec()
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        self.tensors(&format!("{run}/weights.safetensors"))
    }

    fn state(&self, run: &str, step: u64) -> Vec<u8> {
        self.tensors(&checkpoint(run, step))
    }
}

fn checkpoint(run: &str, step: u64) -> String {
    format!("{run}/checkpoints/step_{step:08}.safetensors")
}

fn run(out: &str, steps: u64) -> String {
    format!("pretrain {TINY} --steps {steps} --out {out}")
}

#[test]
fn processes_end_with_the_state_of_one_process_and_of_threads() {
    if !can_run("processes_end_with_the_state_of_one_process_and_of_threads") {
        return;
    }
    for groups in [1, 2] {
        let folder = Folder::new();
        let with = |out: &str| format!("{} --set method.bn_groups={groups}", run(out, 10));
        folder.train(1, &with("one"));
        folder.train(1, &format!("{} --devices cpu,cpu", with("threads")));
        let one = folder.state("one", 10);
        assert!(
            folder.state("threads", 10) == one,
            "threads, {groups} groups"
        );
        for ranks in [2, 4] {
            let out = format!("on{ranks}");
            let served = format!("{} --serve 127.0.0.1:0", with(&out));
            let said = folder.train(ranks, &served);
            // Rank 0 alone shows progress, and is served.
            assert_eq!(said.matches("device: cpu").count(), 1, "{said}");
            assert_eq!(said.matches("this run is served").count(), 1, "{said}");
            assert!(
                folder.state(&out, 10) == one,
                "{ranks} processes, {groups} groups"
            );
            assert!(folder.weights(&out) == folder.weights("one"));
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    if !can_run("a_run_goes_on_with_another_number_of_processes") {
        return;
    }
    let folder = Folder::new();
    folder.train(1, &run("whole", 12));
    folder.train(2, &run("cut", 12));
    let whole = folder.state("whole", 12);
    assert!(folder.state("cut", 12) == whole);
    for ranks in [1, 2, 4] {
        // As if it had been killed after step 8.
        fs::remove_file(folder.path(&checkpoint("cut", 12))).expect("removed");
        folder.train(ranks, "pretrain --resume cut");
        assert!(
            folder.state("cut", 12) == whole,
            "{ranks} processes went on"
        );
    }
}

/// The process ids of the program's processes in this folder.
fn processes(folder: &Folder) -> Vec<u32> {
    let here = fs::canonicalize(folder.0.path()).expect("the folder");
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let ours = entries.filter(|entry| {
        let there = fs::read_link(entry.path().join("cwd"));
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        there.is_ok_and(|there| there == here) && name.trim() == "densecl"
    });
    ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "no {what}");
        sleep(Duration::from_millis(5));
    }
}

fn signal(process: u32, name: &str) {
    // The shell's own `kill`: the program of this name is missing in a bare Debian.
    let sent = Command::new("sh")
        .args(["-c", "kill -s $0 $1", name, &process.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn start(folder: &Folder, ranks: usize, arguments: &str) -> Child {
    folder
        .command(ranks, arguments)
        .spawn()
        .expect("mpiexec starts")
}

/// Whichever rank is killed, all end at once, and the run goes on from a whole checkpoint.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_rank_ends_all_and_the_run_goes_on() {
    if !can_run("a_killed_rank_ends_all_and_the_run_goes_on") {
        return;
    }
    let folder = Folder::new();
    let steps = 60;
    folder.train(1, &run("whole", steps));
    for victim in [0, 1] {
        let out = format!("killed{victim}");
        let mut child = start(&folder, 2, &run(&out, steps));
        let first = folder.path(&checkpoint(&out, 4));
        wait_for("checkpoint", || first.exists());
        let mut found = processes(&folder);
        found.sort_unstable();
        assert_eq!(found.len(), 2, "{found:?}");
        let killed = Instant::now();
        signal(found[victim], "KILL");
        let status = child.wait().expect("mpiexec ends");
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "{:?}",
            killed.elapsed()
        );
        assert!(!status.success());
        wait_for("end of the other rank", || processes(&folder).is_empty());
        assert!(
            !folder.path(&format!("{out}/weights.safetensors")).exists(),
            "it had ended"
        );
        folder.train(2, &format!("pretrain --resume {out}"));
        assert!(folder.state(&out, steps) == folder.state("whole", steps));
    }
}

/// A stop that only one rank receives stops all after the same step, with a checkpoint.
#[cfg(target_os = "linux")]
#[test]
fn a_stop_of_one_rank_stops_all() {
    if !can_run("a_stop_of_one_rank_stops_all") {
        return;
    }
    let folder = Folder::new();
    folder.train(1, &run("whole", 40));
    let mut child = start(&folder, 2, &run("stopped", 40));
    let first = folder.path(&checkpoint("stopped", 4));
    wait_for("checkpoint", || first.exists());
    let mut found = processes(&folder);
    found.sort_unstable();
    signal(*found.last().expect("two processes"), "TERM");
    assert!(!child.wait().expect("mpiexec ends").success());
    assert!(folder.path("stopped/result.json").exists());
    folder.train(2, "pretrain --resume stopped");
    assert!(folder.state("stopped", 40) == folder.state("whole", 40));
}

#[test]
fn ranks_that_differ_are_refused_before_the_first_step() {
    if !can_run("ranks_that_differ_are_refused_before_the_first_step") {
        return;
    }
    let folder = Folder::new();
    let refused = |arguments: &[&str], says: &str| {
        let mut command = Command::new("mpiexec");
        for (index, arguments) in arguments.iter().enumerate() {
            if index > 0 {
                command.arg(":");
            }
            command.args(["-n", "1"]).arg(program());
            command.args(arguments.split_whitespace());
        }
        let output = command.current_dir(folder.0.path()).output();
        let output = output.expect("mpiexec starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("error:"))
            .collect();
        assert_eq!(errors.len(), 1, "{text}");
        assert!(errors[0].contains(says), "{text}");
    };
    let own = run("run", 2);
    let other = format!("{own} --seed 5");
    refused(
        &[&own, &other],
        "rank 1 was started with other settings than rank 0: train.seed",
    );
    let wrong = format!("{own} --set optim.accumulate=1");
    refused(&[&wrong, &wrong], "set it to 2, or to 0");
    let unknown = format!("{own} --set optim.speed=1");
    refused(&[&own, &unknown], "optim.speed");

    // The same path holds other files on another machine: here in another working folder.
    for (name, count) in [("a", 20), ("b", 19)] {
        let pictures = folder.path(name).join("pictures");
        fs::create_dir_all(&pictures).expect("made");
        for number in 0..count {
            let file = pictures.join(format!("{number:02}.png"));
            image::RgbImage::new(32, 32).save(file).expect("a picture");
        }
    }
    let data = format!("{own} --data pictures");
    let mut command = Command::new("mpiexec");
    for (index, name) in ["a", "b"].iter().enumerate() {
        if index > 0 {
            command.arg(":");
        }
        let there = folder.path(name);
        command.args(["-n", "1", "-wdir"]).arg(there).arg(program());
        command.args(data.split_whitespace());
    }
    let output = command.output().expect("mpiexec starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("rank 1 sees other data than rank 0, 19 files instead of 20"),
        "{text}"
    );
}
