//! What is served at which path:
//!
//! | path | content |
//! |---|---|
//! | `/run/status.json` | phase, step, figures and measurements of the run |
//! | `/run/metrics.jsonl` | the rows so far; `?from=N`: without the first N bytes |
//! | `/run/weights.safetensors` | the newest weights |
//! | `/run/untrained.safetensors` | the untrained network that the run has measured |
//! | everything else | the page of `--serve-page` |

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use super::board::Board;
use super::hosts::is_ours;
use super::http::{Request, Response};
use super::page::Page;

/// The path of the page that watches the run it comes with.
pub(super) const WATCH: &str = "/#mode=watch&run=here";

/// Answers requests about a run.
pub(super) struct Routes {
    pub(super) board: Arc<Board>,
    /// The host's name of `--serve`, if it was given by name.
    pub(super) name: Option<String>,
    /// The page elsewhere that may read the run.
    pub(super) origin: Option<String>,
    pub(super) page: Option<Page>,
}

impl Routes {
    /// The response to a request.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let response = match request.host.as_deref() {
            None => Response::text(400, "the request names no host, or several"),
            Some(host) if !is_ours(host, self.name.as_deref()) => Response::text(
                403,
                "this run is served under the address of its machine, or the name given to --serve, and no other name",
            ),
            Some(_) => self.found(request).unwrap_or_else(|error| {
                log::warn!("{} cannot be served: {error:#}", request.path);
                Response::text(500, "this cannot be read now")
            }),
        };
        let response = response
            .with("x-content-type-options", "nosniff")
            .with("cross-origin-resource-policy", "same-origin");
        match &self.origin {
            Some(origin) => response
                .with("access-control-allow-origin", origin.as_str())
                .with("vary", "origin"),
            None => response,
        }
    }

    fn found(&self, request: &Request) -> anyhow::Result<Response> {
        let weights = |file: Option<Arc<Vec<u8>>>, status: u16, missing: &str| match file {
            Some(file) => Response::ok("application/octet-stream", file),
            None => Response::text(status, missing),
        };
        let response = match request.path.as_str() {
            "/run/status.json" => Response::ok("application/json", Arc::new(self.board.status()?)),
            "/run/metrics.jsonl" => match from(&request.query) {
                Some(from) => {
                    let rows = match self.board.metrics() {
                        Some(path) => whole_lines(&path, from)?,
                        None => Vec::new(),
                    };
                    Response::ok("application/jsonl", Arc::new(rows))
                }
                None => Response::text(400, "only ?from=BYTES is understood"),
            },
            "/run/weights.safetensors" => weights(
                self.board.newest(),
                503,
                "there are no weights yet: the run prepares",
            )
            .with("retry-after", "2"),
            "/run/untrained.safetensors" => weights(
                self.board.untrained(),
                404,
                "the untrained network was not measured, or not yet",
            ),
            path => return Ok(self.of_page(path)),
        };
        Ok(response.with("cache-control", "no-store"))
    }

    fn of_page(&self, path: &str) -> Response {
        match (&self.page, path) {
            (Some(page), _) => match page.read(path) {
                Some((content, kind)) => {
                    // As docs/web.md advises: names have no hashes, so a browser asks whether they have changed.
                    Response::ok(kind, Arc::new(content)).with("cache-control", "no-cache")
                }
                None => Response::text(404, "there is no such file"),
            },
            (None, "/") => Response::text(
                200,
                "a run of densecl: /run/status.json /run/metrics.jsonl /run/weights.safetensors\n\
                 for a page that shows them, start the run with --serve-page dist",
            ),
            (None, _) => Response::text(404, "there is no such file"),
        }
    }
}

/// The byte at which a reader wants to begin; `None` when the query asks for something else.
fn from(query: &str) -> Option<u64> {
    match query {
        "" => Some(0),
        query => query.strip_prefix("from=")?.parse().ok(),
    }
}

/// The lines of a file from the byte `from` on, without a last one that is still being written. Empty when the file is
/// shorter, or is not there yet.
fn whole_lines(path: &Path, from: u64) -> anyhow::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut lines = Vec::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.read_to_end(&mut lines))
        .with_context(|| path.display().to_string())?;
    let end = lines.iter().rposition(|&byte| byte == b'\n');
    lines.truncate(end.map_or(0, |at| at + 1));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_still_written_is_left_out() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("metrics.jsonl");
        let read = |from| whole_lines(&path, from).expect("read");
        assert_eq!(read(0), b"");
        std::fs::write(&path, "{\"a\":1}\n{\"b\"").expect("written");
        assert_eq!(read(0), b"{\"a\":1}\n");
        assert_eq!(read(8), b"");
        std::fs::write(&path, "{\"a\":1}\n{\"b\":2}\n").expect("written");
        assert_eq!(read(8), b"{\"b\":2}\n");
        assert_eq!(read(1000), b"");
        assert_eq!(
            [from(""), from("from=7"), from("from=-1"), from("x=1")],
            [Some(0), Some(7), None, None]
        );
    }
}
