//! What a component is, what it may do, and what it cannot.

use guest::Shape;
use plugin::{Grant, Kind, Manifest, Standing};
use serde::Serialize;

use crate::Trouble;

/// The package of the contract.
const OURS: &str = "carillon:plugin/";

/// The powers there are, and what a plugin without each cannot do.
const POWERS: [(&str, &str); 9] = [
    ("roster", "see who is in the chat, beside the sender"),
    ("post", "add messages"),
    ("chat-control", "change the chat or its members"),
    ("timers", "be called later by itself"),
    ("outcall", "call services"),
    ("kv", "remember anything between calls"),
    ("history", "read earlier messages"),
    ("recall", "read its own earlier decisions"),
    ("metrics", "count anything for the operator"),
];

/// What a component says about itself, and what is read off it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspected {
    /// The manifest's name and version, if it carries one.
    pub name: Option<String>,
    /// The manifest's version.
    pub version: Option<String>,
    /// The language that the manifest names.
    pub language: Option<String>,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// Its size.
    pub bytes: usize,
    /// The version of the contract that it imports and exports.
    pub wit: Vec<String>,
    /// What it handles, by the names of its interfaces.
    pub kinds: Vec<String>,
    /// What it imports, and how that stands.
    pub imports: Vec<Import>,
    /// What it cannot do, in words.
    pub cannot: Vec<String>,
    /// What does not fit together: the manifest says one thing and the component another.
    pub faults: Vec<String>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its full name.
    pub name: String,
    /// `given`, `granted`, `asked`, `virtual` or `absent`.
    pub standing: String,
    /// What would change that, if anything can.
    pub grant: Option<String>,
}

/// Looks at a component. With `granted`, the operator's name for it and what that grants, imports are
/// compared with it; without, with what its manifest asks for.
///
/// # Errors
/// When it is no component, or its manifest cannot be read.
pub fn inspect(component: &[u8], granted: Option<(&str, &Grant)>) -> Result<Inspected, Trouble> {
    let unusable = |what: String| {
        Trouble::failed(
            what,
            "Build it as a component: carillon plugin build, or cargo build --target wasm32-wasip2",
        )
    };
    // First what can be said in a word: the reader of components shows the bytes that it did not expect.
    let manifest = Manifest::find(component).map_err(|fault| unusable(fault.to_string()))?;
    let shape = Shape::of(component).map_err(|fault| unusable(fault.to_string()))?;
    let nothing = Grant::default();
    let asks = manifest.as_ref().map_or(&nothing, |manifest| &manifest.asks);
    let named = manifest.as_ref().map_or("NAME", |manifest| manifest.name.as_str());
    let (name, grant) = granted.unwrap_or((named, asks));
    let word = if granted.is_some() { "granted" } else { "asked" };
    let imports = shape.imports.iter().map(|import| stands(import, name, grant, word)).collect();
    Ok(Inspected {
        name: manifest.as_ref().map(|manifest| manifest.name.clone()),
        version: manifest.as_ref().map(|manifest| manifest.version.clone()),
        language: manifest.as_ref().and_then(|manifest| manifest.language.clone()),
        digest: plugin::digest(component),
        bytes: component.len(),
        wit: versions(&shape),
        kinds: shape.exports.iter().filter_map(|name| handler(name)).map(str::to_owned).collect(),
        imports,
        cannot: cannot(&shape),
        faults: manifest.map(|manifest| faults(&manifest, &shape)).unwrap_or_default(),
    })
}

fn stands(import: &str, plugin: &str, grant: &Grant, word: &str) -> Import {
    let (standing, grant) = match Standing::of(import, plugin, grant) {
        Standing::Given => ("given", None),
        Standing::Granted => (word, None),
        Standing::Virtual => ("virtual", None),
        Standing::Refused(refused) => ("absent", refused.grant),
    };
    Import { name: import.to_owned(), standing: standing.to_owned(), grant }
}

/// `kv` from `carillon:plugin/kv@0.1.0`.
fn interface(name: &str) -> Option<&str> {
    name.strip_prefix(OURS)?.split('@').next()
}

/// The interface of a handler, if `name` is one.
fn handler(name: &str) -> Option<&str> {
    interface(name).filter(|interface| *interface != "lifecycle")
}

fn versions(shape: &Shape) -> Vec<String> {
    let names = shape.imports.iter().chain(&shape.exports);
    let ours = names.filter(|name| name.starts_with(OURS));
    let mut versions: Vec<String> =
        ours.filter_map(|name| Some(name.split_once('@')?.1.to_owned())).collect();
    versions.sort();
    versions.dedup();
    versions
}

fn cannot(shape: &Shape) -> Vec<String> {
    let imports: Vec<&str> = shape.imports.iter().filter_map(|name| interface(name)).collect();
    let missing = POWERS.iter().filter(|(power, _)| !imports.contains(power));
    let missing = missing.map(|(_, words)| (*words).to_owned());
    // Whatever it imports of WASI: there is nothing behind it.
    missing.chain(["reach files, the network, the clock or another process".to_owned()]).collect()
}

/// Where the manifest and the component differ.
fn faults(manifest: &Manifest, shape: &Shape) -> Vec<String> {
    let exports: Vec<&str> = shape.exports.iter().filter_map(|name| handler(name)).collect();
    let says: Vec<&str> = manifest.kinds.iter().map(|kind: &Kind| kind.interface()).collect();
    let missing = says.iter().filter(|kind| !exports.contains(kind));
    let missing = missing
        .map(|kind| format!("plugin.toml says that it handles {kind}, which it does not export"));
    let imports: Vec<&str> = shape.imports.iter().filter_map(|name| interface(name)).collect();
    let unused = manifest.asks.names().into_iter().filter(|power| !imports.contains(power));
    let unused =
        unused.map(|power| format!("plugin.toml asks for {power}, which it does not import"));
    missing.chain(unused).collect()
}
