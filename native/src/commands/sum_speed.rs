//! `densecl sum-speed`: measures how long the ranks take to add a gradient. Hidden from the help, because it is a
//! benchmark of this program (docs/scale.md).

use std::thread;
use std::time::Instant;

use densecl::world::World;
use densecl_train::threads::Threads;

use crate::cli;
use crate::console;
use crate::mpi;

/// Measures among the processes that a launcher has started, otherwise among threads; prints one line.
///
/// # Errors
/// When a rank ends early.
pub(crate) fn run(args: &cli::SumSpeed) -> anyhow::Result<()> {
    if let Some(mut member) = mpi::join()? {
        let seconds = measure(&mut member, args)?;
        if member.rank() == 0 {
            tell("processes", member.size(), args, seconds)?;
        }
        member.leave();
        return Ok(());
    }
    let mut measured = thread::scope(|scope| {
        let started = Threads::worlds(args.threads)
            .into_iter()
            .map(|mut world| scope.spawn(move || measure(&mut world, args)));
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().flat_map(|rank| rank.join());
        ended.collect::<Vec<_>>()
    });
    match measured.pop() {
        Some(seconds) => tell("threads", args.threads, args, seconds?),
        None => Ok(()),
    }
}

/// Seconds of each sum, sorted; the first one, which reserves memory, is left out.
fn measure(world: &mut dyn World, args: &cli::SumSpeed) -> densecl::Result<Vec<f64>> {
    let mut seconds = Vec::with_capacity(args.repeat);
    for _ in 0..=args.repeat {
        let values: Vec<f32> = vec![0.1; args.numbers];
        // So that no rank begins late and lets the others wait.
        world.gather(Vec::new())?;
        let start = Instant::now();
        let sum = world.sum(values)?;
        seconds.push(start.elapsed().as_secs_f64());
        drop(sum);
    }
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

fn tell(what: &str, ranks: usize, args: &cli::SumSpeed, seconds: Vec<f64>) -> anyhow::Result<()> {
    let (Some(least), Some(most)) = (seconds.first(), seconds.last()) else {
        return Ok(());
    };
    console::print(&format!(
        "{} numbers, {ranks} {what}: median {:.3} s ({least:.3} to {most:.3}, {} sums)\n",
        args.numbers,
        seconds[seconds.len() / 2],
        seconds.len()
    ))
}
