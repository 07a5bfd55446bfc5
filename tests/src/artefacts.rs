//! What `make build` leaves: the binary and the shipped components.

use std::path::{Path, PathBuf};

/// The folder `release` of the build this test is part of.
fn release() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("no executable: {error}"));
    // A test lives in release/deps.
    let folder = test.parent().and_then(Path::parent);
    folder.unwrap_or_else(|| panic!("{} is in no target folder", test.display())).to_owned()
}

fn built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path
}

/// The binary `name`, which `make build` built.
pub fn binary(name: &str) -> PathBuf {
    built(release().join(name))
}

/// The shipped plugin `name` as a component.
pub fn component(name: &str) -> PathBuf {
    built(release().join("../plugins").join(format!("{name}.wasm")))
}
