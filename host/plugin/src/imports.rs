//! Which imports a component gets, and which it is refused.
//!
//! The import list is the list of powers: everything granted is linked, nothing else is. All refusals
//! are told at once, each with the line that would lift it.

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::grant::POWERS;
use crate::state::State;
use crate::{Grant, LoadError, RefusedImport, powers, wasi};

/// The package of our WIT.
const OURS: &str = "carillon:plugin/";

/// The minor version of it that we speak; patches are compatible both ways.
const VERSION: &str = "0.1.";

/// The minor version of WASI that we speak.
const WASI_VERSION: &str = "@0.2.";

/// The packages of it that are linked, virtual.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Links `component` with what `grant` allows.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    grant: &Grant,
) -> Result<InstancePre<State>, LoadError> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.imports(engine).map(|(name, _)| name).collect();
    let refused: Vec<_> = names.iter().filter_map(|import| refuse(import, plugin, grant)).collect();
    if !refused.is_empty() {
        return Err(LoadError::Imports { name: plugin.to_owned(), refused });
    }
    let shape = |fault: wasmtime::Error| LoadError::Shape {
        name: plugin.to_owned(),
        text: format!("{fault:#}"),
    };
    let mut linker = Linker::new(engine);
    if names.iter().any(|name| name.starts_with("wasi:")) {
        wasi::link(&mut linker).map_err(shape)?;
    }
    for interface in names.iter().filter_map(|name| interface(name)) {
        powers::link(&mut linker, interface).map_err(shape)?;
    }
    linker.instantiate_pre(component).map_err(shape)
}

/// How an import stands under a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everyone has it: it is no power.
    Given,
    /// A power that is granted.
    Granted,
    /// There, and without effect on the world: WASI.
    Virtual,
    /// Not given.
    Refused(RefusedImport),
}

impl Standing {
    /// How `import`, by its full name, stands for the operator's `plugin` under `grant`.
    pub fn of(import: &str, plugin: &str, grant: &Grant) -> Self {
        if import.contains(WASI_VERSION) && WASI.iter().any(|package| import.starts_with(package)) {
            return Self::Virtual;
        }
        let refused = |grant| Self::Refused(RefusedImport { import: import.to_owned(), grant });
        let Some(interface) = interface(import) else { return refused(None) };
        let line = POWERS.iter().find(|(name, _)| *name == interface);
        match line {
            _ if !grant.allows(interface) => {
                refused(line.map(|(_, line)| format!("[plugins.{plugin}.grant] {line}")))
            }
            Some(_) => Self::Granted,
            None => Self::Given,
        }
    }
}

/// The powers that `component` imports.
pub(crate) fn asked(engine: &Engine, component: &Component) -> Vec<&'static str> {
    let ty = component.component_type();
    let imported: Vec<&str> = ty.imports(engine).filter_map(|(name, _)| interface(name)).collect();
    POWERS.iter().map(|(power, _)| *power).filter(|power| imported.contains(power)).collect()
}

/// Why `import` is not given, if it is not.
fn refuse(import: &str, plugin: &str, grant: &Grant) -> Option<RefusedImport> {
    match Standing::of(import, plugin, grant) {
        Standing::Refused(refused) => Some(refused),
        Standing::Given | Standing::Granted | Standing::Virtual => None,
    }
}

/// `kv` from `carillon:plugin/kv@0.1.0`, if it is ours and of our version.
fn interface(import: &str) -> Option<&str> {
    let (interface, version) = import.strip_prefix(OURS)?.split_once('@')?;
    version.starts_with(VERSION).then_some(interface)
}

#[cfg(test)]
mod tests {
    use super::refuse;
    use crate::Grant;

    fn check(import: &str) -> Option<String> {
        let grant = Grant { post: true, ..Grant::default() };
        refuse(import, "m", &grant).map(|refused| refused.to_string())
    }

    #[test]
    fn a_power_names_the_line_that_grants_it() {
        assert_eq!(check("carillon:plugin/post@0.1.0"), None);
        assert_eq!(check("carillon:plugin/log@0.1.7"), None);
        assert_eq!(
            check("carillon:plugin/kv@0.1.0").unwrap(),
            "imports carillon:plugin/kv@0.1.0 which is not granted: \
             add `[plugins.m.grant] kv = { bytes = \"64KiB\" }`"
        );
    }

    #[test]
    fn what_nobody_offers_is_named_without_a_line() {
        assert_eq!(check("wasi:cli/environment@0.2.6"), None);
        for import in [
            "carillon:plugin/sockets@0.1.0",
            "carillon:plugin/log@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:cli/environment@0.3.0",
            "somebody:else/thing",
        ] {
            let refusal = check(import).unwrap();
            assert_eq!(refusal, format!("imports {import} which this version does not offer"));
        }
    }
}
