//! A folder to begin with: one of `plugins/examples/`, under another name.
//!
//! The examples are built and tested with everything else, so what an author begins with works.

use std::path::{Path, PathBuf};

use plugin::Kind;

use crate::{Language, Trouble, files};

/// What the examples are called.
const EXAMPLE: &str = "polite";

/// Longest name: it is also a name of files and of crates.
const NAME_BYTES_MAX: usize = 64;

type File = (&'static str, &'static str);

macro_rules! example {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/examples/", $folder, "/", $path)))),*]
    };
}

const RUST: &[File] = example!("rust":
    "plugin.toml", "README.md", ".gitignore", "Cargo.toml", "Cargo.lock", ".cargo/config.toml", "src/lib.rs");
const JAVASCRIPT: &[File] =
    example!("js": "plugin.toml", "README.md", ".gitignore", "package.json", "plugin.js");
const PYTHON: &[File] =
    example!("python": "plugin.toml", "README.md", ".gitignore", "requirements.txt", "app.py");
const C: &[File] =
    example!("c": "plugin.toml", "README.md", ".gitignore", "requirements.txt", "handler.c");
const GO: &[File] = example!("go":
    "plugin.toml", "README.md", ".gitignore", "requirements.txt",
    "export_carillon_plugin_lifecycle/lifecycle.go",
    "export_carillon_plugin_message_handler/handler.go");

/// What every example is tested with.
const FIXTURE: File =
    ("tests/polite.toml", include_str!("../../../plugins/examples/tests/polite.toml"));

/// Makes the folder `NAME` in `parent`: a plugin that can be built and tested as it is.
///
/// # Errors
/// The name is not usable, the folder exists, or it cannot be written.
pub fn begin(
    parent: &Path,
    name: &str,
    language: Language,
    kind: Kind,
) -> Result<PathBuf, Trouble> {
    check(name)?;
    if kind != Kind::Message {
        let what = format!("there is no template of that kind in {language}");
        return Err(Trouble::usage(what, "Begin with --kind message"));
    }
    let folder = parent.join(name);
    if folder.exists() {
        let what = format!("{} exists", folder.display());
        return Err(Trouble::failed(what, "Choose another name, or move it away"));
    }
    let files = match language {
        Language::Rust => RUST,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::C => C,
        Language::Go => GO,
    };
    for (path, text) in files.iter().chain([&FIXTURE]) {
        let path = folder.join(path.replace(EXAMPLE, name));
        files::write(&path, text.replace(EXAMPLE, name).as_bytes())?;
    }
    Ok(folder)
}

/// A plugin's name is an operator's word, a file's and, in Rust, a crate's.
fn check(name: &str) -> Result<(), Trouble> {
    let plain = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if plain {
        return Ok(());
    }
    let what = format!("{name:?} is no name for a plugin");
    Err(Trouble::usage(what, "Use a-z, 0-9, - and _, beginning with a letter, at most 64 of them"))
}

#[cfg(test)]
mod tests {
    use plugin::Kind;

    use super::begin;
    use crate::{Fixture, Language, Project};

    #[test]
    fn every_language_begins_with_a_manifest_a_readme_and_a_fixture_of_its_name() {
        let parent = tempfile::tempdir().unwrap();
        for language in Language::ALL {
            let name = format!("my-{language}");
            let folder = begin(parent.path(), &name, language, Kind::Message).unwrap();
            let project = Project::open(&folder).unwrap();
            assert_eq!(project.manifest.name, name);
            assert_eq!(project.language(), Ok(language));
            let fixture = folder.join("tests").join(format!("{name}.toml"));
            let fixture = Fixture::parse(&std::fs::read_to_string(fixture).unwrap()).unwrap();
            assert!(!fixture.steps.is_empty());
            let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.lines().count() <= 20 && readme.contains(&name), "{readme}");
            assert!(!readme.contains("polite"));
        }
    }

    #[test]
    fn nothing_is_overwritten_and_a_name_is_plain() {
        let parent = tempfile::tempdir().unwrap();
        let new = |name: &str| begin(parent.path(), name, Language::C, Kind::Message);
        new("hello").unwrap();
        std::fs::write(parent.path().join("hello/handler.c"), "mine").unwrap();
        assert!(new("hello").unwrap_err().what.contains("exists"));
        assert_eq!(std::fs::read_to_string(parent.path().join("hello/handler.c")).unwrap(), "mine");
        for name in ["", "Hello", "1st", "a/b", "../a", "a b"] {
            assert!(new(name).unwrap_err().usage, "{name:?}");
        }
    }
}
