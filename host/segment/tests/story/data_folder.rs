//! The data folder: one process, one node, and what it was.

use std::fs;

use hashring::{NodeId, Position};
use segment::{Folder, FolderError, Log, LogConfig, OpenError, Reserve};

use crate::support::{append, folder, follow, open};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn config(folder: &Folder) -> LogConfig {
    LogConfig {
        folder: folder.logs(),
        store: folder.store(),
        partitions: folder.partitions(),
        value_file_bytes_max: 1 << 20,
        reserve: Reserve::Bytes(0),
    }
}

#[test]
fn a_folder_keeps_what_it_is_and_which_boot_was_begun() {
    let path = folder();
    let positions = vec![Position(3), Position(9)];
    let mut first = Folder::open(path.path(), &node("n1"), 256, || positions.clone()).unwrap();
    assert!(first.is_first());
    assert_eq!((first.boot(), first.cluster()), (0, None));
    let store = first.store();
    first.begin(store, 1).unwrap();
    first.set_cluster(77).unwrap();
    drop(first);
    // A start that fails before anybody heard of it begins no boot.
    drop(Folder::open(path.path(), &node("n1"), 256, || unreachable!()).unwrap());
    let third = Folder::open(path.path(), &node("n1"), 256, || unreachable!()).unwrap();
    assert!(!third.is_first());
    assert_eq!((third.boot(), third.cluster(), third.store()), (1, Some(77), store));
    assert_eq!(third.positions(), positions);
}

#[test]
fn a_folder_in_use_is_refused_and_told() {
    let path = folder();
    let held = Folder::open(path.path(), &node("n1"), 256, Vec::new).unwrap();
    let refused = Folder::open(path.path(), &node("n1"), 256, Vec::new);
    assert!(matches!(refused, Err(FolderError::InUse { .. })), "{refused:?}");
    drop(held);
    Folder::open(path.path(), &node("n1"), 256, Vec::new).unwrap();
}

#[test]
fn a_folder_of_another_node_or_another_number_of_partitions_is_refused() {
    let path = folder();
    drop(Folder::open(path.path(), &node("n1"), 256, Vec::new).unwrap());
    let other = Folder::open(path.path(), &node("n2"), 256, Vec::new).unwrap_err();
    assert!(other.to_string().contains("belongs to node n1"), "{other}");
    let other = Folder::open(path.path(), &node("n1"), 64, Vec::new).unwrap_err();
    assert!(other.to_string().contains("set cluster.partitions to 256"), "{other}");
}

#[test]
fn a_damaged_or_missing_identity_is_not_made_up() {
    let path = folder();
    let made = Folder::open(path.path(), &node("n1"), 256, Vec::new).unwrap();
    drop(open(config(&made)));
    drop(made);
    let identity = path.path().join("identity");
    let mut bytes = fs::read(&identity).unwrap();
    bytes[30] ^= 1;
    fs::write(&identity, bytes).unwrap();
    let damaged = Folder::open(path.path(), &node("n1"), 256, Vec::new);
    assert!(matches!(damaged, Err(FolderError::Damaged { .. })), "{damaged:?}");
    fs::remove_file(&identity).unwrap();
    let missing = Folder::open(path.path(), &node("n1"), 256, Vec::new);
    assert!(matches!(missing, Err(FolderError::NoIdentity { .. })), "{missing:?}");
}

#[test]
fn a_new_store_begins_with_empty_logs_and_keeps_the_old_ones_aside() {
    let path = folder();
    let mut made = Folder::open(path.path(), &node("n1"), 4, Vec::new).unwrap();
    let store = made.store();
    let log = open(config(&made));
    log.write(vec![append(0, follow(&[], 1, &[b"old"]))]);
    drop(log);
    made.begin(store ^ 1, 1).unwrap();
    assert_ne!(made.store(), store);
    assert_eq!(open(config(&made)).recovered.partitions.len(), 0);
    let aside = path.path().join(format!("logs.{store:016x}"));
    assert!(aside.join("00000001.values").exists());
    // Put in place of the new ones, they are not taken for them.
    let logs = LogConfig { folder: aside, ..config(&made) };
    let foreign = Log::open(logs, |_| {}).map(|(_, recovered)| recovered);
    assert!(matches!(foreign, Err(OpenError::Foreign { .. })), "{foreign:?}");
}
