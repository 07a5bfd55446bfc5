//! A folder to begin with: one of `plugins/examples/` for handlers of messages, of `plugins/templates/` for the
//! other kinds, under another name.
//!
//! All of them are built and tested with everything else, so what an author begins with works.

use std::path::{Path, PathBuf};

use plugin::Kind;

use crate::{Language, Trouble, files};

/// Longest name: it is also a name of files and of crates.
const NAME_BYTES_MAX: usize = 64;

type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../plugins/", $folder, "/", $path)))),*]
    };
}

macro_rules! source {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!("../../../plugins/templates/", $from)))
    };
}

/// What every plugin of a language has, whatever it handles.
const fn common(language: Language) -> &'static [File] {
    match language {
        Language::Rust => files!("examples/rust":
            "README.md", ".gitignore", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"),
        Language::JavaScript => files!("examples/js": "README.md", ".gitignore", "package.json"),
        Language::Python => {
            files!("examples/python": "README.md", ".gitignore", "requirements.txt")
        }
        Language::C => files!("examples/c": "README.md", ".gitignore", "requirements.txt"),
        Language::Go => files!("examples/go": "README.md", ".gitignore", "requirements.txt"),
    }
}

/// What is called so in every file of an example.
const EXAMPLE: &str = "polite";

/// How its README says what it does.
const DECIDES: &str = "decides about every message";

/// A kind to begin with.
struct Template {
    /// What is called so in its files.
    name: &'static str,
    /// What its source does, in its README.
    does: &'static str,
    manifest: &'static str,
    fixture: &'static str,
}

const MESSAGE: Template = Template {
    name: EXAMPLE,
    does: DECIDES,
    manifest: include_str!("../../../plugins/examples/rust/plugin.toml"),
    fixture: include_str!("../../../plugins/examples/tests/polite.toml"),
};

const EVENTS: Template = Template {
    name: "usher",
    does: "is told what happens in chats",
    manifest: include_str!("../../../plugins/templates/events/plugin.toml"),
    fixture: include_str!("../../../plugins/templates/events/fixture.toml"),
};

const TWILIO: Template = Template {
    name: "reception",
    does: "answers calls and texts of telephones",
    manifest: include_str!("../../../plugins/templates/twilio/plugin.toml"),
    fixture: include_str!("../../../plugins/templates/twilio/fixture.toml"),
};

const POLICY: Template = Template {
    name: "archivist",
    does: "plans how chats are kept",
    manifest: include_str!("../../../plugins/templates/policy/plugin.toml"),
    fixture: include_str!("../../../plugins/templates/policy/fixture.toml"),
};

/// Replies come to who asked, so this one decides about messages too.
const CALLBACK: Template = Template {
    name: "inquirer",
    does: "asks a service and is told what it answers",
    manifest: include_str!("../../../plugins/templates/callback/plugin.toml"),
    fixture: include_str!("../../../plugins/templates/callback/fixture.toml"),
};

/// The template of a kind and its source in a language, if there is one.
fn template(language: Language, kind: Kind) -> Option<(Template, &'static [File])> {
    let sources: &[File] = match (kind, language) {
        (Kind::Message, Language::Rust) => files!("examples/rust": "src/lib.rs"),
        (Kind::Message, Language::JavaScript) => files!("examples/js": "plugin.js"),
        (Kind::Message, Language::Python) => files!("examples/python": "app.py"),
        (Kind::Message, Language::C) => files!("examples/c": "handler.c"),
        (Kind::Message, Language::Go) => files!("examples/go":
            "export_carillon_plugin_lifecycle/lifecycle.go",
            "export_carillon_plugin_message_handler/handler.go"),
        (Kind::Events, Language::Rust) => &[source!("src/lib.rs", "events/lib.rs")],
        (Kind::Events, Language::JavaScript) => &[source!("plugin.js", "events/plugin.js")],
        (Kind::Events, Language::Python) => &[source!("app.py", "events/app.py")],
        (Kind::Events, Language::C) => &[source!("handler.c", "events/handler.c")],
        (Kind::Events, Language::Go) => &[
            source!("export_carillon_plugin_lifecycle/lifecycle.go", "events/go/lifecycle.go"),
            source!("export_carillon_plugin_chat_events/handler.go", "events/go/handler.go"),
        ],
        (Kind::Twilio, Language::Rust) => &[source!("src/lib.rs", "twilio/lib.rs")],
        (Kind::Twilio, Language::JavaScript) => &[source!("plugin.js", "twilio/plugin.js")],
        (Kind::Callback, Language::Rust) => &[source!("src/lib.rs", "callback/lib.rs")],
        (Kind::Callback, Language::JavaScript) => &[source!("plugin.js", "callback/plugin.js")],
        (Kind::Policy, Language::Rust) => &[source!("src/lib.rs", "policy/lib.rs")],
        (Kind::Policy, Language::JavaScript) => &[source!("plugin.js", "policy/plugin.js")],
        (
            Kind::Twilio | Kind::Callback | Kind::Policy,
            Language::Python | Language::C | Language::Go,
        ) => return None,
    };
    let template = match kind {
        Kind::Events => EVENTS,
        Kind::Twilio => TWILIO,
        Kind::Policy => POLICY,
        Kind::Callback => CALLBACK,
        Kind::Message => MESSAGE,
    };
    Some((template, sources))
}

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
    let Some((template, sources)) = template(language, kind) else {
        let what = format!("there is no template of that kind in {language}");
        return Err(Trouble::usage(what, "Begin with --lang rust or js, or with --kind events"));
    };
    let folder = parent.join(name);
    if folder.exists() {
        let what = format!("{} exists", folder.display());
        return Err(Trouble::failed(what, "Choose another name, or move it away"));
    }
    let written = [("plugin.toml", template.manifest), ("tests/polite.toml", template.fixture)];
    for (path, text) in common(language).iter().chain(sources).chain(&written) {
        let path = folder.join(path.replace(EXAMPLE, name));
        files::write(&path, fill(text, &template, language, sources, name).as_bytes())?;
    }
    Ok(folder)
}

/// A file of a template, for a plugin of this name and language.
fn fill(
    text: &str,
    template: &Template,
    language: Language,
    sources: &[File],
    name: &str,
) -> String {
    // The manifest of the message's example is that of Rust.
    let text = match template.name {
        EXAMPLE => text.replace("language = \"rust\"", &format!("language = \"{language}\"")),
        _ => text.replace("LANGUAGE", language.name()),
    };
    let message = "export_carillon_plugin_message_handler/handler.go";
    let handler = sources.last().map_or(message, |(path, _)| path);
    let text = text.replace(DECIDES, template.does).replace(message, handler);
    text.replace(EXAMPLE, template.name).replace(template.name, name)
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

    use super::{begin, common, template};
    use crate::{Fixture, Language, Project};

    /// What can be begun.
    fn all() -> impl Iterator<Item = (Language, Kind)> {
        let all =
            Language::ALL.into_iter().flat_map(|language| Kind::ALL.map(|kind| (language, kind)));
        all.filter(|(language, kind)| template(*language, *kind).is_some())
    }

    #[test]
    fn every_language_begins_with_a_manifest_a_readme_and_a_fixture_of_its_name() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(all().count(), 16);
        for (language, kind) in all() {
            let name = format!("my-{language}-{}", kind.interface());
            let folder = begin(parent.path(), &name, language, kind).unwrap();
            let project = Project::open(&folder).unwrap();
            assert_eq!(project.manifest.name, name);
            let others = project.manifest.kinds.iter().filter(|one| **one != kind);
            let asks = (kind == Kind::Callback).then_some(&Kind::Message);
            assert!(project.manifest.kinds.contains(&kind) && others.eq(asks));
            assert_eq!(project.language(), Ok(language));
            let fixture = folder.join("tests").join(format!("{name}.toml"));
            let fixture = Fixture::parse(&std::fs::read_to_string(fixture).unwrap()).unwrap();
            assert!(!fixture.steps.is_empty());
            let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.lines().count() <= 20 && readme.contains(&name), "{readme}");
            let source = readme.split('`').nth(1).unwrap();
            assert!(folder.join(source).is_file(), "{readme}");
            for (path, _) in common(language) {
                let text = std::fs::read_to_string(folder.join(path)).unwrap();
                for example in ["polite", "usher", "reception", "inquirer", "archivist", "LANGUAGE"]
                {
                    assert!(!text.contains(example), "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn the_manifests_of_the_examples_differ_in_their_language_only() {
        let manifest = super::MESSAGE.manifest;
        for language in Language::ALL {
            let path = format!("../../plugins/examples/{language}/plugin.toml");
            let theirs = std::fs::read_to_string(path).unwrap();
            let ours =
                manifest.replace("language = \"rust\"", &format!("language = \"{language}\""));
            assert_eq!(theirs, ours, "{language}");
        }
    }

    #[test]
    fn a_kind_without_a_template_is_told_before_anything_is_made() {
        let parent = tempfile::tempdir().unwrap();
        for (language, kind) in [(Language::Go, Kind::Policy), (Language::C, Kind::Callback)] {
            assert!(begin(parent.path(), "hello", language, kind).unwrap_err().usage);
        }
        assert!(!parent.path().join("hello").exists());
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
