//! Reading and writing files, with words for what goes wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Trouble;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(|error| {
        let what = format!("{} cannot be read: {error}", path.display());
        Trouble::usage(what, "Name a file that exists")
    })
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    folder(path)?;
    fs::write(path, bytes).map_err(|error| unwritable(path, &error))
}

/// Writes a file unless it is so already.
pub(crate) fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    match fs::read(path) {
        Ok(there) if there == bytes => Ok(()),
        _ => write(path, bytes),
    }
}

/// Writes a file beside its place and renames it: whoever reads it sees the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let partial = path.with_extension("partial");
    write(&partial, bytes)?;
    fs::rename(&partial, path).map_err(|error| unwritable(path, &error))
}

/// Makes the folder of a file.
fn folder(path: &Path) -> Result<(), Trouble> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error)),
        None => Ok(()),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Trouble {
    let what = format!("{} cannot be written: {error}", path.display());
    Trouble::failed(what, "Name a place that can be written")
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Trouble> {
    fs::create_dir_all(path).map_err(|error| unwritable(path, &error))
}

/// Folders in which nothing is an author's own.
const NOT_SOURCES: [&str; 3] = ["target", "node_modules", "wit"];

/// So many files are looked at below a project: more is no plugin, but a home folder by mistake.
const FILES_MAX: usize = 10_000;

/// Every file of an author below `folder` that ends in `.ext`, in a fixed order; with an empty `ext`, every
/// file.
pub(crate) fn below(folder: &Path, ext: &str) -> Result<Vec<PathBuf>, Trouble> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error: io::Error| {
            let what = format!("{} cannot be read: {error}", folder.display());
            Trouble::usage(what, "Give the right to read it")
        };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            seen += 1;
            if seen > FILES_MAX {
                let what = format!("{} holds more than {FILES_MAX} files", folder.display());
                return Err(Trouble::usage(what, "Name the folder of one plugin"));
            }
            if name.starts_with('.') || NOT_SOURCES.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if ext.is_empty() || path.extension().is_some_and(|found| found == ext) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
