//! What a component imports and exports.

use wit_bindgen_core::wit_parser::{IndexMap, Resolve, WorldItem, WorldKey};
use wit_component_guest::{DecodedWasm, decode};

use crate::Error;

/// How what is no component begins.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// The imports and exports of a component, by their full names, in the order in which they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// What it is given.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

impl Shape {
    /// Reads it off the component itself.
    ///
    /// # Errors
    /// [`Error::NotAComponent`].
    pub fn of(component: &[u8]) -> Result<Self, Error> {
        let not = |text: String| Error::NotAComponent { text };
        // The decoder takes one for a component without anything.
        if component.starts_with(CORE_MODULE) {
            return Err(not("a core module".to_owned()));
        }
        match decode(component) {
            Ok(DecodedWasm::Component(resolve, id)) => {
                let world =
                    resolve.worlds.get(id).ok_or_else(|| not("it has no world".to_owned()))?;
                let (imports, exports) = (&world.imports, &world.exports);
                Ok(Self { imports: names(&resolve, imports), exports: names(&resolve, exports) })
            }
            Ok(DecodedWasm::WitPackage(..)) => Err(not("a package of WIT, encoded".to_owned())),
            Err(fault) => Err(not(format!("{fault:#}"))),
        }
    }
}

fn names(resolve: &Resolve, items: &IndexMap<WorldKey, WorldItem>) -> Vec<String> {
    items.keys().map(|key| resolve.name_world_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn what_is_no_component_is_told() {
        for bytes in [b"text".as_slice(), b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0\x01"] {
            let fault = Shape::of(bytes).unwrap_err();
            assert!(fault.to_string().starts_with("no component: "), "{fault}");
        }
    }
}
