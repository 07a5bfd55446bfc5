//! An archive in a folder of its own, and short ways to do things to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use segment::archive::{
    Adler32, Answer, Archive, ArchiveConfig, At, Closing, Done, Found, Md5, OpenError, Opening,
    Operation, ReadError, Slice, SpaceConfig, UnifiedId, Upload, Versioning,
};
use segment::{Disk, Reserve, SystemDisk};
use tempfile::TempDir;

/// Nothing that should happen takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// An hour, in ms.
pub(crate) const HOUR: u64 = 60 * 60 * 1000;
/// A day, in ms.
pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;

/// An archive and what it told.
pub(crate) struct Opened {
    pub(crate) archive: Archive,
    pub(crate) found: Found,
    pub(crate) failures: Receiver<String>,
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_not_here| tempfile::tempdir().unwrap())
}

/// One space, in the folder, and files of 1 MiB.
pub(crate) fn config(folder: &Path) -> ArchiveConfig {
    ArchiveConfig {
        home: folder.join("home"),
        node: "n1".parse().unwrap(),
        store: 0x5eed,
        spaces: vec![SpaceConfig { id: 3, root: folder.join("data"), takes: true }],
        reserve: Reserve::Bytes(0),
        value_file_bytes_max: 1 << 20,
        idle_max: Duration::from_secs(1800),
        hidden_for: Duration::from_secs(3600),
        grace: Duration::from_secs(10 * 24 * 3600),
        keeping: None,
    }
}

pub(crate) fn open(folder: &Path) -> Opened {
    try_open(config(folder)).unwrap()
}

pub(crate) fn try_open(config: ArchiveConfig) -> Result<Opened, OpenError> {
    open_on(Arc::new(SystemDisk), config)
}

pub(crate) fn open_on(disk: Arc<dyn Disk>, config: ArchiveConfig) -> Result<Opened, OpenError> {
    let (tell, failures) = channel();
    let (archive, found) = Archive::open_on(disk, config, move |text| {
        let _closed = tell.send(text.to_owned());
    })?;
    Ok(Opened { archive, found, failures })
}

/// The same with the collections `plain` and `kept`, which keeps versions.
pub(crate) fn open_with_collections(folder: &Path) -> Opened {
    let opened = open(folder);
    opened.collections();
    opened
}

/// Where a value file is.
pub(crate) fn values(folder: &Path, number: u32) -> PathBuf {
    folder.join("data/3").join(format!("{:03}/{number:08}", number % 1000))
}

/// All value files, rising.
pub(crate) fn all_values(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("data")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Bytes that nobody guesses.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    bytes.take(length).collect::<Vec<u8>>().into()
}

pub(crate) fn upload(count: u64) -> Upload {
    upload_of(7, count)
}

pub(crate) fn upload_of(boot: u64, count: u64) -> Upload {
    Upload { node: "n1".parse().unwrap(), boot, count }
}

pub(crate) fn at(collection: &str, key: &str, version: u64) -> At {
    let (collection, key) = (collection.parse().unwrap(), key.parse().unwrap());
    At { collection, key, version: UnifiedId(version) }
}

pub(crate) fn opening(collection: &str, key: &str, count: u64) -> Opening {
    part_opening(collection, key, count, 0)
}

pub(crate) fn part_opening(collection: &str, key: &str, count: u64, part: u32) -> Opening {
    Opening {
        upload: upload(count),
        collection: collection.parse().unwrap(),
        key: key.parse().unwrap(),
        part,
        segment_number: 1,
    }
}

/// What closes an upload of these bytes.
pub(crate) fn closing(version: u64, data: &[u8]) -> Closing {
    Closing {
        version: UnifiedId(version),
        size: data.len() as u64,
        md5: Md5::of(data),
        adler32: Adler32::of(data),
        meta: Vec::new(),
        time_ms: version,
    }
}

/// A whole archive in one operation. The upload has the number of the version.
pub(crate) fn entire(collection: &str, key: &str, version: u64, data: &[u8]) -> Operation {
    Operation::Entire {
        opening: opening(collection, key, version),
        slice: Slice::of(0, Bytes::copy_from_slice(data)),
        closing: closing(version, data),
    }
}

pub(crate) fn delete(collection: &str, key: &str, version: u64) -> Operation {
    Operation::Destroy { at: at(collection, key, version), target: None, time_ms: version }
}

pub(crate) fn delete_version(collection: &str, key: &str, version: u64, target: u64) -> Operation {
    let target = Some(UnifiedId(target));
    Operation::Destroy { at: at(collection, key, version), target, time_ms: version }
}

impl Opened {
    pub(crate) fn perform(&self, operation: Operation) -> Answer {
        self.archive.perform(operation)
    }

    /// Does what must be done, and be durable.
    #[track_caller]
    pub(crate) fn done(&self, operation: Operation) {
        assert_eq!(self.archive.perform(operation), Ok(Done::Synced));
    }

    /// Does what must be done, and needs no sync.
    #[track_caller]
    pub(crate) fn written(&self, operation: Operation) {
        assert_eq!(self.archive.perform(operation), Ok(Done::Written));
    }

    pub(crate) fn collections(&self) {
        for (name, versioning) in
            [("plain", Versioning::Unversioned), ("kept", Versioning::Versioned)]
        {
            let name = name.parse().unwrap();
            self.done(Operation::CreateCollection { name, versioning, time_ms: 1 });
        }
    }

    /// What a key shows, or why nothing.
    pub(crate) fn get(&self, collection: &str, key: &str) -> Result<Vec<u8>, ReadError> {
        self.get_version(collection, key, None)
    }

    pub(crate) fn get_version(
        &self,
        collection: &str,
        key: &str,
        version: Option<u64>,
    ) -> Result<Vec<u8>, ReadError> {
        let (collection, key) = (collection.parse().unwrap(), key.parse().unwrap());
        let mut reading = self.archive.read(&collection, &key, version.map(UnifiedId))?;
        let (mut data, expected) = (Vec::new(), reading.count());
        let mut count = 0;
        while let Some(sequence) = reading.next_sequence()? {
            data.extend_from_slice(&sequence);
            count += 1;
        }
        assert_eq!((count, reading.count()), (expected, 0));
        assert_eq!(data.len() as u64, reading.listed().size);
        Ok(data)
    }

    /// The versions of a key that can be seen.
    pub(crate) fn versions(&self, collection: &str, key: &str) -> Vec<u64> {
        let (collection, key) = (collection.parse().unwrap(), key.parse().unwrap());
        let found = self.archive.versions(&collection, &key).unwrap();
        found.into_iter().map(|listed| listed.version.0).collect()
    }

    /// A whole archive of several sequences, and its bytes.
    pub(crate) fn put_many(
        &self,
        collection: &str,
        key: &str,
        version: u64,
        sizes: &[usize],
    ) -> Vec<u8> {
        let mut data = Vec::new();
        let last = sizes.len() - 1;
        for (number, size) in sizes.iter().enumerate() {
            let bytes = noise(version * 100 + number as u64, *size);
            data.extend_from_slice(&bytes);
            let slice = Slice::of(u32::try_from(number).unwrap(), bytes);
            let upload = upload(version);
            if number == last {
                let closing = closing(version, &data);
                self.done(Operation::Final { upload, slice: Some(slice), closing });
            } else if number == 0 {
                let opening = opening(collection, key, version);
                self.written(Operation::Start { opening, slice });
            } else {
                self.written(Operation::Next { upload, slice });
            }
        }
        data
    }
}

/// Everything that anybody could be told of both collections, to compare with.
pub(crate) fn everything(opened: &Opened) -> Vec<String> {
    let mut lines = Vec::new();
    for name in ["plain", "kept", "1001"] {
        let name: segment::archive::CollectionName = name.parse().unwrap();
        let Ok((listed, _)) = opened.archive.list(&name, "", None, 1000) else { continue };
        for listed in listed {
            for version in opened.archive.versions(&name, &listed.key).unwrap() {
                let id = version.version.0;
                let read = opened.get_version(name.as_str(), listed.key.as_str(), Some(id));
                let read = read.map(|data| Md5::of(&data).to_string());
                lines.push(format!("{name} {version:?} {read:?}"));
            }
        }
        lines.push(format!("{name} {:?}", opened.archive.usage().unwrap().get(&name)));
    }
    lines
}
