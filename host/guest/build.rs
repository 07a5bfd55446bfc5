//! Finds the Go module that comes with the generator of Go bindings, so that `src/go_module.rs` can hold it.
//!
//! The generated code imports it under an address of the network; a build that works offline needs it as
//! files. It lies in the generator's own package, which cargo has unpacked by now.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a build script fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let package = generator();
    let module = package.join("src/pkg");
    assert!(module.join("go.mod").exists(), "{} holds no Go module", module.display());
    println!("cargo:rustc-env=GO_MODULE={}", module.display());
}

/// The folder of the package wit-bindgen-go, as cargo itself tells it.
fn generator() -> PathBuf {
    let cargo = std::env::var("CARGO").expect("cargo tells where it is");
    let target = std::env::var("TARGET").expect("cargo tells for what it builds");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &target])
        .output()
        .expect("cargo metadata runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mark = "/wit-bindgen-go-";
    let path = text.split('"').find(|part| part.contains(mark) && part.ends_with("/Cargo.toml"));
    let path = path.unwrap_or_else(|| {
        panic!("no wit-bindgen-go in cargo metadata: {}", String::from_utf8_lossy(&output.stderr))
    });
    Path::new(path).parent().expect("a manifest lies in a folder").to_owned()
}
