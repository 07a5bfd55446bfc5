//! Copies of a data folder: what they hold, what they refuse, and what a folder made of one may say.

use std::fs;
use std::path::{Path, PathBuf};

use hashring::{NodeId, Position};
use segment::{Backup, BackupError, Folder, LogConfig, Reserve, Road};
use tempfile::TempDir;

use crate::support::{append, folder, follow, open};

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn take(path: &Path) -> Folder {
    Folder::open(path, &node("n1"), 4, || vec![Position(3), Position(9)]).unwrap()
}

fn logs(folder: &Folder) -> LogConfig {
    LogConfig {
        folder: folder.logs(),
        store: folder.store(),
        partitions: folder.partitions(),
        value_file_bytes_max: 1 << 20,
        reserve: Reserve::Bytes(0),
    }
}

/// A node that lived twice, stopped, and was copied.
struct Copied {
    place: TempDir,
    store: u64,
}

impl Copied {
    fn new() -> Self {
        let place = folder();
        let data = place.path().join("data");
        let mut made = take(&data);
        let store = made.store();
        made.begin(store, 2).unwrap();
        made.set_cluster(77).unwrap();
        let log = open(logs(&made));
        log.write(vec![append(0, follow(&[], 1, &[b"one", b"two"]))]);
        drop(log);
        let archive = data.join(format!("archive/{store:016x}/spaces.d/1"));
        let earlier = data.join("archive/0000000000000001");
        for (folder, name, text) in [
            (&archive, "space", "bytes"),
            (&earlier, "space", "of an earlier store"),
            (&data.join("compiled"), "x.cwasm", "made anew"),
            (&data.join("registry"), "registry.journal", "not the node's own"),
            (&data.join("plugins"), "live", "kept"),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        let registry = vec![("cluster".to_owned(), b"{}".to_vec())];
        Backup::create(&made, &place.path().join("backup"), registry).unwrap();
        Self { place, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn backup(&self) -> Backup {
        Backup::open(&self.path("backup")).unwrap()
    }

    /// Every file of the copy.
    fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.path("backup")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// Why it cannot be restored; then nothing was.
    fn refused(&self) -> BackupError {
        let restored = self.path("restored");
        let refused = Backup::open(&self.path("backup"))
            .and_then(|backup| backup.restore(&restored, &node("n1"), 4, Road::Member));
        let empty = !restored.exists() || fs::read_dir(&restored).unwrap().next().is_none();
        assert!(empty, "nothing is restored");
        refused.unwrap_err()
    }
}

#[test]
fn founders_go_on_with_what_they_had_under_numbers_that_nobody_had_before() {
    let copied = Copied::new();
    let backup = copied.backup();
    let (files, bytes) = backup.verify().unwrap();
    assert!(files >= 3 && bytes == backup.bytes());
    assert_eq!(
        (backup.node(), backup.store(), backup.cluster()),
        (&node("n1"), copied.store, Some(77))
    );
    assert_eq!(backup.registry(), [("cluster".to_owned(), b"{}".to_vec())]);
    let restored = copied.path("restored");
    backup.restore(&restored, &node("n1"), 4, Road::Founder { cluster: 99 }).unwrap();
    let found = take(&restored);
    assert_eq!((found.store(), found.boot()), (copied.store, 2 + (1 << 32)));
    assert_eq!((found.cluster(), found.positions()), (Some(99), &[Position(3), Position(9)][..]));
    let log = open(logs(&found));
    assert_eq!(log.recovered.damages, []);
    let payloads: Vec<_> = log.entries(0).into_iter().map(|entry| entry.payload).collect();
    assert_eq!(payloads, [&b"one"[..], b"two"]);
    let archive = restored.join(format!("archive/{:016x}/spaces.d/1/space", copied.store));
    assert_eq!(fs::read(archive).unwrap(), b"bytes");
    for left_out in ["compiled", "registry", "archive/0000000000000001", "logs/index.sqlite"] {
        let there = restored.join(left_out).exists();
        assert!(!there || left_out == "logs/index.sqlite", "{left_out}");
    }
}

/// A folder of some time ago that came back as it was would vote for what it has forgotten that it refused.
#[test]
fn a_member_comes_back_as_a_new_store_that_has_promised_nothing() {
    let copied = Copied::new();
    let restored = copied.path("restored");
    copied.backup().restore(&restored, &node("n1"), 4, Road::Member).unwrap();
    let found = take(&restored);
    assert_ne!(found.store(), copied.store);
    assert_eq!((found.boot(), found.cluster()), (0, Some(77)));
    assert_eq!(found.positions(), [Position(3), Position(9)]);
    assert!(!restored.join("logs").exists(), "a new store has no log");
    assert_eq!(fs::read(restored.join("plugins/live")).unwrap(), b"kept");
    let held = format!("archive/{:016x}/spaces.d/1/space", copied.store);
    assert_eq!(fs::read(restored.join(held)).unwrap(), b"bytes", "beside the new store's");
    let again = copied.path("again");
    copied.backup().restore(&again, &node("n1"), 4, Road::Member).unwrap();
    assert_ne!(take(&again).store(), found.store(), "nor is it the same twice");
}

#[test]
fn no_changed_missing_or_added_file_goes_unseen() {
    let copied = Copied::new();
    let files = copied.files();
    assert!(files.len() >= 4);
    for file in &files {
        let whole = fs::read(file).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(file, &bytes).unwrap();
            let refused = copied.refused();
            let told =
                matches!(refused, BackupError::Differs { .. } | BackupError::Manifest { .. });
            assert!(told, "{refused}");
        }
        fs::write(file, &whole[..whole.len() - 1]).unwrap();
        copied.refused();
        fs::remove_file(file).unwrap();
        let refused = copied.refused();
        let told = matches!(refused, BackupError::Differs { .. } | BackupError::NoBackup { .. });
        assert!(told, "{refused}");
        fs::write(file, whole).unwrap();
    }
    let more = copied.path("backup/files/more");
    fs::write(&more, b"more").unwrap();
    let refused = copied.refused();
    assert!(matches!(&refused, BackupError::Differs { path, .. } if *path == more), "{refused}");
    fs::remove_file(more).unwrap();
    copied.backup().verify().unwrap();
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written_over() {
    let copied = Copied::new();
    let backup = copied.backup();
    let restored = copied.path("restored");
    let other = backup.restore(&restored, &node("n2"), 4, Road::Member);
    assert!(matches!(other, Err(BackupError::OtherNode { .. })), "{other:?}");
    let other = backup.restore(&restored, &node("n1"), 8, Road::Member);
    assert!(matches!(other, Err(BackupError::OtherPartitions { .. })), "{other:?}");
    assert!(!restored.exists());
    let data = copied.path("data");
    let over = backup.restore(&data, &node("n1"), 4, Road::Member);
    assert!(matches!(over, Err(BackupError::NotEmpty { .. })), "{over:?}");
    let held = take(&data);
    assert_eq!(held.store(), copied.store, "it is as it was");
    let over = Backup::create(&held, &copied.path("backup"), Vec::new());
    assert!(matches!(over, Err(BackupError::NotEmpty { .. })), "{over:?}");
    let inside = Backup::create(&held, &data.join("backup"), Vec::new());
    assert!(matches!(inside, Err(BackupError::Inside { .. })), "{inside:?}");
}

#[test]
fn a_restore_that_was_killed_is_no_data_folder_and_can_be_done_again() {
    let copied = Copied::new();
    let half = copied.path("restored.restoring/logs");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("00000001.values"), b"half").unwrap();
    let restored = copied.path("restored");
    copied.backup().restore(&restored, &node("n1"), 4, Road::Founder { cluster: 1 }).unwrap();
    assert_eq!(take(&restored).store(), copied.store);
    assert!(!copied.path("restored.restoring").exists());
}
