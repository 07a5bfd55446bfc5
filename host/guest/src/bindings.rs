//! Sources that stand between an author's code and the contract.

use wit_bindgen_core::{Files, WorldGenerator};

use crate::go_module;
use crate::{Error, World};

/// A file: its path below the folder of generated sources, and what is in it.
pub type File = (String, Vec<u8>);

/// `plugin.h`, `plugin.c` and `plugin_component_type.o`, which carries the world through the linker.
///
/// # Errors
/// [`Error::World`] or [`Error::Bindings`].
pub fn c(world: &World) -> Result<Vec<File>, Error> {
    generate(&mut *wit_bindgen_c::Opts::default().build(), world)
}

/// A Go module `wit_component`, with everything it needs beside it: no package of the network.
///
/// # Errors
/// [`Error::World`] or [`Error::Bindings`].
pub fn go(world: &World) -> Result<Vec<File>, Error> {
    // Formatting it would need gofmt, and nobody reads it.
    let options =
        wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    let mut files = generate(&mut *options.build(), world)?;
    for (path, text) in &mut files {
        if path == "go.mod" {
            text.extend_from_slice(go_module::REPLACE.as_bytes());
        }
    }
    files.extend(go_module::files());
    Ok(files)
}

fn generate(generator: &mut dyn WorldGenerator, world: &World) -> Result<Vec<File>, Error> {
    let (mut resolve, id) = world.resolve()?;
    let mut files = Files::default();
    generator
        .generate(&mut resolve, id, &mut files)
        .map_err(|fault| Error::Bindings { text: format!("{fault:#}") })?;
    Ok(files.iter().map(|(path, bytes)| (path.to_owned(), bytes.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::{c, go};
    use crate::World;

    fn world() -> World {
        World::new(["kv"], ["message-handler"])
    }

    #[test]
    fn c_gets_a_header_a_source_and_an_object() {
        let files = c(&world()).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["plugin.c", "plugin.h", "plugin_component_type.o"]);
        let header = String::from_utf8_lossy(&files[1].1);
        assert!(header.contains("exports_carillon_plugin_message_handler_on_message"));
        assert!(header.contains("carillon_plugin_kv_get"));
    }

    #[test]
    fn go_gets_a_module_that_needs_no_network() {
        let files = go(&world()).unwrap();
        let text = |wanted: &str| {
            let found = files.iter().find(|(name, _)| name == wanted);
            String::from_utf8(
                found
                    .unwrap_or_else(|| {
                        panic!(
                            "no {wanted} in {:?}",
                            files.iter().map(|(name, _)| name).collect::<Vec<_>>()
                        )
                    })
                    .1
                    .clone(),
            )
            .unwrap()
        };
        assert!(text("go.mod").contains("=> ./pkg"));
        assert!(text("pkg/go.mod").contains("module go.bytecodealliance.org/pkg"));
        assert!(text("pkg/wit/types/option.go").contains("Option"));
        // The author's functions lie in packages of this name.
        assert!(text("wit_exports.go").contains("export_carillon_plugin_message_handler"));
    }
}
