//! The contract, and the world of one plugin.
//!
//! A plugin is built against its own small world: what it asks for and what it handles, and nothing else.
//! A component is asked for everything it imports, and Python and JavaScript import whatever is in their
//! world, used or not.

use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use crate::Error;

/// The version of the contract.
pub const VERSION: &str = "0.1.0";

/// The name of every plugin's world.
pub const WORLD: &str = "plugin";

/// The files of the contract: their names and texts.
pub const FILES: [(&str, &str); 4] = [
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("exports.wit", include_str!("../../../wit/exports.wit")),
    ("imports.wit", include_str!("../../../wit/imports.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// How each file of the contract begins.
const PACKAGE: &str = "package carillon:plugin@0.1.0;";

/// The world of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    text: String,
}

impl World {
    /// The world that imports `settings`, `log` and `powers`, and exports `lifecycle` and `handlers`: all
    /// by the names of their interfaces.
    pub fn new<'a>(
        powers: impl IntoIterator<Item = &'a str>,
        handlers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut text = format!(
            "// Written by `carillon plugin build` from plugin.toml: change that, not this.\n\
             package author:plugin;\n\nworld {WORLD} {{\n"
        );
        let imports = ["settings", "log"].into_iter().chain(powers);
        for interface in imports {
            text.push_str(&format!("  import carillon:plugin/{interface}@{VERSION};\n"));
        }
        for interface in ["lifecycle"].into_iter().chain(handlers) {
            text.push_str(&format!("  export carillon:plugin/{interface}@{VERSION};\n"));
        }
        text.push_str("}\n");
        Self { text }
    }

    /// The world as WIT.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The folder that every language's tools understand: paths and texts.
    pub fn folder(&self) -> Vec<(String, &str)> {
        let contract =
            FILES.iter().map(|(name, text)| (format!("deps/carillon-plugin/{name}"), *text));
        [("world.wit".to_owned(), self.text())].into_iter().chain(contract).collect()
    }

    /// The world as the generators and the encoder want it.
    pub(crate) fn resolve(&self) -> Result<(Resolve, WorldId), Error> {
        let mut resolve = Resolve::default();
        let contract = FILES.iter().map(|(_, text)| text.strip_prefix(PACKAGE).unwrap_or(text));
        let contract: String = [PACKAGE].into_iter().chain(contract).collect();
        let wrong = |fault: &dyn std::fmt::Display| Error::World { text: format!("{fault:#}") };
        resolve.push_str("carillon.wit", &contract).map_err(|fault| wrong(&fault))?;
        let package = resolve.push_str("world.wit", &self.text).map_err(|fault| wrong(&fault))?;
        let world = resolve.select_world(&[package], Some(WORLD)).map_err(|fault| wrong(&fault))?;
        Ok((resolve, world))
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, PACKAGE, VERSION, World};

    #[test]
    fn every_file_is_of_the_version() {
        assert!(PACKAGE.contains(&format!("@{VERSION};")));
        for (name, text) in FILES {
            assert!(text.starts_with(PACKAGE), "{name}");
        }
    }

    #[test]
    fn a_world_has_what_is_asked_for_and_nothing_else() {
        let world = World::new(["kv"], ["message-handler"]);
        let (resolve, id) = world.resolve().unwrap();
        let names = |items: &wit_bindgen_core::wit_parser::IndexMap<_, _>| -> Vec<String> {
            items.keys().map(|key| resolve.name_world_key(key)).collect()
        };
        let world = &resolve.worlds[id];
        let ours = |name: &str| format!("carillon:plugin/{name}@{VERSION}");
        assert_eq!(names(&world.exports), [ours("lifecycle"), ours("message-handler")]);
        let imports = names(&world.imports);
        for import in ["settings", "log", "kv"] {
            assert!(imports.contains(&ours(import)), "{imports:?}");
        }
        assert!(!imports.contains(&ours("post")));
    }

    #[test]
    fn an_interface_that_is_not_there_is_told() {
        let fault = World::new(["telepathy"], []).resolve().unwrap_err();
        assert!(fault.to_string().contains("telepathy"), "{fault}");
    }
}
