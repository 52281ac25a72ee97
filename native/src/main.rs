//! `densecl`: the native trainer and its tools.

mod cli;
mod commands;
mod config;
mod console;
mod contact_sheet;
mod data;
mod embedding;
mod eval;
mod events;
mod export;
mod failure;
mod files;
mod folder_lock;
mod memory;
mod npy;
mod observers;
mod outcome;
mod outputs;
mod panics;
mod paths;
mod pictures;
mod probe;
mod report;
mod run_data;
mod run_dir;
mod settings;
mod start;
mod stop;
mod trainer;
mod weights;

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use densecl::device::{DeviceChoice, Selected, select};
use densecl::synthetic::SceneConfig;

use cli::{Cli, Command};
use commands::{embed, import, loader_speed, matching, pack, plot, pretrain, search, synth};
use export::Format;
use stop::stop_on_signal;

fn main() -> ExitCode {
    densecl_kernels::allocator::keep_freed_memory();
    panics::install_hook();
    // Warnings of ours; the GPU stack's only on request (RUST_LOG), and that it is lost is told by the error
    // that this becomes.
    let quiet = "error,densecl=warn,cubecl_wgpu::compute::device_poison=off";
    let filter = env_logger::Env::default().default_filter_or(quiet);
    env_logger::Builder::from_env(filter)
        .format(|out, record| {
            let level = match record.level() {
                log::Level::Warn => "warning".to_string(),
                level => level.as_str().to_lowercase(),
            };
            writeln!(out, "{level}: {}", record.args())
        })
        .target(env_logger::Target::Pipe(Box::new(console::LogTarget)))
        .init();
    match run(cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        // Interrupted: what a shell calls 128 + SIGINT.
        Ok(false) => ExitCode::from(130),
        Err(error) => {
            console::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)` when the user interrupted.
fn run(cli: Cli) -> anyhow::Result<bool> {
    outputs::declared::of(cli.command.as_ref())?.check()?;
    match cli.command {
        None => pretrain::pretrain(
            &pretrain::Request::quick_start(),
            &stop_on_signal(pretrain::STOPPING)?,
        ),
        Some(Command::Pretrain(args)) => pretrain::pretrain(
            &pretrain::Request::of(&args),
            &stop_on_signal(pretrain::STOPPING)?,
        ),
        Some(Command::Match(args)) => {
            let selected = open_device(&args.device)?;
            let request = matching::Request {
                a: args.a,
                b: args.b,
                weights: args.weights,
                out: args.out,
                json: args.json,
                feature: args.feature,
                size: args.size,
                threshold: args.threshold,
                stride: args.stride,
                max_lines: args.max_lines,
                at: args.at,
            };
            matching::run(&request, &selected).map(|()| true)
        }
        Some(Command::Plot(args)) => {
            // One pair of pictures: not worth waking a GPU.
            let selected = pollster::block_on(select(DeviceChoice::Cpu))?;
            for path in plot::plot(&args.run, args.out.as_deref(), &selected.device)? {
                console::print(&format!("{}\n", path.display()))?;
            }
            Ok(true)
        }
        Some(Command::Synth(args)) => {
            let scenes = SceneConfig {
                size: args.size,
                baseline: args.baseline,
                ..SceneConfig::default()
            };
            synth::synth(&args.out, args.count, args.seed, &scenes).map(|()| true)
        }
        Some(Command::Pack(args)) => {
            let stop = stop_on_signal("stopping: nothing is written")?;
            let request = pack::Request {
                data: args.data,
                out: args.out,
                max_side: args.max_side,
                json: args.json,
            };
            pack::run(&request, &stop)
        }
        Some(Command::Embed(args)) => {
            let stop = stop_on_signal("stopping: nothing is written")?;
            let selected = open_device(&args.device)?;
            embed::run(&args, &selected, &stop)
        }
        Some(Command::Search(args)) => {
            let selected = open_device(&args.device)?;
            search::run(&args, &selected.device).map(|()| true)
        }
        Some(Command::Import(args)) => {
            let request = import::Request {
                file: args.file,
                out: args.out,
                json: args.json,
                half: args.half,
                stride_in_1x1: args.stride_in_1x1,
            };
            import::run(&request).map(|()| true)
        }
        Some(Command::Export(args)) => {
            let request = export::Request {
                weights: args.weights,
                format: args.to.map(Into::into).or(args.web.then_some(Format::Web)),
                out: args.out,
                heads: args.heads,
                stride: args.stride,
            };
            console::note(export::export(&request)?);
            Ok(true)
        }
        Some(Command::Eval(args)) => commands::eval::run(args).map(|()| true),
        Some(Command::LoaderSpeed(args)) => {
            let request = loader_speed::Request {
                data: args.data,
                size: args.size,
                threads: args.threads,
                seconds: args.seconds,
                json: args.json,
            };
            loader_speed::run(&request).map(|()| true)
        }
        Some(Command::Config(args)) => {
            match args.name {
                None => {
                    let lines = config::PRESETS
                        .map(|(name, text)| format!("{name:27} {}\n", config::title(text)));
                    console::print(&lines.concat())?;
                }
                Some(name) => {
                    let (_, config) = pretrain::resolve(Some(&name), &args.sets)?;
                    config.validate()?;
                    console::print(&settings::to_toml(&config)?)?;
                }
            }
            Ok(true)
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "densecl", &mut script);
            console::print(&String::from_utf8_lossy(&script))?;
            Ok(true)
        }
    }
}

/// Opens the device asked for and says which it is, and why.
fn open_device(args: &cli::Device) -> anyhow::Result<Selected> {
    let choice: DeviceChoice = args.device.as_deref().unwrap_or("auto").parse()?;
    let selected = pollster::block_on(select(choice))?;
    console::note(format_args!("device: {}", selected.reason));
    Ok(selected)
}
