//! The folders that an operator names: each has a number, which it keeps, and what is out of sight is missed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use segment::archive::{ArchiveConfig, Folders, OpenError, SpaceConfig};

use crate::support::{Opened, all_values, config, entire, folder, noise, try_open};

/// The archive with these folders, all below `data`.
fn named(folder: &Path, names: &[&str]) -> Result<Vec<SpaceConfig>, OpenError> {
    of(folder, names, |folders| folders.spaces())
}

fn faults(folder: &Path, names: &[&str]) -> Vec<String> {
    of(folder, names, |folders| folders.faults()).iter().map(ToString::to_string).collect()
}

fn of<T>(folder: &Path, names: &[&str], with: impl Fn(Folders<'_>) -> T) -> T {
    let config = config(folder);
    let named: Vec<PathBuf> = names.iter().map(|name| folder.join("data").join(name)).collect();
    let (home, node, store) = (&config.home, &config.node, config.store);
    with(Folders { home, node, store, named: &named })
}

fn try_with(folder: &Path, names: &[&str]) -> Result<Opened, OpenError> {
    named(folder, names).and_then(|spaces| try_open(ArchiveConfig { spaces, ..config(folder) }))
}

fn ids(spaces: &[SpaceConfig]) -> Vec<(u32, String, bool)> {
    let name = |space: &SpaceConfig| {
        let above = space.root.parent().unwrap();
        (space.id, above.file_name().unwrap().to_string_lossy().into_owned(), space.takes)
    };
    spaces.iter().map(name).collect()
}

#[test]
fn a_folder_keeps_its_number_wherever_it_stands_and_is_mounted() {
    let folder = folder();
    drop(try_with(folder.path(), &["a", "b"]).unwrap());
    let expected = |a: &str, b: &str| vec![(2, a.to_owned(), true), (3, b.to_owned(), true)];
    assert_eq!(ids(&named(folder.path(), &["b", "a"]).unwrap()), expected("a", "b"));
    let data = folder.path().join("data");
    fs::rename(data.join("b"), data.join("c")).unwrap();
    assert_eq!(ids(&named(folder.path(), &["c", "a"]).unwrap()), expected("a", "c"));
    drop(try_with(folder.path(), &["a", "c"]).unwrap());
    // Two on one disk, when another is given up: both are found there.
    let store = |name: &str| data.join(name).join("0000000000005eed");
    fs::rename(store("a").join("2"), store("c").join("2")).unwrap();
    fs::remove_dir_all(data.join("a")).unwrap();
    assert_eq!(ids(&named(folder.path(), &["c"]).unwrap()), expected("c", "c"));
    drop(try_with(folder.path(), &["c"]).unwrap());
    // A new one never has a number that another had.
    let more = named(folder.path(), &["c", "d"]).unwrap();
    assert_eq!(more.last().map(|space| space.id), Some(4));
}

#[test]
fn the_own_folder_is_a_space_until_others_are_named_and_keeps_what_it_has() {
    let folder = folder();
    let opened = try_with(folder.path(), &[]).unwrap();
    opened.collections();
    let (first, second) = (noise(1, 700_000), noise(2, 700_000));
    opened.done(entire("plain", "first", 10, &first));
    drop(opened);
    let spaces = named(folder.path(), &["a"]).unwrap();
    assert_eq!(ids(&spaces), [(1, "home".to_owned(), false), (2, "a".to_owned(), true)]);
    let opened = try_with(folder.path(), &["a"]).unwrap();
    opened.done(entire("plain", "second", 20, &second));
    assert!(opened.get("plain", "first").unwrap() == first);
    assert!(opened.get("plain", "second").unwrap() == second);
    drop(opened);
    let found = all_values(folder.path());
    assert_eq!(found, [folder.path().join("data/a/0000000000005eed/2/002/00000002")]);
    // It holds a file now, so it is missed.
    let error = try_with(folder.path(), &[]).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::SpaceNotConfigured { space: 2, .. }), "{error}");
    assert_eq!(faults(folder.path(), &[]), [error.to_string()]);
    let error = try_with(folder.path(), &["b"]).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::SpaceNotConfigured { space: 2, .. }), "{error}");
    drop(try_with(folder.path(), &["b", "a"]).unwrap());
}

#[test]
fn a_disk_that_is_not_mounted_is_missed() {
    let folder = folder();
    drop(try_with(folder.path(), &["a", "b"]).unwrap());
    let data = folder.path().join("data");
    fs::rename(data.join("b"), data.join("elsewhere")).unwrap();
    for there in [false, true] {
        if there {
            fs::create_dir(data.join("b")).unwrap();
        }
        let told = faults(folder.path(), &["a", "b"]);
        assert!(matches!(&told[..], [told] if told.contains("has no marker")), "{told:?}");
        let error = try_with(folder.path(), &["a", "b"]).map(drop).unwrap_err();
        let expected = data.join("b/0000000000005eed/3");
        assert!(
            matches!(&error, OpenError::SpaceMissing { folder } if *folder == expected),
            "{error}"
        );
    }
    fs::remove_dir(data.join("b")).unwrap();
    fs::rename(data.join("elsewhere"), data.join("b")).unwrap();
    assert_eq!(faults(folder.path(), &["a", "b"]), Vec::<String>::new());
    drop(try_with(folder.path(), &["a", "b"]).unwrap());
}

#[test]
fn a_folder_of_another_node_and_one_that_was_copied_are_refused() {
    let folder = folder();
    drop(try_with(folder.path(), &["a", "b"]).unwrap());
    let (config, data) = (config(folder.path()), folder.path().join("data"));
    let other = "n2".parse().unwrap();
    let (home, named) = (config.home.join("other"), [data.join("a")]);
    let theirs = Folders { home: &home, node: &other, store: 7, named: &named };
    for error in [theirs.spaces().unwrap_err(), theirs.faults().remove(0)] {
        let ours = matches!(&error, OpenError::ForeignSpace { space: 2, node, .. } if node.as_str() == "n1");
        assert!(ours, "{error}");
    }
    // Another store of the same node lies beside it.
    let later = Folders { node: &config.node, ..theirs };
    assert_eq!(later.spaces().unwrap().len(), 1);
    let copy = data.join("c/0000000000005eed/2");
    fs::create_dir_all(&copy).unwrap();
    fs::copy(data.join("a/0000000000005eed/2/space"), copy.join("space")).unwrap();
    let error = try_with(folder.path(), &["a", "b", "c"]).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::SpaceTwice { space: 2, .. }), "{error}");
    assert_eq!(faults(folder.path(), &["a", "b", "c"]), [error.to_string()]);
}

/// It would be two spaces, each found twice by the next start, and the advice then was to remove one of them.
#[test]
fn one_folder_under_two_names_is_refused_before_anything_is_made() {
    let folder = folder();
    let data = folder.path().join("data");
    for names in [["a", "b/../a"], ["./a", "a"]] {
        let error = try_with(folder.path(), &names).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::FolderTwice { .. }), "{error}");
    }
    assert!(!data.join("a").exists(), "nothing is made");
    fs::create_dir_all(data.join("a")).unwrap();
    symlink(data.join("a"), data.join("link")).unwrap();
    for names in [["a", "link"], ["link/new", "a/new"]] {
        let error = try_with(folder.path(), &names).map(drop).unwrap_err();
        let two = matches!(&error, OpenError::FolderTwice { folder, other }
            if *folder == data.join(names[1]) && *other == data.join(names[0]));
        assert!(two, "{error}");
        assert_eq!(faults(folder.path(), &names), [error.to_string()]);
    }
    drop(try_with(folder.path(), &["link", "b"]).unwrap());
    // Below two folders that are two, what is in them is one.
    fs::create_dir_all(data.join("c")).unwrap();
    symlink(data.join("a/0000000000005eed"), data.join("c/0000000000005eed")).unwrap();
    let error = try_with(folder.path(), &["link", "b", "c"]).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::FolderTwice { .. }), "{error}");
}

/// Whoever runs the tests may write everywhere, so something stands where a folder would.
#[test]
fn a_folder_that_cannot_be_written_is_a_fault_before_the_start() {
    let folder = folder();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/file"), b"mine").unwrap();
    let told = faults(folder.path(), &["file/a", "b", "file"]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|told| told.ends_with("data/file cannot be written")), "{told:?}");
    assert!(!folder.path().join("data/b").exists(), "nothing is made by looking");
    let error = try_with(folder.path(), &["file"]).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
}

/// What an earlier store left is read where it was, or where a backup put it.
#[test]
fn what_is_only_read_is_where_it_was_or_in_the_own_folder() {
    let folder = folder();
    let home = config(folder.path()).home;
    let only = |spaces: &[SpaceConfig]| ids(spaces).iter().all(|(_, _, takes)| !takes);
    assert_eq!(SpaceConfig::remembered(&home).unwrap()[0].root, home.join("spaces.d"));
    drop(try_with(folder.path(), &["a"]).unwrap());
    let spaces = SpaceConfig::remembered(&home).unwrap();
    assert!(only(&spaces) && spaces[0].root == folder.path().join("data/a/0000000000005eed"));
    fs::create_dir_all(home.join("spaces.d/2")).unwrap();
    let spaces = SpaceConfig::remembered(&home).unwrap();
    assert!(only(&spaces) && spaces[0].root == home.join("spaces.d"));
}
