//! The embedded scenes as the data of an evaluation: `scenes`, or `scenes:N` for N of them.

use std::path::Path;

use anyhow::Context;

/// The number of scenes that `data` asks for, `usual` where it gives none; `None` where it is not `scenes`. A file or
/// folder of that name has precedence.
///
/// # Errors
/// For a number that is none, or 0.
pub(crate) fn count(data: &str, usual: usize) -> anyhow::Result<Option<usize>> {
    let Some(rest) = data.strip_prefix("scenes") else {
        return Ok(None);
    };
    if Path::new(data).exists() || !(rest.is_empty() || rest.starts_with(':')) {
        return Ok(None);
    }
    let count = match rest.strip_prefix(':') {
        Some(count) => count.parse().ok().filter(|&count| count > 0),
        None => Some(usual),
    };
    let count = count
        .with_context(|| format!("--data {data}: write scenes, or scenes:100 for 100 of them"))?;
    Ok(Some(count))
}
