//! Compares the files that a command reads with those that it writes, before it does anything.
//!
//! An output replaces the file at its path, so that a path given twice by mistake would destroy a file of the user:
//! weights, a picture, a list. [`declared::of`] lists for every command what it reads and writes, side files
//! included. [`Files::check`] refuses an output that is an input, that would replace a file in a folder of inputs,
//! or that is another output. Paths are compared by the file that they lead to, not by their text.

pub(crate) mod declared;
mod place;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use walkdir::WalkDir;

use densecl_train::data::scan::{Dataset, is_image_name};
use place::Place;

/// A path and the option by which the user gave it.
#[derive(Debug, Clone)]
struct Named {
    /// Such as `--weights`; empty for a positional argument.
    option: String,
    given: PathBuf,
}

impl Named {
    fn new(option: &str, given: &Path) -> Self {
        Self {
            option: option.to_string(),
            given: given.to_path_buf(),
        }
    }

    /// The text for messages: `--weights w.safetensors`.
    fn shown(&self) -> String {
        let path = self.given.display();
        match self.option.as_str() {
            "" => path.to_string(),
            option => format!("{option} {path}"),
        }
    }
}

/// Which files of an input must not be replaced.
#[derive(Debug, Clone)]
enum Reach {
    /// The file itself, or the folder itself.
    Itself,
    /// The pictures in a folder and below it.
    PicturesBelow,
    /// Every file in a folder and below it.
    FilesBelow,
    /// These files, which the input lists.
    Named(Vec<PathBuf>),
}

/// An output: the path given by the user, and the file that is written.
#[derive(Debug, Clone)]
struct Output {
    named: Named,
    file: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// A file in a folder that was given as output.
    InFolder,
}

impl Output {
    /// The text for messages: `--out photos.npy`, or for a side file `photos.txt (of --out photos.npy)`.
    fn shown(&self) -> String {
        if self.file == self.named.given {
            self.named.shown()
        } else {
            format!("{} (of {})", self.file.display(), self.named.shown())
        }
    }
}

/// The files that a command reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Files {
    inputs: Vec<(Named, Reach)>,
    outputs: Vec<Output>,
    /// Folders that will contain pictures. They must not lie in a folder of training pictures, because training would
    /// read their pictures too.
    picture_folders: Vec<Named>,
}

/// Whether the path means standard input or output.
fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

impl Files {
    /// Adds a file that is read, or a folder whose contents do not matter. A path that does not exist, such as the
    /// embedded weights, cannot be replaced and is ignored.
    pub(crate) fn reads(&mut self, option: &str, path: &Path) -> &mut Self {
        self.input(option, path, Reach::Itself)
    }

    /// Adds pictures as given to `densecl pretrain --data`: a folder, a list of paths, or a pack.
    pub(crate) fn reads_pictures(&mut self, option: &str, path: &Path) -> &mut Self {
        let reach = if path.is_dir() {
            Reach::PicturesBelow
        } else {
            // A pack, or a list that cannot be read, refers to no other files; the command reports errors.
            let listed = Dataset::scan(path).map(|data| data.paths().to_vec());
            listed.map_or(Reach::Itself, Reach::Named)
        };
        self.input(option, path, reach)
    }

    /// Adds a folder of which any file may be read, or a CSV that refers to files beside it.
    pub(crate) fn reads_data(&mut self, option: &str, path: &Path) -> &mut Self {
        let reach = if path.is_dir() {
            Reach::FilesBelow
        } else {
            let text = densecl_train::files::read_text(path).unwrap_or_default();
            let folder = densecl_train::files::folder_of(path);
            let fields = text.lines().flat_map(|line| line.split(','));
            let mut named: Vec<PathBuf> = fields
                .map(|field| folder.join(field.trim().trim_matches('"')))
                .filter(|file| file.is_file())
                .collect();
            named.dedup();
            Reach::Named(named)
        };
        self.input(option, path, reach)
    }

    /// Adds files to which another file refers, such as the pictures of an index.
    pub(crate) fn reads_each(
        &mut self,
        named_by: &str,
        path: &Path,
        files: Vec<PathBuf>,
    ) -> &mut Self {
        self.input(named_by, path, Reach::Named(files))
    }

    fn input(&mut self, option: &str, path: &Path, reach: Reach) -> &mut Self {
        if path.exists() {
            self.inputs.push((Named::new(option, path), reach));
        }
        self
    }

    /// Adds a file that is written; `-` is ignored.
    pub(crate) fn writes(&mut self, option: &str, path: &Path) -> &mut Self {
        self.output(option, path, path.to_path_buf(), Kind::File)
    }

    /// Adds the file of an optional argument.
    pub(crate) fn may_write(&mut self, option: &str, path: Option<&Path>) -> &mut Self {
        if let Some(path) = path {
            self.writes(option, path);
        }
        self
    }

    /// Adds a file that is written because of `given`, under another name.
    pub(crate) fn writes_for(&mut self, option: &str, given: &Path, file: PathBuf) -> &mut Self {
        self.output(option, given, file, Kind::File)
    }

    fn output(&mut self, option: &str, given: &Path, file: PathBuf, kind: Kind) -> &mut Self {
        if !is_stream(given) {
            let named = Named::new(option, given);
            self.outputs.push(Output { named, file, kind });
        }
        self
    }

    /// Adds a folder into which these files are written.
    pub(crate) fn writes_folder(
        &mut self,
        option: &str,
        folder: &Path,
        files: Vec<PathBuf>,
    ) -> &mut Self {
        self.output(option, folder, folder.to_path_buf(), Kind::Folder);
        for file in files {
            self.output(option, folder, file, Kind::InFolder);
        }
        self
    }

    /// Refuses to write pictures of `folder` into a folder of training pictures.
    pub(crate) fn keeps_pictures_apart(&mut self, option: &str, folder: &Path) -> &mut Self {
        self.picture_folders.push(Named::new(option, folder));
        self
    }

    /// Refuses conflicting paths.
    ///
    /// # Errors
    /// When an input or another output would be replaced; one line for the user.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let places: Vec<Place> = self.outputs.iter().map(|o| Place::of(&o.file)).collect();
        for (named, reach) in &self.inputs {
            let input = Place::of(&named.given);
            for (output, place) in self.outputs.iter().zip(&places) {
                let shown = output.shown();
                if place.is(&input) {
                    bail!(
                        "{shown} is the same as {}, which is read: give the output another name",
                        named.shown()
                    );
                }
                if let Some(file) = replaced(place, output, &input, named, reach) {
                    bail!(
                        "{shown} would replace {}, which {} holds: give the output another name",
                        file.display(),
                        named.shown()
                    );
                }
            }
            for folder in &self.picture_folders {
                if matches!(reach, Reach::PicturesBelow)
                    && Place::of(&folder.given).is_seen_below(&input)
                {
                    bail!(
                        "{} lies in {}: the pictures that are written there would be taken for some to \
                         train on; give a folder elsewhere with --out",
                        folder.shown(),
                        named.shown()
                    );
                }
            }
        }
        for (i, (output, place)) in self.outputs.iter().zip(&places).enumerate() {
            for (other, its_place) in self.outputs.iter().zip(&places).take(i) {
                // A folder and its own files are no conflict.
                if output.named.option == other.named.option {
                    continue;
                }
                // A file given as output cannot also be the folder of another output. If it already is a folder, the
                // command reports the error.
                let is_in = |output: &Output, place: &Place, above: &Place| {
                    output.kind != Kind::Folder && !output.file.is_dir() && above.is_above(place)
                };
                if is_in(other, place, its_place) || is_in(output, its_place, place) {
                    bail!(
                        "one of {} and {} lies in the other, which is to be a file: give other names",
                        other.shown(),
                        output.shown()
                    );
                }
                if place.is(its_place) {
                    bail!(
                        "{} and {} are the same file: give two names",
                        other.shown(),
                        output.shown()
                    );
                }
            }
        }
        Ok(())
    }

    /// Whether `given` is listed as input or output.
    #[cfg(test)]
    fn mentions(&self, given: &Path) -> bool {
        let mut named = self.inputs.iter().map(|(named, _)| named);
        named.any(|named| named.given == given)
            || self
                .outputs
                .iter()
                .any(|output| output.named.given == given)
    }
}

/// The file of an input that an output at `place` would replace.
///
/// An output is renamed to its path, so that it can only replace a file of the same name, in a folder whose path may
/// be written in another way. A link to the file from elsewhere is not replaced.
fn replaced(
    place: &Place,
    output: &Output,
    input: &Place,
    named: &Named,
    reach: &Reach,
) -> Option<PathBuf> {
    // Without a file at the output's path nothing is replaced.
    if !fs::symlink_metadata(&output.file).is_ok_and(|found| !found.is_dir()) {
        return None;
    }
    let file_name = output.file.file_name()?;
    let same_name = |path: &Path| path.file_name().is_some_and(|name| alike(name, file_name));
    let same = |path: &PathBuf| same_name(path) && Place::of(path).is(place);
    match reach {
        Reach::Itself => None,
        Reach::Named(files) => files.iter().find(|path| same(path)).cloned(),
        Reach::PicturesBelow if !is_image_name(&output.file) => None,
        Reach::PicturesBelow | Reach::FilesBelow => {
            if place.is_seen_below(input) {
                return Some(output.file.clone());
            }
            // The input folder is not searched for links to files in an output folder: the folder of a run exists on
            // each resume, and searching millions of pictures would take minutes on a network disk.
            if output.kind == Kind::InFolder {
                return None;
            }
            // A link inside the folder may lead to the output's folder.
            let files = WalkDir::new(&named.given).follow_links(true).into_iter();
            let mut files = files.flatten().filter(|entry| same_name(entry.path()));
            files.find_map(|entry| Some(entry.into_path()).filter(same))
        }
    }
}

/// Whether two names may denote the same file: some file systems ignore case.
fn alike(a: &OsStr, b: &OsStr) -> bool {
    a.eq_ignore_ascii_case(b)
        || a.to_string_lossy().to_lowercase() == b.to_string_lossy().to_lowercase()
}
