//! Watching a run over HTTP: `densecl pretrain --serve 127.0.0.1:PORT`.
//!
//! It is off by default, read only, and on this machine's loopback address unless another one is given. What is served
//! is a front end of the run like the terminal ([`board::Publisher`]): it changes no result. The page's mode "Watch a
//! run" reads it (web/page/watch).

mod board;
mod hosts;
mod http;
mod page;
mod routes;

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use densecl_train::config::RunConfig;
use densecl_train::events::{Observer, Observers};
use densecl_train::run::{Finished, RunDir};

use self::board::{Board, Phase, Publisher};
use self::http::Server;
use self::page::Page;
use self::routes::{Routes, WATCH};
use crate::cli;
use crate::console;

/// How long a run that has ended is still served while somebody watches it, so that a page that asks every second
/// learns how it ended.
const FAREWELL: Duration = Duration::from_millis(2500);

/// A run that is served.
pub(crate) struct Serving {
    board: Arc<Board>,
    /// Stops when it is dropped.
    _server: Server,
}

impl Serving {
    /// Serves the run that is about to begin, if the arguments ask for it, and says where.
    ///
    /// # Errors
    /// One line when the address cannot be listened at, the folder holds no page, or the origin is none.
    pub(crate) fn start(args: Option<&cli::Serve>) -> anyhow::Result<Option<Self>> {
        let Some(args) = args else { return Ok(None) };
        let Some(address) = &args.serve else {
            for (option, given) in [
                ("--serve-page", args.serve_page.is_some()),
                ("--serve-origin", args.serve_origin.is_some()),
            ] {
                if given {
                    bail!("{option} needs --serve with an address, such as --serve 127.0.0.1:6006");
                }
            }
            return Ok(None);
        };
        let origin = args
            .serve_origin
            .as_deref()
            .map(hosts::origin)
            .transpose()?;
        let page = args.serve_page.as_deref().map(Page::open).transpose()?;
        let listening = hosts::listen(address)?;
        let board = Arc::new(Board::new());
        let has_page = page.is_some();
        let routes = Routes {
            board: Arc::clone(&board),
            name: listening.name.clone(),
            origin,
            page,
        };
        let server = Server::start(
            listening.listener,
            Arc::new(move |request: &_| routes.answer(request)),
        );
        let server = server.with_context(|| format!("--serve {address}"))?;
        announce(&server, listening.name.as_deref(), has_page);
        Ok(Some(Self {
            board,
            _server: server,
        }))
    }

    /// Enters what the settings say of the run.
    pub(crate) fn describe(&self, config: &RunConfig) {
        self.board.describe(config);
    }

    /// Tells those who watch how the run ended.
    pub(crate) fn finish(&self, finished: &anyhow::Result<Finished>) {
        let (phase, message) = match finished {
            Ok(Some((_, result))) if !result.interrupted => (Phase::Ended, None),
            Ok(_) => (Phase::Stopped, None),
            Err(error) => (Phase::Failed, Some(format!("{error:#}"))),
        };
        self.board.finish(phase, message);
    }

    /// Stops serving, after a moment if somebody watches.
    pub(crate) fn close(self) {
        if self.board.is_watched() {
            sleep(FAREWELL);
        }
    }
}

/// The observers of a run: `first`, and if the run is served, what is served. `folder`: that of the run.
pub(crate) fn also(
    serving: Option<&Serving>,
    first: Box<dyn Observer>,
    folder: &Path,
) -> Box<dyn Observer> {
    match serving {
        None => first,
        Some(serving) => {
            let metrics = RunDir::at(folder).metrics();
            let publisher = Publisher::new(Arc::clone(&serving.board), metrics);
            Box::new(Observers(vec![first, Box::new(publisher)]))
        }
    }
}

/// Says where the run is served, and to whom.
fn announce(server: &Server, name: Option<&str>, has_page: bool) {
    let address = server.address();
    let host = name.map_or_else(
        || address.to_string(),
        |n| format!("{n}:{}", address.port()),
    );
    if has_page {
        console::note(format_args!("watch this run at http://{host}{WATCH}"));
    } else {
        console::note(format_args!("this run is served at http://{host}/"));
    }
    if !address.ip().is_loopback() {
        console::note(
            "warning: everybody who reaches this address can read the run and its weights",
        );
    }
}
