//! An author's folder.

use std::path::{Path, PathBuf};

use guest::World;
use plugin::Manifest;

use crate::{Language, Trouble, files};

/// The manifest's file.
pub const MANIFEST: &str = "plugin.toml";

/// A folder with a `plugin.toml`.
#[derive(Clone, Debug)]
pub struct Project {
    /// Where it is.
    pub folder: PathBuf,
    /// What the plugin says about itself.
    pub manifest: Manifest,
    /// The same as its author wrote it.
    pub text: String,
}

impl Project {
    /// Reads the manifest of `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn open(folder: &Path) -> Result<Self, Trouble> {
        let folder = folder.canonicalize().map_err(|error| {
            let what = format!("{} cannot be read: {error}", folder.display());
            Trouble::usage(what, "Name the folder of a plugin")
        })?;
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let what = format!("{} cannot be read: {error}", path.display());
            Trouble::usage(what, "Name the folder of a plugin; carillon plugin new makes one")
        })?;
        let manifest = Manifest::parse(&text).map_err(|fault| {
            Trouble::usage(format!("{}: {fault}", path.display()), "Mend it and try again")
        })?;
        Ok(Self { folder, manifest, text })
    }

    /// The language it is written in.
    ///
    /// # Errors
    /// When the manifest names none, or one that is not known.
    pub fn language(&self) -> Result<Language, Trouble> {
        let path = self.folder.join(MANIFEST);
        let known = Language::ALL.map(Language::name).join(", ");
        let fix = format!("Write language = \"…\" there, one of {known}");
        let Some(name) = &self.manifest.language else {
            return Err(Trouble::usage(format!("{} names no language", path.display()), fix));
        };
        Language::parse(name).ok_or_else(|| {
            let what = format!("{}: {name:?} is no language that is built here", path.display());
            Trouble::usage(what, fix)
        })
    }

    /// Where everything that is built goes: `target/`.
    pub fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// The plugin, once it is built.
    pub fn component(&self) -> PathBuf {
        self.target().join(format!("{}.wasm", self.manifest.name))
    }

    /// The world that the manifest asks for.
    pub fn world(&self) -> World {
        let handlers = self.manifest.kinds.iter().map(|kind| kind.interface());
        World::new(self.manifest.asks.names(), handlers)
    }

    /// Writes the folder `wit/`, which every language's tools read; what is as it should be already is left
    /// alone, so that nothing is built again for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_wit(&self) -> Result<(), Trouble> {
        let world = self.world();
        for (path, text) in world.folder() {
            files::write_changed(&self.folder.join("wit").join(path), text.as_bytes())?;
        }
        Ok(())
    }

    /// The manifest as it goes into the component: with the version of the contract.
    ///
    /// # Errors
    /// When the author asks for another version than there is.
    pub fn packed_manifest(&self) -> Result<String, Trouble> {
        let version = guest::wit::VERSION;
        match &self.manifest.wit {
            None => Ok(format!("wit = \"{version}\"\n{}", self.text)),
            Some(wanted) if wanted == version => Ok(self.text.clone()),
            Some(wanted) => {
                let path = self.folder.join(MANIFEST);
                let what = format!("{} asks for version {wanted} of the contract", path.display());
                let fix =
                    format!("Write wit = \"{version}\", or leave it out, or use another carillon");
                Err(Trouble::usage(what, fix))
            }
        }
    }
}
