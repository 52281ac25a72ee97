//! Finds the programs that the browser tests need, and says how to install those that are missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// A missing requirement.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Its name.
    pub(crate) what: String,
    /// The command that installs it.
    pub(crate) remedy: String,
}

impl Missing {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// The program `densecl` in the folder above that of this test. Cargo builds it with all tests, but not with this one
/// alone.
///
/// # Errors
/// If it cannot be built.
fn program() -> Result<PathBuf, Missing> {
    let test = env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent).expect("two folders");
    let program = folder.join(format!("densecl{}", env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Ok(program);
    }
    let command = "cargo build --release --locked --bin densecl";
    let built = Command::new(env!("CARGO"))
        .args(command.split(' ').skip(1))
        .status();
    match built {
        Ok(status) if status.success() && program.is_file() => Ok(program),
        _ => Err(Missing::new("the program densecl", command)),
    }
}

/// The requirements other than Node, all found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Path of Chromium.
    pub(crate) chromium: PathBuf,
    /// Path of the program whose runs the page watches.
    pub(crate) program: PathBuf,
}

/// The oldest supported version of Node.
const NODE: u32 = 20;

/// Path of a Node that is new enough.
///
/// # Errors
/// If Node is missing or too old.
pub(crate) fn node() -> Result<PathBuf, Missing> {
    let missing = |what: String| Missing::new(what, format!("install Node {NODE} or newer"));
    let node = in_path(&["node", "nodejs"]).ok_or_else(|| missing("Node.js".to_owned()))?;
    let output = Command::new(&node).arg("--version").output();
    let version = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let version = version.unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= NODE => Ok(node),
        _ => Err(missing(format!("Node.js {NODE} (found {version:?})"))),
    }
}

/// Finds Chromium and the npm packages, and builds the page if it is older than its sources.
///
/// # Errors
/// All requirements that are missing.
pub(crate) fn browser_and_page(here: &Path) -> Result<Found, Vec<Missing>> {
    let root = here.join("../..").canonicalize();
    let root = root.expect("the tests lie in the repository");
    let mut missing = Vec::new();
    let absent = ["playwright-core", "axe-core", "vite"]
        .into_iter()
        .filter(|package| !here.join("node_modules").join(package).is_dir());
    let absent: Vec<&str> = absent.collect();
    if !absent.is_empty() {
        let what = format!("npm's {}", absent.join(" and "));
        missing.push(Missing::new(what, "npm ci --prefix tests/browser"));
    }
    let chromium = chromium();
    if chromium.is_none() {
        missing.push(Missing::new(
            "Chromium (looked for $CHROME, chromium, chromium-browser, google-chrome)",
            "apt-get install chromium, or CHROME=/path/to/chrome",
        ));
    }
    // A first build takes many minutes, so the page is built only if everything else is present.
    if missing.is_empty()
        && let Err(page) = build_page(&root)
    {
        missing.push(page);
    }
    let program = program().map_err(|program| missing.push(program));
    match (chromium, program) {
        (Some(chromium), Ok(program)) if missing.is_empty() => Ok(Found {
            root,
            chromium,
            program,
        }),
        _ => Err(missing),
    }
}

fn chromium() -> Option<PathBuf> {
    if let Some(chosen) = env::var_os("CHROME") {
        let chosen = PathBuf::from(chosen);
        return chosen.is_file().then_some(chosen);
    }
    in_path(&[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ])
}

fn in_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let candidates = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|file| file.is_file())
}

/// The sources of the page. `web/dist` is built from them.
const SOURCES: [&str; 11] = [
    "index.html",
    "Trunk.toml",
    "Cargo.lock",
    "core/Cargo.toml",
    "core/src",
    "kernels/src",
    "train/Cargo.toml",
    "train/src",
    "configs",
    "web",
    "rust-toolchain.toml",
];

/// Builds the page in `dist/` and the package in `web/dist/`, which Trunk's hook makes first, unless both are
/// newer than their sources.
fn build_page(root: &Path) -> Result<(), Missing> {
    let sources = SOURCES.iter().map(|source| newest(&root.join(source)));
    let sources = sources.max().unwrap_or(SystemTime::UNIX_EPOCH);
    let packaged = root.join("web/dist/dense-match.js").is_file();
    // Trunk writes index.html in every build; other files may keep the time of the file they were copied from.
    if packaged && changed(&root.join("dist/index.html")) >= sources {
        return Ok(());
    }
    let remedy = "trunk build --release   (README.md, \"The browser\", says which trunk)";
    let what = "a built page that is newer than its sources (dist/, web/dist/)";
    if in_path(&["trunk"]).is_none() {
        return Err(Missing::new(what, remedy));
    }
    println!("building the page: trunk build --release (minutes the first time) ...");
    let built = Command::new("trunk")
        .args(["build", "--release"])
        .current_dir(root)
        // Trunk stops if NO_COLOR=1 is set, which it reports as a malformed flag.
        .env_remove("NO_COLOR")
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Missing::new(
            format!("{what}: trunk failed, see above"),
            remedy,
        )),
    }
}

/// The latest modification time of the files in a folder at any depth, without built files.
fn newest(path: &Path) -> SystemTime {
    let made = ["dist", "node_modules", "target", "bench"];
    if made.iter().any(|name| path.ends_with(name)) {
        return SystemTime::UNIX_EPOCH;
    }
    match fs::read_dir(path) {
        Ok(entries) => {
            let entries = entries.flatten().map(|entry| newest(&entry.path()));
            entries.max().unwrap_or(SystemTime::UNIX_EPOCH)
        }
        Err(_) => changed(path),
    }
}

fn changed(path: &Path) -> SystemTime {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}
