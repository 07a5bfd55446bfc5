//! From an author's folder to one file that a node runs.
//!
//! Each language's own tools do the work, in `recipes`; here is what they have in common: the world is
//! written first, the manifest goes in last. Nothing is fetched: tools that are missing are named, with the
//! command that installs them.

mod recipes;
mod tool;

use std::path::{Path, PathBuf};

use crate::{Language, Project, Trouble, files};

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Builds the plugin of a folder, into `out` or its `target/`. What the tools say goes to standard error.
///
/// # Errors
/// A tool is missing or refuses its input, or the result is no component. What was built before stays.
pub fn build(project: &Project, out: Option<&Path>) -> Result<Built, Trouble> {
    let language = project.language()?;
    let manifest = project.packed_manifest()?;
    project.write_wit()?;
    let component = match language {
        Language::Rust => recipes::rust(project),
        Language::JavaScript => recipes::javascript(project),
        Language::Python => recipes::python(project),
        Language::C => recipes::c(project),
        Language::Go => recipes::go(project),
    }?;
    let packed = plugin::pack(&component, &manifest).map_err(|fault| {
        let what = format!("what was built is no plugin: {fault}");
        Trouble::failed(what, "Look at what the tools said above")
    })?;
    let path = out.map_or_else(|| project.component(), Path::to_owned);
    files::replace(&path, &packed)?;
    Ok(Built { path, bytes: packed.len() })
}
