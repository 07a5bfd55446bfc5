//! From a core module to a component.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_component_guest::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::{Error, World};

/// The component of a core module that a C or Go compiler left. What it wants of the first WASI is
/// translated to the second, and only what it wants of it is imported.
///
/// # Errors
/// [`Error::World`] or [`Error::Component`].
pub fn component(module: &[u8], world: &World) -> Result<Vec<u8>, Error> {
    let (resolve, id) = world.resolve()?;
    let mut typed = module.to_vec();
    // The C bindings bring the world along; said twice, it is merged.
    embed_component_metadata(&mut typed, &resolve, id, StringEncoding::UTF8).map_err(wrong)?;
    let mut encoder = ComponentEncoder::default();
    encoder.module(&typed).map_err(wrong)?;
    encoder.adapter(ADAPTER_NAME, ADAPTER).map_err(wrong)?;
    encoder.encode().map_err(wrong)
}

fn wrong(fault: impl std::fmt::Display) -> Error {
    Error::Component { text: format!("{fault:#}") }
}

#[cfg(test)]
mod tests {
    use super::component;
    use crate::World;

    #[test]
    fn a_module_without_the_exports_of_its_world_is_refused_in_words() {
        let empty = b"\0asm\x01\0\0\0";
        let fault = component(empty, &World::new([], ["message-handler"])).unwrap_err();
        assert!(fault.to_string().contains("lifecycle"), "{fault}");
        assert!(component(b"text", &World::new([], [])).is_err());
    }
}
