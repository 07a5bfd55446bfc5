//! Compiled code is kept, and run only if it is ours.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use plugin::{Host, HostConfig, HostError, Verdict};
use tempfile::TempDir;

use crate::case::{PATIENT, say, spec};
use crate::guests::Guest;

/// Loads the component on a host of its own over this cache, as after a restart, and calls it.
async fn load(folder: &Path, component: &[u8]) {
    let cache = Some(folder.to_owned());
    let host =
        Host::new(HostConfig { cache, ceiling: PATIENT, calls_max: 1, ..HostConfig::default() })
            .unwrap();
    let plugin = host.load(spec(component.to_vec())).await.unwrap();
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
}

/// The one file of compiled code.
fn code(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut code = files.filter(|path| path.extension().is_some_and(|end| end == "cwasm"));
    let one = code.next().unwrap();
    assert_eq!(code.next(), None);
    one
}

/// Which file it is: writing it again makes it another.
fn written(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let folder = TempDir::new().unwrap();
    let component = Guest::default().build();
    load(folder.path(), &component).await;
    let code = code(folder.path());
    let first = written(&code);
    load(folder.path(), &component).await;
    assert_eq!(written(&code), first);
    for file in [code, folder.path().join("key")] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn code_that_was_tampered_with_is_compiled_again() {
    let folder = TempDir::new().unwrap();
    let component = Guest::default().build();
    load(folder.path(), &component).await;
    let path = code(folder.path());
    let good = fs::read(&path).unwrap();
    // In the magic, in the HMAC, in the code, at the end, and nearly all of it gone.
    let flipped = [0, 20, good.len() / 2, good.len() - 1].map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    });
    for bad in flipped.into_iter().chain([good[..3].to_vec(), Vec::new()]) {
        fs::write(&path, &bad).unwrap();
        let before = written(&path);
        load(folder.path(), &component).await;
        assert_ne!(written(&path), before, "it was taken as it was");
        assert_ne!(fs::read(&path).unwrap(), bad);
    }
}

#[tokio::test]
async fn code_under_another_components_name_is_compiled_again() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (Guest::default().build(), Guest::default().with_pages(3).build());
    load(folder.path(), &one).await;
    let path_one = code(folder.path());
    let code_one = fs::read(&path_one).unwrap();
    fs::remove_file(&path_one).unwrap();
    load(folder.path(), &two).await;
    let path_two = code(folder.path());
    fs::write(&path_two, &code_one).unwrap();
    load(folder.path(), &two).await;
    assert_ne!(fs::read(&path_two).unwrap(), code_one);
}

#[tokio::test]
async fn code_of_another_node_is_compiled_again() {
    let folder = TempDir::new().unwrap();
    let component = Guest::default().build();
    load(folder.path(), &component).await;
    let (code, key) = (code(folder.path()), folder.path().join("key"));
    for other in [vec![7; 32], b"short".to_vec()] {
        fs::write(&key, &other).unwrap();
        let before = written(&code);
        load(folder.path(), &component).await;
        assert_ne!(written(&code), before);
    }
    assert_eq!(fs::read(&key).unwrap().len(), 32, "a key of the wrong size is replaced");
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed() {
    let folder = TempDir::new().unwrap();
    let left = folder.path().join("0123.4567.new");
    fs::write(&left, "half").unwrap();
    load(folder.path(), &Guest::default().build()).await;
    assert!(!left.exists());
}

#[test]
fn a_cache_that_cannot_be_used_is_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let fault = Host::new(HostConfig { cache: Some(file.clone()), ..HostConfig::default() });
    let Err(HostError::Cache { path, .. }) = fault else { panic!("{fault:?}") };
    assert_eq!(path, file);
}
