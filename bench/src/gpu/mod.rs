//! `densecl-bench gpu`: what the first minutes with a real card should show, in one command.
//!
//! Every part is tried on its own: one that fails leaves its error in the report, and the others run. After a panic, as when
//! the device's memory is used up, only the parts that run in processes of their own follow. The report is written after each
//! part, so that a machine that is taken away keeps what was measured until then.

mod launches;
mod parts;
mod report;
mod roofline;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use densecl::config::Backbone;
use densecl::device::{DeviceRequest, select};
use densecl::ops::choice::{self, Mode};

use self::{parts::Parts, report::Report};
use crate::machine::Machine;
use crate::work::Network;

/// The options of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Gpu {
    /// The device: vulkan, metal, wgpu or cuda, with a number as in vulkan:1 where there are several
    #[arg(long, default_value = "vulkan")]
    pub(crate) device: String,
    /// Folder for report.json and report.md
    #[arg(long, value_name = "DIR", default_value = "gpu-report", value_hint = clap::ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// Minutes that all parts may take together; parts that would begin later are left out
    #[arg(long, default_value_t = 7.0)]
    pub(crate) minutes: f64,
    /// Seconds after which the real training at the end is stopped
    #[arg(long, default_value_t = 60.0)]
    pub(crate) training_seconds: f64,
    /// A Python interpreter with torch installed, or `none`
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: String,
    /// Tiny sizes, only to check that everything runs, on a software adapter too
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only count launches and bytes, without running kernels
    #[arg(long)]
    pub(crate) count: bool,
    /// Only the step of this network, by this project's kernels and by Burn's, as in resnet18,96,8: pixels, images
    #[arg(long, value_name = "BACKBONE,PIXELS,IMAGES", conflicts_with = "count")]
    pub(crate) step: Option<Of>,
}

/// A network whose step is timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of(Network);

impl FromStr for Of {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "expected a backbone, the pixels of a side and the images of a batch, as in resnet18,96,8";
        let [name, size, batch] = *text.split(',').collect::<Vec<_>>() else {
            return Err(wanted.to_string());
        };
        let backbone = Backbone::ALL.into_iter().find(|b| b.name() == name);
        let number = |text: &str| text.parse().ok().filter(|&number| number > 0);
        match (backbone, number(size), number(batch)) {
            (Some(backbone), Some(size), Some(batch)) => Ok(Self(Network {
                backbone,
                size,
                batch,
                queue: 4096,
            })),
            _ => Err(wanted.to_string()),
        }
    }
}

/// Runs all parts. `Ok(false)` if one failed.
///
/// # Errors
/// If there is no such device, or the report cannot be written.
pub(crate) fn run(options: &Gpu) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs_f64(60.0 * options.minutes);
    let request: DeviceRequest = options.device.parse()?;
    let selected = pollster::block_on(select(request))?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("making {}", options.out.display()))?;
    // In the quick check everything is measured on software adapters, too.
    choice::set_mode(if options.quick {
        Mode::AlwaysMeasured
    } else {
        Mode::Measured
    });
    let mut report = Report::new(
        Machine::here(),
        &selected.name,
        humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        options.quick,
    );
    let parts = Parts::new(options, &selected, deadline);
    let mut is_lost = false;
    for part in parts.list() {
        let name = part.name();
        if is_lost && part.uses_device() {
            continue;
        }
        if Instant::now() >= deadline {
            report.note(format!("{name}: left out, the time was used up"));
            continue;
        }
        eprintln!("[{:5.1} s] {name}", begun.elapsed().as_secs_f64());
        let start = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| parts.run(part, &mut report)));
        let done = done.unwrap_or_else(|_| {
            is_lost = true;
            Err(anyhow!(
                "the device's runtime panicked, perhaps for lack of memory; what would have used the device afterwards is \
                 left out"
            ))
        });
        if let Err(error) = done {
            report.failed(name, &error);
            eprintln!("          failed: {error:#}");
        }
        report.took(name, start.elapsed());
        report.chosen = choice::chosen();
        choice::take_notes()
            .into_iter()
            .for_each(|note| report.note(note));
        report.save(&options.out)?;
    }
    println!("{}", report.markdown());
    Ok(report.failures.is_empty())
}
