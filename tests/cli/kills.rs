//! A run that was killed by `kill -9` at any moment can be resumed and ends with the weights of an
//! uninterrupted run.
//!
//! The long version with 200 kills takes some minutes of CPU and writes its figures to
//! `docs/results/kills.json`:
//!
//! ```sh
//! cargo test --release --test cli two_hundred_kills -- --ignored
//! ```

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::sandbox::{Sandbox, TINY, has_checkpoint};

/// The arguments of a run that writes a checkpoint every other step, so that kills often hit the write.
fn run(folder: &str, steps: u64) -> String {
    format!(
        "{TINY} --steps {steps} --data photos --out {folder} --set checkpoint.every_steps=2 --set \
         eval.pairs=0 --set log.tensorboard=false"
    )
}

/// Random numbers in [0, 1), the same in every run of the test (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The state of the run folder after a kill.
#[derive(Debug)]
struct Kill {
    /// Step of the newest checkpoint; none if there was none yet.
    step: Option<u64>,
    /// Whether a partly written checkpoint is left.
    while_writing: bool,
    /// Whether the log has rows after the newest checkpoint, or a partly written row.
    rows_ahead: bool,
}

/// Whether a checkpoint is being written.
fn is_writing(sandbox: &Sandbox, folder: &str) -> bool {
    let names = sandbox.names(&format!("{folder}/checkpoints"));
    names.iter().any(|name| name.ends_with(".partial"))
}

/// Starts a run of `steps` steps and kills it after `delay`, or with `while_writing` at the first time after
/// `delay` at which a checkpoint is being written. Returns none if the run had ended before.
fn kill(
    sandbox: &Sandbox,
    (folder, steps): (&str, u64),
    delay: Duration,
    while_writing: bool,
) -> Option<Kill> {
    let mut child = sandbox
        .command(&run(folder, steps))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    sleep(delay);
    while while_writing && !is_writing(sandbox, folder) {
        if child
            .try_wait()
            .expect("the process can be queried")
            .is_some()
        {
            return None;
        }
        sleep(Duration::from_micros(100));
    }
    child.kill().expect("killed, or ended");
    if child.wait().expect("ended").code().is_some() {
        return None;
    }
    let names = sandbox.names(&format!("{folder}/checkpoints"));
    let newest = names.iter().rfind(|name| name.starts_with("step_"));
    let step = newest.map(|name| name[5..13].parse().expect("a step"));
    let log = std::fs::read_to_string(sandbox.path(&format!("{folder}/metrics.jsonl")));
    let log = log.unwrap_or_default();
    Some(Kill {
        step,
        while_writing: names.iter().any(|name| name.ends_with(".partial")),
        rows_ahead: log.lines().count() as u64 > step.unwrap_or(0)
            || !(log.is_empty() || log.ends_with('\n')),
    })
}

/// Kills `count` runs of `steps` steps, continues each and checks that it ends as an uninterrupted run does.
fn survive(count: usize, steps: u64) -> Vec<Kill> {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 30);
    let started = Instant::now();
    sandbox.run(&run("whole", steps)).succeeded();
    let whole = started.elapsed();
    let (weights, rows) = (sandbox.weights("whole"), sandbox.metrics("whole"));

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut kills = Vec::new();
    while kills.len() < count {
        let delay = whole.mul_f64(random.next());
        let folder = "killed";
        let Some(met) = kill(&sandbox, (folder, steps), delay, kills.len() % 2 == 1) else {
            std::fs::remove_dir_all(sandbox.path(folder)).expect("removed");
            continue;
        };
        if has_checkpoint(&sandbox.path(folder)) {
            sandbox
                .run(&format!("pretrain --resume {folder}"))
                .succeeded();
        } else {
            // Without a checkpoint there is nothing to resume: the run is started anew, as the error message
            // advises.
            sandbox
                .run(&format!("{} --overwrite", run(folder, steps)))
                .succeeded();
        }
        let case = format!("kill {} after {delay:?}: {met:?}", kills.len());
        assert!(
            sandbox.weights(folder) == weights,
            "{case}: the weights differ"
        );
        assert_eq!(sandbox.metrics(folder), rows, "{case}");
        assert!(
            !is_writing(&sandbox, folder),
            "{case}: a partial checkpoint is left"
        );
        std::fs::remove_dir_all(sandbox.path(folder)).expect("removed");
        kills.push(met);
    }
    kills
}

#[cfg(unix)]
#[test]
fn whenever_a_run_is_killed_it_ends_with_the_same_weights() {
    let kills = survive(6, 60);
    // Every other kill waits until a checkpoint is being written.
    let writing = kills.iter().filter(|kill| kill.while_writing).count();
    assert!(writing >= 1, "{kills:?}");
}

#[cfg(unix)]
#[test]
#[ignore = "minutes; writes docs/results/kills.json"]
fn two_hundred_kills() {
    let started = Instant::now();
    let steps_of_the_run = 300;
    let kills = survive(200, steps_of_the_run);
    let count = |met: &dyn Fn(&&Kill) -> bool| kills.iter().filter(met).count();
    let steps: Vec<u64> = kills.iter().map(|kill| kill.step.unwrap_or(0)).collect();
    let figures = json!({
        "command": "cargo test --release --test cli two_hundred_kills -- --ignored",
        "kills": kills.len(),
        "steps_of_the_run": steps_of_the_run,
        "steps_between_checkpoints": 2,
        "while_a_checkpoint_was_written": count(&|kill| kill.while_writing),
        "before_the_first_checkpoint": count(&|kill| kill.step.is_none()),
        "with_rows_of_the_log_after_the_checkpoint": count(&|kill| kill.rows_ahead),
        "ended_with_the_weights_and_the_log_of_the_unbroken_run": kills.len(),
        "newest_checkpoint_at_each_kill": steps,
        "seconds": started.elapsed().as_secs(),
    });
    let text = format!("{figures:#}\n");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results/kills.json");
    std::fs::write(path, text).expect("written");
}
