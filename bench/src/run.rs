//! Runs the benchmark: measures all rows one after the other and writes the results.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};
use densecl::device::DeviceChoice;

use crate::cli::{Bench, Group};
use crate::contender::Asked;
use crate::inputs::{Inputs, script};
use crate::machine::{self, Machine};
use crate::measure::{Contender, Entry, Figures, in_turn};
use crate::protocol::Greeting;
use crate::report::{Measured, Report, plot, table};
use crate::rows::{Job, Plan, Row};
use crate::work::Work;

/// The name of densecl among the contenders.
pub(crate) const OURS: &str = "densecl";

/// Runs the benchmark with the options of the command line; `Ok(false)` if densecl failed in some row.
///
/// # Errors
/// If nothing can be measured, or a file cannot be written.
pub(crate) fn run(mut bench: Bench) -> anyhow::Result<bool> {
    bench.device.parse::<DeviceChoice>()?;
    if !(bench.seconds > 0.0 && bench.seconds <= 3600.0) {
        bail!(
            "--seconds {}: must be above 0 and at most 3600",
            bench.seconds
        );
    }
    if let Some(path) = &bench.plot
        && !bench.rows.contains(&Group::Scale)
    {
        bail!(
            "--plot {}: draws the rows `scale`, which --rows leaves out",
            path.display()
        );
    }
    let machine = Machine::here();
    let cores = u16::try_from(machine.cores).unwrap_or(u16::MAX);
    if bench.threads.is_empty() {
        bench.threads = vec![1, cores];
    }
    bench.threads.sort_unstable();
    bench.threads.dedup();
    let sides = Sides::meet(&bench)?;
    if sides.gpu() {
        // The GPU does nearly all the work, so only the largest number of threads is measured.
        bench.threads = bench.threads.split_off(bench.threads.len() - 1);
    }
    let inputs = Inputs::make(&bench)?;
    let plan = Plan {
        groups: &bench.rows,
        threads: &bench.threads,
        gpu: sides.gpu(),
        quick: bench.quick,
        compile: !bench.no_compile,
        inputs: &inputs,
    };
    let rows = plan.rows();
    let mut report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        machine,
        ours: sides.ours.clone(),
        theirs: sides.theirs.clone(),
        runs: bench.runs,
        least_seconds: bench.seconds,
        quick: bench.quick,
        rows: Vec::new(),
    };
    let count = rows.len();
    for (index, row) in rows.into_iter().enumerate() {
        let figures = sides.measure(&row, &bench);
        let measured = Measured::new(row, figures);
        eprintln!("[{}/{count}] {}", index + 1, measured.line());
        report.rows.push(measured);
        // Written after every row, so that an interrupted benchmark keeps the rows measured so far.
        write_figures(&report, &bench)?;
    }
    print!("{}", table::terminal(&report));
    if let Some(path) = &bench.plot {
        plot::save(&report, path)?;
    }
    Ok(report.rows.iter().all(|row| row.ours().error.is_none()))
}

fn write_figures(report: &Report, bench: &Bench) -> anyhow::Result<()> {
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    };
    if let Some(path) = &bench.json {
        write(path, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(path) = &bench.markdown {
        write(path, table::markdown(report))?;
    }
    Ok(())
}

/// The two implementations compared, and the device they run on.
struct Sides {
    device: String,
    python: String,
    ours: Greeting,
    /// None if PyTorch is missing or left out.
    theirs: Option<Greeting>,
}

impl Sides {
    /// Starts both workers once to read their versions and devices. If the Python has no torch, a line on
    /// standard error says so, and densecl is measured alone.
    fn meet(bench: &Bench) -> anyhow::Result<Self> {
        let mut sides = Self {
            device: bench.device.clone(),
            python: bench.python.clone(),
            ours: Greeting::default(),
            theirs: None,
        };
        sides.ours = Asked::start(sides.worker(1)?)?.greeting.clone();
        if bench.python != "none" {
            match Asked::start(sides.pytorch(1)) {
                Ok(process) => sides.theirs = Some(process.greeting.clone()),
                Err(error) => eprintln!(
                    "PyTorch is left out: {}: {error:#} (in that Python: pip install torch torchvision onnxruntime; \
                     or --python PATH)",
                    bench.python
                ),
            }
        }
        Ok(sides)
    }

    fn gpu(&self) -> bool {
        self.ours.device != "cpu"
    }

    fn worker(&self, threads: u16) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("where this program is")?);
        command.args(["worker", "--device", &self.device]);
        command.env("RAYON_NUM_THREADS", threads.to_string());
        Ok(command)
    }

    fn pytorch(&self, threads: u16) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(script("pytorch.py"));
        command.args(["--threads", &threads.to_string()]);
        command.args(["--device", if self.gpu() { "cuda" } else { "cpu" }]);
        command.env("OMP_NUM_THREADS", threads.to_string());
        command
    }

    /// Measures a row; the results begin with densecl's, followed by one for each PyTorch variant.
    fn measure(&self, row: &Row, bench: &Bench) -> Vec<Figures> {
        let mut contenders = vec![Entry::of(OURS, self.our_contender(row))];
        if self.theirs.is_some() {
            for (index, variant) in row.variants.iter().enumerate() {
                contenders.push(Entry::of(
                    variant,
                    self.their_contender(row, index, variant),
                ));
            }
        }
        in_turn(contenders, bench.runs.into(), bench.seconds)
    }

    fn our_contender(&self, row: &Row) -> anyhow::Result<Contender> {
        match &row.job {
            Job::Work(work) => {
                Contender::asked(OURS, Asked::start(self.worker(row.threads)?)?, work)
            }
            Job::Programs { ours, .. } => Contender::program(OURS, ours.clone()),
        }
    }

    fn their_contender(&self, row: &Row, index: usize, variant: &str) -> anyhow::Result<Contender> {
        match &row.job {
            Job::Work(work) => {
                if !self.gpu() {
                    ensure_fits(work)?;
                }
                Contender::asked(variant, Asked::start(self.pytorch(row.threads))?, work)
            }
            Job::Programs { theirs, .. } => Contender::program(variant, theirs[index].clone()),
        }
    }
}

/// Fails if PyTorch's logits do not fit into free memory: swapping would make the times meaningless, or the
/// process would be killed.
fn ensure_fits(work: &Work) -> anyhow::Result<()> {
    let Work::Loss { queries, keys, .. } = work else {
        return Ok(());
    };
    // Measured: PyTorch needs a little over three times the size of the logits.
    let needed = 3.3 * 4.0 * (queries * keys) as f64;
    match machine::available() {
        Some(free) if needed > 0.9 * free => bail!(
            "needs about {:.0} GB, {:.0} GB are free",
            needed / 1e9,
            free / 1e9
        ),
        _ => Ok(()),
    }
}
