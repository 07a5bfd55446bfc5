//! The last known values, in a file, for the time when the ensemble cannot be reached.
//!
//! One JSON object, so that a person can look at it:
//!
//! ```text
//! {"format":"carillon-service-cache","version":1,"crc32c":"89abcdef","entries":{PATH:{…},…}}
//! ```
//!
//! The checksum is over the bytes of `entries` as they stand there. Several processes may share a file:
//! each merges its values into what stands there, newer ones winning, under a lock beside the file. It
//! is written beside itself, synced, renamed, and the folder synced; only its owner can read it. What
//! cannot be read is never believed in part.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::entry::Content;

/// Paths a file holds; beyond it the oldest go. As many as a registry watches, four times over.
pub(crate) const ENTRIES_MAX: usize = 4096;
/// Bytes a file has; beyond it the oldest entries go. It is read and written as a whole.
pub(crate) const BYTES_MAX: usize = 16 << 20;

const HEAD: &str = "{\"format\":\"carillon-service-cache\",\"version\":1,\"crc32c\":\"";
const MIDDLE: &str = "\",\"entries\":";
const TAIL: &str = "}\n";
const CRC_DIGITS: usize = 8;

/// What was known of a path, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Unix milliseconds: when it was last known to be true.
    pub(crate) known_ms: u64,
    pub(crate) content: Content,
}

/// Paths with what was known of them; `None`: it is known to be gone.
pub(crate) type Changes = BTreeMap<String, (u64, Option<Content>)>;

/// Why a cache file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// It is not a cache, or of another version. It is left as it is; name another file.
    #[error("{path} is not a service cache of version 1")]
    Foreign { path: PathBuf },
    /// It does not verify. Nothing in it is believed, and the next write replaces it.
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    /// The file system refused. The file is as it was.
    #[error("{path} cannot be used: {source}")]
    Disk {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    path: PathBuf,
}

impl Cache {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What stands in it; nothing when there is no file.
    pub(crate) fn load(&self) -> Result<BTreeMap<String, Kept>, CacheError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.disk(error)),
        };
        let mut text = Vec::new();
        let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut text).map_err(|error| self.disk(error))?;
        if text.len() > BYTES_MAX {
            return Err(self.damaged(format!("it has more than {BYTES_MAX} bytes")));
        }
        if text.is_empty() {
            return Ok(BTreeMap::new());
        }
        let text = String::from_utf8(text).map_err(|error| self.damaged(error))?;
        let foreign = || CacheError::Foreign { path: self.path.clone() };
        let after = text.strip_prefix(HEAD).ok_or_else(foreign)?;
        let parts = after.split_at_checked(CRC_DIGITS).and_then(|(crc, after)| {
            let body = after.strip_prefix(MIDDLE)?.strip_suffix(TAIL)?;
            Some((u32::from_str_radix(crc, 16).ok()?, body))
        });
        let (crc, body) = parts.ok_or_else(|| self.damaged("it was cut"))?;
        if crc32c::crc32c(body.as_bytes()) != crc {
            return Err(self.damaged("its checksum is another"));
        }
        serde_json::from_str(body).map_err(|error| self.damaged(error))
    }

    /// Merges `changes` into the file. A file of another version is left alone.
    pub(crate) fn save(&self, changes: &Changes) -> Result<(), CacheError> {
        let lock = self.beside("lock");
        let lock = open_private(&lock, false).map_err(|error| self.disk(error))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| self.disk(errno.into()))?;
        let mut entries = match self.load() {
            Ok(entries) => entries,
            Err(CacheError::Damaged { .. }) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        merge(&mut entries, changes);
        let text = self.write_down(entries)?;
        self.replace(text.as_bytes()).map_err(|error| self.disk(error))
    }

    fn write_down(&self, mut entries: BTreeMap<String, Kept>) -> Result<String, CacheError> {
        drop_oldest(&mut entries, ENTRIES_MAX);
        loop {
            let body = serde_json::to_string(&entries).map_err(|error| self.damaged(error))?;
            let crc = crc32c::crc32c(body.as_bytes());
            let text = format!("{HEAD}{crc:08x}{MIDDLE}{body}{TAIL}");
            if text.len() <= BYTES_MAX || entries.is_empty() {
                return Ok(text);
            }
            let half = entries.len() / 2;
            drop_oldest(&mut entries, half);
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let partial = self.beside("partial");
        let mut file = open_private(&partial, true)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }

    fn disk(&self, source: io::Error) -> CacheError {
        CacheError::Disk { path: self.path.clone(), source }
    }

    fn damaged(&self, what: impl std::fmt::Display) -> CacheError {
        CacheError::Damaged { path: self.path.clone(), what: what.to_string() }
    }
}

/// Only its owner can read it, whatever the umask says.
fn open_private(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// The newer of two is kept, in whatever order they arrive.
fn merge(entries: &mut BTreeMap<String, Kept>, changes: &Changes) {
    for (path, (known_ms, content)) in changes {
        if entries.get(path).is_some_and(|kept| kept.known_ms > *known_ms) {
            continue;
        }
        match content {
            Some(content) if content.is_worth_keeping() => {
                let kept = Kept { known_ms: *known_ms, content: content.clone() };
                entries.insert(path.clone(), kept);
            }
            _ => _ = entries.remove(path),
        }
    }
}

/// Leaves the `max` newest.
fn drop_oldest(entries: &mut BTreeMap<String, Kept>, max: usize) {
    let Some(over) = entries.len().checked_sub(max).filter(|over| *over > 0) else { return };
    let mut by_age: Vec<_> =
        entries.iter().map(|(path, kept)| (kept.known_ms, path.clone())).collect();
    by_age.sort();
    for (_, path) in by_age.into_iter().take(over) {
        entries.remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Cache, CacheError, Changes, ENTRIES_MAX};
    use crate::service::data::decode;
    use crate::service::entry::Content;
    use crate::service::entry::tests::STAT;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn content(text: &str) -> Content {
        let children = [("c".to_owned(), decode(b"child"))].into();
        Content { data: decode(text.as_bytes()), stat: Some(STAT), children }
    }

    fn one(path: &str, known_ms: u64, text: &str) -> Changes {
        [(path.to_owned(), (known_ms, Some(content(text))))].into()
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("cache.json")
        }

        fn cache(&self) -> Cache {
            Cache::new(&self.file())
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_may_read_it() {
        let folder = Folder::new();
        assert!(folder.cache().load().unwrap().is_empty());
        folder.cache().save(&one("/a", 5, "{\"x\":0.1}")).unwrap();
        let loaded = folder.cache().load().unwrap();
        assert_eq!(loaded["/a"].known_ms, 5);
        assert_eq!(loaded["/a"].content, content("{\"x\":0.1}"));
        let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(folder.file()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["entries"]["/a"]["content"]["stat"]["ephemeralOwner"], 8);
    }

    #[test]
    fn several_writers_merge_and_the_newer_wins() {
        let folder = Folder::new();
        folder.cache().save(&one("/a", 5, "five")).unwrap();
        folder.cache().save(&one("/b", 1, "one")).unwrap();
        folder.cache().save(&one("/a", 4, "four")).unwrap();
        let loaded = folder.cache().load().unwrap();
        assert_eq!(loaded["/a"].content, content("five"));
        assert_eq!(loaded.len(), 2);
        folder.cache().save(&[("/b".to_owned(), (9, None))].into()).unwrap();
        assert_eq!(folder.cache().load().unwrap().len(), 1);
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let folder = Folder::new();
        let writers = (0..8).map(|n| {
            let cache = folder.cache();
            runtime::thread("writer", move || cache.save(&one(&format!("/{n}"), n, "x")).unwrap())
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().for_each(|writer| writer.unwrap().join().unwrap());
        assert_eq!(folder.cache().load().unwrap().len(), 8);
    }

    #[test]
    fn a_file_of_another_kind_is_refused_and_left_alone() {
        let folder = Folder::new();
        let newer =
            "{\"format\":\"carillon-service-cache\",\"version\":2,\"crc32c\":\"00000000\"}\n";
        for text in [newer, "(dp0\nS'/a'\np1\n.", "{}", "null"] {
            std::fs::write(folder.file(), text).unwrap();
            let refused = folder.cache().load();
            assert!(matches!(refused, Err(CacheError::Foreign { .. })), "{text:?}: {refused:?}");
            let refused = folder.cache().save(&one("/a", 5, "x"));
            assert!(matches!(refused, Err(CacheError::Foreign { .. })), "{text:?}: {refused:?}");
            assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
        }
    }

    #[test]
    fn a_damaged_file_is_not_believed_and_is_replaced() {
        let folder = Folder::new();
        folder.cache().save(&one("/a", 5, "five")).unwrap();
        let whole = std::fs::read(folder.file()).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(folder.file(), &bytes).unwrap();
            assert!(folder.cache().load().is_err(), "byte {at}");
            std::fs::write(folder.file(), &whole[..at]).unwrap();
            assert!(at == 0 || folder.cache().load().is_err(), "cut at {at}");
        }
        std::fs::write(folder.file(), &whole[..whole.len() - 9]).unwrap();
        folder.cache().save(&one("/b", 6, "six")).unwrap();
        let loaded = folder.cache().load().unwrap();
        assert_eq!(loaded.keys().collect::<Vec<_>>(), ["/b"]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let folder = Folder::new();
        let changes: Changes = (0..ENTRIES_MAX + 3)
            .map(|n| (format!("/{n}"), (n as u64, Some(content("x")))))
            .collect();
        folder.cache().save(&changes).unwrap();
        let loaded = folder.cache().load().unwrap();
        assert_eq!(loaded.len(), ENTRIES_MAX);
        assert!(!loaded.contains_key("/2") && loaded.contains_key("/3"));

        let large = "y".repeat(BYTES_MAX / 8);
        let changes: Changes =
            (0..12).map(|n| (format!("/large/{n}"), (90_000 + n, Some(content(&large))))).collect();
        folder.cache().save(&changes).unwrap();
        let loaded = folder.cache().load().unwrap();
        assert!(loaded.contains_key("/large/11") && !loaded.contains_key("/3"));
        assert!(std::fs::read(folder.file()).unwrap().len() <= BYTES_MAX);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_an_error_with_words() {
        let cache = Cache::new("/nowhere/at/all/cache.json".as_ref());
        assert!(cache.load().unwrap().is_empty());
        let refused = cache.save(&one("/a", 5, "x")).unwrap_err().to_string();
        assert!(refused.starts_with("/nowhere/at/all/cache.json cannot be used"), "{refused}");
    }
}
