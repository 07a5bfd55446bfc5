//! How source files look: they say what they own, stay small enough to be one noun, and are compiled at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{files, none, read, root};

/// Past this a second noun is nearly always inside.
const LINES_MAX: usize = 600;
/// Longer files, each with its reason.
const LONGER: [(&str, &str); 0] = [];

#[test]
fn every_source_file_says_what_it_owns() {
    let sources = files(&root(), "rs");
    assert!(sources.len() > 20, "the rule looks at nothing");
    let silent = sources.iter().filter(|path| !read(path).starts_with("//!"));
    let silent: Vec<String> = silent.map(|path| path.display().to_string()).collect();
    none("a source file opens with //!", &silent);
}

#[test]
fn no_file_is_longer_than_one_noun() {
    let root = root();
    let mut findings = Vec::new();
    for path in files(&root, "rs") {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let lines = read(&path).lines().count();
        if lines > LINES_MAX && !LONGER.iter().any(|(longer, _)| *longer == name) {
            findings.push(format!("{name} has {lines} lines"));
        }
    }
    none("files of at most 600 lines", &findings);
}

/// Two files of stories were in no module after a merge: nobody missed that they were not run.
#[test]
fn every_source_file_is_part_of_something() {
    let sources = files(&root(), "rs").into_iter();
    let sources: BTreeMap<PathBuf, String> =
        sources.map(|path| (path.clone(), read(&path))).collect();
    let lost = sources.keys().filter(|path| !is_named(path, &sources));
    let lost: Vec<String> = lost.map(|path| path.display().to_string()).collect();
    none("a source file is a module of another", &lost);
}

/// Whether cargo finds a file by itself, or another file names it.
fn is_named(path: &Path, sources: &BTreeMap<PathBuf, String>) -> bool {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, folder) = (name(path), path.parent().unwrap_or(path));
    if ["main", "lib", "mod", "build"].contains(&stem.as_str())
        || ["examples", "tests", "benches"].contains(&name(folder).as_str())
    {
        return true;
    }
    let above = ["main.rs", "lib.rs", "mod.rs"].map(|file| folder.join(file));
    let above = above.into_iter().chain([folder.with_extension("rs")]);
    let (alone, behind) = (format!("mod {stem};"), format!(" mod {stem};"));
    let declares = |text: &String| {
        text.lines().any(|line| line.trim() == alone || line.trim().ends_with(&behind))
    };
    above.filter_map(|path| sources.get(&path)).any(declares)
        || sources.values().any(|text| text.contains(&format!("{stem}.rs\"]")))
}

#[test]
fn the_rule_about_modules_sees_one_that_nobody_names() {
    let sources =
        [("it/main.rs", "mod named;\npub mod shown;"), ("it/named.rs", ""), ("it/lost.rs", "")];
    let sources = sources.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    let sources = BTreeMap::from(sources);
    let named = |path: &str| is_named(Path::new(path), &sources);
    assert!(named("it/main.rs") && named("it/named.rs") && named("it/shown.rs"));
    assert!(!named("it/lost.rs"));
}

#[test]
fn every_error_says_what_is_left_behind() {
    let root = root();
    let mut findings = Vec::new();
    for path in files(&root.join("host"), "rs") {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        for (line, variant) in undocumented(&read(&path)) {
            findings.push(format!("{name}:{line}: {variant}"));
        }
    }
    none("each variant of an Error has two sentences", &findings);
}

/// Variants of `thiserror` enums whose documentation has no second sentence, with their lines.
fn undocumented(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut derives = false;
    let mut inside = false;
    let mut sentences = 0;
    for (index, line) in text.lines().enumerate() {
        let code = line.trim();
        if code.starts_with("#[derive(") {
            derives = code.contains("Error");
        } else if derives && code.contains("enum ") {
            inside = true;
            sentences = 0;
        } else if line == "}" {
            inside = false;
            derives = false;
        } else if inside && code.starts_with("///") {
            let ends = code.matches(['.', ';', ':', '?', '!']).count();
            sentences += ends;
        } else if inside && line.starts_with("    ") && !line.starts_with("     ") {
            let variant = code.trim_end_matches([',', '{', '(', ' ']);
            if code.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                if sentences < 2 {
                    found.push((index + 1, variant.to_owned()));
                }
                sentences = 0;
            }
        }
    }
    found
}

#[test]
fn the_rule_about_errors_sees_a_lone_sentence() {
    let text = "#[derive(Debug, thiserror::Error)]\npub enum Error {\n    /// It broke.\n    #[error(\"a\")]\n    \
                A,\n    /// It broke. Nothing was written.\n    #[error(\"b\")]\n    B { file: u8 },\n}\n";
    assert_eq!(undocumented(text), [(5, "A".to_owned())]);
}
