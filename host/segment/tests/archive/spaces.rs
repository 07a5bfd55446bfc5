//! The folders that value files are in: the right ones, or no start.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use segment::archive::{ArchiveConfig, OpenError, Operation, SpaceConfig, Versioning};
use segment::{Disk, Reserve};

use crate::disks::Faulty;
use crate::support::{
    all_values, config, delete, entire, everything, folder, noise, open, open_on,
    open_with_collections, try_open,
};

fn two(folder: &Path) -> ArchiveConfig {
    let space =
        |id, name: &str| SpaceConfig { id, root: folder.join("data").join(name), takes: true };
    ArchiveConfig { spaces: vec![space(3, "small"), space(4, "large")], ..config(folder) }
}

fn why(config: ArchiveConfig) -> OpenError {
    match try_open(config) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[test]
fn a_new_file_goes_where_most_room_is_above_the_reserve() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    disk.set_free(&[("small", 100 << 20), ("large", 300 << 20)]);
    let opened = open_on(Arc::clone(&disk) as Arc<dyn Disk>, two(folder.path())).unwrap();
    opened.collections();
    let first = noise(1, 700_000);
    opened.done(entire("plain", "first", 10, &first));
    disk.set_free(&[("small", 100 << 20), ("large", 90 << 20)]);
    let second = noise(2, 700_000);
    opened.done(entire("plain", "second", 20, &second));
    let files = all_values(folder.path());
    let expected = ["large/4/001/00000001", "small/3/002/00000002"];
    assert_eq!(files, expected.map(|path| folder.path().join("data").join(path)));
    assert!(opened.get("plain", "first").unwrap() == first);
    assert!(opened.get("plain", "second").unwrap() == second);
    let before = everything(&opened);
    drop(opened);
    fs::remove_file(folder.path().join("home/index.sqlite")).unwrap();
    assert_eq!(everything(&try_open(two(folder.path())).unwrap()), before);
}

/// A delete was refused for want of room on one disk, though another one had some.
#[test]
fn a_decision_goes_to_another_disk_when_that_of_the_open_file_is_full() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    disk.set_free(&[("small", 300 << 20), ("large", 100 << 20)]);
    disk.file_max.store(1 << 20, Ordering::SeqCst);
    let config = ArchiveConfig { value_file_bytes_max: 4 << 20, ..two(folder.path()) };
    let opened = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config).unwrap();
    opened.collections();
    let data = noise(1, 1_000_000);
    opened.done(entire("plain", "first", 10, &data));
    disk.set_free(&[("small", 100 << 20), ("large", 300 << 20)]);
    let more = |number: u64| Operation::CreateCollection {
        name: format!("more{number}").parse().unwrap(),
        versioning: Versioning::Unversioned,
        time_ms: 1,
    };
    let filled = (0..2000).find(|number| {
        opened.done(more(*number));
        all_values(folder.path()).len() > 1
    });
    assert!(filled.is_some(), "the file was never full");
    let files = all_values(folder.path());
    let expected = ["large/4/002/00000002", "small/3/001/00000001"];
    assert_eq!(files, expected.map(|path| folder.path().join("data").join(path)));
    opened.done(delete("plain", "other", 20));
    assert!(opened.get("plain", "first").unwrap() == data);
}

#[test]
fn a_space_without_its_marker_refuses_the_start() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    let space = folder.path().join("data/3");
    fs::rename(space.join("space"), space.join("elsewhere")).unwrap();
    let error = why(config(folder.path()));
    assert!(matches!(&error, OpenError::SpaceMissing { folder } if *folder == space), "{error}");
    // As a disk that is not mounted looks.
    fs::remove_dir_all(&space).unwrap();
    let error = why(config(folder.path()));
    assert!(matches!(error, OpenError::SpaceMissing { .. }), "{error}");
}

#[test]
fn a_space_of_somebody_else_refuses_the_start() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    let other_node = ArchiveConfig { node: "n2".parse().unwrap(), ..config(folder.path()) };
    let other_store = ArchiveConfig { store: 1, ..config(folder.path()) };
    for config in [other_node, other_store] {
        let error = why(config);
        let found = matches!(&error, OpenError::ForeignSpace { space: 3, node, .. } if node.as_str() == "n1");
        assert!(found, "{error}");
    }
    // Another space of the same node.
    fs::rename(folder.path().join("data/3"), folder.path().join("data/5")).unwrap();
    let mut config = config(folder.path());
    config.spaces[0].id = 5;
    fs::remove_file(config.home.join("spaces")).unwrap();
    let error = why(config);
    assert!(matches!(error, OpenError::ForeignSpace { space: 3, .. }), "{error}");
}

#[test]
fn a_space_that_cannot_be_written_refuses_the_start() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    // Whoever runs the tests may write everywhere, so something stands where it would.
    fs::create_dir(folder.path().join("data/3/space.probe")).unwrap();
    let error = why(config(folder.path()));
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_folder_with_something_in_it_does_not_become_a_space() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("data/3")).unwrap();
    fs::write(folder.path().join("data/3/photo.jpg"), b"mine").unwrap();
    let error = why(config(folder.path()));
    assert!(matches!(error, OpenError::SpaceMissing { .. }), "{error}");
}

#[test]
fn a_space_that_holds_files_stays_configured() {
    let folder = folder();
    let disk = Arc::new(Faulty::default());
    disk.set_free(&[("small", 100 << 20), ("large", 300 << 20)]);
    let opened = open_on(disk as Arc<dyn Disk>, two(folder.path())).unwrap();
    opened.collections();
    drop(opened);
    let mut config = two(folder.path());
    config.spaces.pop();
    let error = why(config.clone());
    assert!(matches!(error, OpenError::SpaceNotConfigured { space: 4, .. }), "{error}");
    // Nor when it is out of sight: it may hold something.
    fs::rename(folder.path().join("data/large"), folder.path().join("away")).unwrap();
    let error = why(config);
    assert!(matches!(error, OpenError::SpaceNotConfigured { space: 4, .. }), "{error}");
    let mut config = two(folder.path());
    config.spaces[1].id = 3;
    assert!(matches!(why(config), OpenError::SpaceTwice { space: 3, .. }));
    let none = ArchiveConfig { spaces: Vec::new(), ..self::config(folder.path()) };
    fs::remove_file(folder.path().join("home/spaces")).unwrap();
    assert!(matches!(why(none), OpenError::NoSpaces));
}

#[test]
fn a_space_that_holds_nothing_may_be_left_out_and_come_back() {
    let folder = folder();
    let disk = Arc::new(Faulty::default());
    disk.set_free(&[("small", 300 << 20), ("large", 100 << 20)]);
    let opened = open_on(disk as Arc<dyn Disk>, two(folder.path())).unwrap();
    opened.collections();
    drop(opened);
    let mut config = two(folder.path());
    config.spaces.pop();
    for _ in 0..2 {
        drop(try_open(config.clone()).unwrap());
    }
    drop(try_open(two(folder.path())).unwrap());
}

#[test]
fn a_space_that_takes_no_new_files_keeps_those_it_has() {
    let folder = folder();
    let opened = try_open(two(folder.path())).unwrap();
    opened.collections();
    let (first, second) = (noise(1, 700_000), noise(2, 700_000));
    opened.done(entire("plain", "first", 10, &first));
    drop(opened);
    let mut config = two(folder.path());
    config.spaces[0].takes = false;
    let opened = try_open(config).unwrap();
    opened.done(entire("plain", "second", 20, &second));
    assert!(opened.get("plain", "first").unwrap() == first);
    assert!(opened.get("plain", "second").unwrap() == second);
    let files = all_values(folder.path());
    let expected = ["large/4/002/00000002", "small/3/001/00000001"];
    assert_eq!(files, expected.map(|path| folder.path().join("data").join(path)));
}

/// Two folders of one file system have its room once.
#[test]
fn the_room_of_a_disk_counts_once_and_the_reserve_is_of_each() {
    let folder = folder();
    let disk = Arc::new(Faulty::default());
    disk.set_free(&[("small", 100 << 20), ("large", 300 << 20)]);
    let reserve = Reserve::Bytes(50 << 20);
    let config = ArchiveConfig { reserve, ..two(folder.path()) };
    let opened = open_on(disk as Arc<dyn Disk>, config).unwrap();
    assert_eq!(opened.archive.room(), 250 << 20);
}

#[test]
fn a_damaged_marker_or_list_refuses_the_start() {
    for file in ["data/3/space", "home/spaces"] {
        let folder = folder();
        drop(open_with_collections(folder.path()));
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            let error = why(config(folder.path()));
            assert!(matches!(error, OpenError::Damaged { .. }), "{file} {at}: {error}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = why(config(folder.path()));
        assert!(matches!(error, OpenError::Damaged { .. }), "{file}: {error}");
    }
}

#[test]
fn a_value_file_of_another_name_or_twice_refuses_the_start() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "k", 10, b"bytes"));
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let beside = file.with_file_name("00001001");
    fs::copy(&file, &beside).unwrap();
    let error = why(config(folder.path()));
    assert!(matches!(&error, OpenError::Foreign { file } if *file == beside), "{error}");
    fs::remove_file(&beside).unwrap();
    let mut config = config(folder.path());
    let root = folder.path().join("more");
    config.spaces.push(SpaceConfig { id: 9, root: root.clone(), takes: true });
    drop(try_open(config.clone()).unwrap());
    fs::create_dir_all(root.join("9/001")).unwrap();
    fs::copy(&file, root.join("9/001/00000001")).unwrap();
    let error = why(config);
    assert!(matches!(error, OpenError::FileTwice { file: 1, .. }), "{error}");
}

#[test]
fn a_file_left_open_is_closed_at_the_start_with_its_real_size_and_counts() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.put_many("plain", "k", 10, &[1000, 2000]);
    opened.archive.abandon();
    drop(opened);
    let file = all_values(folder.path()).remove(0);
    let open_length = fs::metadata(&file).unwrap().len();
    let opened = open(folder.path());
    assert_eq!((opened.found.files, opened.found.scanned), (1, 1));
    let bytes = fs::read(&file).unwrap();
    assert!((bytes.len() as u64) < open_length);
    let body = &bytes[bytes.len() - 80..];
    let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    // Two pieces, two sequences, three facts (two collections and the final); one version, one collection.
    assert_eq!(number(0) + 136, bytes.len() as u64);
    assert_eq!([number(24), number(32), number(40)], [7, 2, 3]);
    assert_eq!([number(48), number(56), number(64)], [10, 10, 1]);
    drop(opened);
    // The second start believes it.
    assert_eq!(open(folder.path()).found.scanned, 0);
}

#[test]
fn files_are_rolled_over_before_the_limit() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    for number in 0..10 {
        opened.done(entire("plain", &format!("k{number}"), 10 + number, &noise(number, 300_000)));
    }
    drop(opened);
    let files = all_values(folder.path());
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 1 << 20));
}
