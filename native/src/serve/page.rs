//! The folder of `--serve-page`: a built page, whose files are listed before the run begins.
//!
//! A request is looked up in that list, and its path is never joined to the folder's. So no path of a request, however
//! it is written, leads out of the folder; nor do symbolic links, which are not listed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use walkdir::WalkDir;

/// A built page has some 40 files. A folder with very many was given by mistake.
const MOST_FILES: usize = 10_000;

/// The files of a built page.
#[derive(Debug)]
pub(super) struct Page {
    /// File by the path of its request.
    files: HashMap<String, PathBuf>,
}

impl Page {
    /// Lists the page in `folder`.
    ///
    /// # Errors
    /// One line when the folder holds no page that was built with this one's parts.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let refused = |why: String| {
            anyhow::anyhow!(
                "--serve-page {}: {why}: give the folder that `trunk build --release` makes, dist (docs/web.md)",
                folder.display()
            )
        };
        if !folder.is_dir() {
            return Err(refused("is not a folder".to_string()));
        }
        for part in ["index.html", "page/page.js", "dense-match/engine.js"] {
            if !folder.join(part).is_file() {
                return Err(refused(format!("is no built page, it has no {part}")));
            }
        }
        let mut files = HashMap::new();
        for entry in WalkDir::new(folder) {
            let entry = entry.map_err(|error| refused(error.to_string()))?;
            let below = entry.path().strip_prefix(folder);
            let Some(name) = below.ok().and_then(Path::to_str) else {
                continue;
            };
            if !entry.file_type().is_file() {
                continue;
            }
            let name = name.replace(std::path::MAIN_SEPARATOR, "/");
            files.insert(format!("/{name}"), entry.path().to_path_buf());
            if files.len() > MOST_FILES {
                bail!("{}", refused(format!("holds more than {MOST_FILES} files")));
            }
        }
        if let Some(index) = files.get("/index.html").cloned() {
            files.insert("/".to_string(), index);
        }
        Ok(Self { files })
    }

    /// The content and type of the file at the path of a request; `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Option<(Vec<u8>, &'static str)> {
        let file = self.files.get(path)?;
        Some((fs::read(file).ok()?, kind(file)))
    }
}

/// The type of a file by its extension. Browsers refuse modules and WebAssembly of another type.
fn kind(file: &Path) -> &'static str {
    let extension = file.extension().unwrap_or_default().to_str();
    match extension.unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "wasm" => "application/wasm",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "md" | "ts" | "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
