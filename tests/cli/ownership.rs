//! Only one process at a time writes to a run's folder, and a run started with nohup survives its terminal.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::sandbox::{Ran, Sandbox, TINY, wait_for_checkpoint};
#[cfg(unix)]
use crate::sandbox::{interrupt, signal};

/// Arguments of a run that continues until it is stopped.
const ENDLESS: &str = "--steps 1000000 --set checkpoint.every_steps=5 --set log.every_steps=5";

fn going_on(sandbox: &Sandbox, run: &str) -> Child {
    let child = sandbox.start(&format!("{ENDLESS} --out {run}"));
    wait_for_checkpoint(&sandbox.path(run));
    child
}

#[cfg(unix)]
#[test]
fn beside_a_run_that_goes_on_no_other_writes_to_its_folder() {
    let sandbox = Sandbox::new();
    let mut child = going_on(&sandbox, "run");
    let holder = format!("run is in use by process {} on ", child.id());
    for beside in [
        format!("{TINY} --steps 2 --out run"),
        format!("{TINY} --steps 2 --out run --overwrite"),
        format!("{TINY} --steps 2 --out ./run/../run --overwrite"),
        "pretrain --resume run".to_string(),
        "pretrain --resume run --steps 7".to_string(),
        "plot run".to_string(),
    ] {
        let ran = sandbox.run(&beside);
        ran.refused(&["is in use by process", &holder[4..], "wait for it"]);
    }
    // Drawing the curves to a file outside the folder is permitted.
    sandbox.run("plot run --out curves.png").succeeded();
    assert!(
        child
            .try_wait()
            .expect("the process can be queried")
            .is_none(),
        "the run has ended"
    );

    // The lock ends with its process, even if that is killed.
    child.kill().expect("killed");
    child.wait().expect("ended");
    let steps = sandbox
        .names("run/checkpoints")
        .pop()
        .expect("a checkpoint");
    let steps: u64 = steps[5..13].parse().expect("a step");
    let longer = format!("pretrain --resume run --steps {}", steps + 2);
    sandbox.run(&longer).succeeded();
    assert_eq!(sandbox.json("run/result.json")["steps"], steps + 2);
    sandbox.run("plot run").succeeded();
    sandbox
        .pretrain("--steps 2 --out run --overwrite")
        .succeeded();
}

#[cfg(unix)]
#[test]
fn of_runs_started_at_once_into_one_folder_one_goes_on() {
    let sandbox = Sandbox::new();
    let started: Vec<Child> = (0..4)
        .map(|_| sandbox.start("--steps 20 --out run"))
        .collect();
    let ended = started
        .into_iter()
        .map(|child| child.wait_with_output().expect("ended"));
    let ended: Vec<Ran> = ended.map(Ran::from).collect();
    let (went_on, refused): (Vec<&Ran>, Vec<&Ran>) =
        ended.iter().partition(|ran| ran.code == Some(0));
    assert_eq!(went_on.len(), 1, "{ended:?}");
    for ran in refused {
        // A process that starts late may find the first run finished.
        let parts = ["is in use by", "already holds a run", "is there already"];
        assert!(
            parts.iter().any(|part| ran.stderr.contains(part)),
            "{ran:?}"
        );
    }
    assert_eq!(sandbox.metrics("run").len(), 20);
}

/// Starts an endless run of `densecl` by a shell, with `before` in front of the command.
#[cfg(unix)]
fn under(sandbox: &Sandbox, before: &str, run: &str) -> Child {
    let child = Command::new("sh")
        .arg("-c")
        .arg(format!("{before} \"$0\" {TINY} {ENDLESS} --out {run}"))
        .arg(env!("CARGO_BIN_EXE_densecl"))
        .current_dir(sandbox.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    wait_for_checkpoint(&sandbox.path(run));
    child
}

#[cfg(unix)]
#[test]
fn a_signal_that_was_to_be_ignored_is() {
    let sandbox = Sandbox::new();
    for (i, (before, ignored)) in [
        ("exec nohup", &["HUP"][..]),
        ("trap '' INT; exec", &["INT"]),
        ("trap '' HUP INT; exec", &["HUP", "INT"]),
    ]
    .into_iter()
    .enumerate()
    {
        let run = format!("run{i}");
        let mut child = under(&sandbox, before, &run);
        for name in ignored.iter().chain(ignored) {
            signal(child.id(), name);
            sleep(Duration::from_millis(100));
            assert!(
                child
                    .try_wait()
                    .expect("the process can be queried")
                    .is_none(),
                "{before}: SIG{name} ended the run"
            );
        }
        let result = sandbox.path(&format!("{run}/result.json"));
        assert!(!result.exists(), "{before}: the run is stopping");
        // A signal that is not ignored still stops the run, with a checkpoint.
        interrupt(child.id());
        assert_eq!(child.wait().expect("ended").code(), Some(130), "{before}");
        assert!(result.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn every_signal_that_asks_to_stop_stops_with_a_checkpoint() {
    let sandbox = Sandbox::new();
    for name in ["INT", "HUP", "TERM"] {
        // Resets signals that the parent process of these tests may ignore.
        let default = "exec env --default-signal=INT,HUP,TERM";
        let mut child = under(&sandbox, default, name);
        signal(child.id(), name);
        assert_eq!(child.wait().expect("ended").code(), Some(130), "SIG{name}");
        assert!(
            sandbox.path(&format!("{name}/result.json")).exists(),
            "SIG{name}"
        );
    }
}
