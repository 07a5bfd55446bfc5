//! How source files look: they say what they own, and stay small enough to be one noun.

use std::path::Path;

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

#[test]
fn every_source_file_is_part_of_something() {
    let root = root();
    let mut findings = Vec::new();
    for folder in ["host", "tests", "plugins"] {
        for path in files(&root.join(folder), "rs") {
            if !is_target(&path) && !is_declared(&path) {
                let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
                findings.push(name);
            }
        }
    }
    none("a source file that no other declares is compiled by nobody", &findings);
}

/// Whether cargo itself looks for a file of this name in this place.
fn is_target(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(path);
    let above = folder.file_name().unwrap_or_default().to_string_lossy();
    let of_a_crate = folder.parent().is_some_and(|above| above.join("Cargo.toml").exists());
    matches!(&*name, "main.rs" | "lib.rs" | "build.rs")
        || above == "examples"
        || above == "tests" && of_a_crate
}

/// Whether a file beside it, or above it, says that it is a module.
fn is_declared(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(path);
    let (module, places) = if name == "mod.rs" {
        let module = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (module, vec![folder.parent().unwrap_or(folder)])
    } else {
        let module = name.trim_end_matches(".rs").to_owned();
        (module, vec![folder, folder.parent().unwrap_or(folder)])
    };
    let words = [format!("mod {module};"), format!("\"{name}\"")];
    places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten()).any(|entry| {
        let other = entry.expect("the entry is readable").path();
        other != path
            && other.extension().is_some_and(|ext| ext == "rs")
            && words.iter().any(|words| read(&other).contains(words.as_str()))
    })
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
