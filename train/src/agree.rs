//! Decisions that all ranks of a run take together, so that none goes on alone: a rank that waited for another one in
//! an exchange would wait for ever.

use std::fmt;

use densecl::world::World;

/// The failure of one rank, as the others see it. Rank 0 reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TogetherFailed(pub String);

impl fmt::Display for TogetherFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TogetherFailed {}

/// Whether `own` is true on any rank.
///
/// # Errors
/// When another rank has ended.
pub fn any(world: &mut dyn World, own: bool) -> densecl::Result<bool> {
    if world.size() == 1 {
        return Ok(own);
    }
    let all = world.gather(vec![u8::from(own)])?;
    Ok(all.iter().any(|said| said == &[1]))
}

/// The number that rank 0 gives.
///
/// # Errors
/// When another rank has ended.
pub fn of_first(world: &mut dyn World, own: u64) -> densecl::Result<u64> {
    Ok(numbers(world, own)?.first().copied().unwrap_or(own))
}

/// The largest `own` of all ranks.
///
/// # Errors
/// When another rank has ended.
pub fn largest(world: &mut dyn World, own: usize) -> densecl::Result<usize> {
    let all = numbers(world, own as u64)?.into_iter();
    Ok(all.max().map_or(own, |largest| largest as usize))
}

fn numbers(world: &mut dyn World, own: u64) -> densecl::Result<Vec<u64>> {
    let all = world.gather(own.to_le_bytes().to_vec())?;
    let numbers = all
        .iter()
        .filter_map(|said| said.as_slice().try_into().ok());
    Ok(numbers.map(u64::from_le_bytes).collect())
}

/// `own`, if every rank has succeeded; otherwise the error of the first rank that has not, on all ranks.
///
/// # Errors
/// The outer error when another rank has ended, the inner one ([`TogetherFailed`]) when one has failed.
pub fn all<T>(world: &mut dyn World, own: anyhow::Result<T>) -> densecl::Result<anyhow::Result<T>> {
    if world.size() == 1 {
        return Ok(own);
    }
    // An empty text means success.
    let said = match &own {
        Ok(_) => String::new(),
        Err(error) => format!("!{error:#}"),
    };
    let all = world.gather(said.into_bytes())?;
    let first = all.iter().find(|said| !said.is_empty());
    Ok(match first {
        None => own,
        Some(why) => {
            let why = String::from_utf8_lossy(why);
            Err(TogetherFailed(why[1..].to_string()).into())
        }
    })
}
