//! What a log held that the others do not have, put aside before it is dropped.
//!
//! One file a partition, `evidence/<partition>.evidence` in the data folder: a kept file, "CRLNEVID", version
//! 1, postcard of [`Evidence`]. The first one stays until somebody has looked at it and removed it: what
//! went wrong first tells most. It is never read by the node itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hashring::PartitionId;
use runtime::KeptFile;
use segment::{Log, LogEntry};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"CRLNEVID";
const VERSION: u32 = 1;
/// Payload bytes that are put aside; what is more is in the value files still.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Entries that are.
const ENTRIES_MAX: usize = 1 << 16;
/// Those bytes, and what is said of so many entries.
const BYTES_MAX: usize = 24 << 20;

/// What is put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// When, by this machine's clock: Unix milliseconds.
    pub(crate) written_ms: u64,
    /// Of which partition.
    pub(crate) partition: u16,
    /// The last entry that stayed.
    pub(crate) after: u64,
    /// The first that differs from what the others have, or cannot be read.
    pub(crate) differs: u64,
    /// Why there is no more of the log here; empty if there is all of it, or as much as is kept.
    pub(crate) unread: String,
    /// What the log held after `after`: epoch, seq, chain, payload.
    pub(crate) entries: Vec<(u64, u64, [u8; 16], Vec<u8>)>,
}

/// Where the evidence of a partition is.
pub(crate) fn path(folder: &Path, partition: PartitionId) -> PathBuf {
    folder.join("evidence").join(format!("{:03}.evidence", partition.0))
}

/// Of which partitions there is evidence. Blocks.
pub(crate) fn found(folder: &Path) -> BTreeSet<PartitionId> {
    let names = std::fs::read_dir(folder.join("evidence")).into_iter().flatten().flatten();
    let partition = |name: std::ffi::OsString| {
        let number = name.to_str()?.strip_suffix(".evidence")?.parse().ok()?;
        Some(PartitionId(number))
    };
    names.filter_map(|entry| partition(entry.file_name())).collect()
}

/// Reads what the log has after `after` and puts it aside, unless there is an earlier one. Blocks.
pub(crate) fn put_aside(
    log: &Log,
    folder: &Path,
    partition: PartitionId,
    after: u64,
    differs: u64,
) -> std::io::Result<()> {
    let path = path(folder, partition);
    if path.try_exists()? {
        tracing::warn!(path = %path.display(), "the evidence of an earlier difference stays, this one is not kept");
        return Ok(());
    }
    let (mut entries, mut bytes, mut unread) = (Vec::new(), 0, String::new());
    let mut next = after.saturating_add(1);
    while entries.len() < ENTRIES_MAX && bytes < PAYLOAD_BYTES_MAX {
        let most = (ENTRIES_MAX - entries.len()).min(1024);
        match log.read(partition, next, most, (PAYLOAD_BYTES_MAX - bytes).min(1 << 20)) {
            Ok(read) if read.is_empty() => break,
            Ok(read) => {
                for LogEntry { epoch, seq, chain, payload } in read {
                    bytes = bytes.saturating_add(payload.len());
                    entries.push((epoch, seq, chain.0, payload.to_vec()));
                    next = seq.saturating_add(1);
                }
            }
            Err(error) => {
                unread = error.to_string();
                break;
            }
        }
    }
    let written_ms = runtime::wall_ms();
    let evidence = Evidence { written_ms, partition: partition.0, after, differs, unread, entries };
    let body = postcard::to_stdvec(&evidence).map_err(std::io::Error::other)?;
    KeptFile::new(&path, MAGIC, VERSION, BYTES_MAX).replace(&body)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use bytes::Bytes;
    use segment::{Chain, LogConfig, LogOp, Notice, Reserve};

    use super::*;

    const P: PartitionId = PartitionId(7);

    /// A log of three entries.
    fn log(folder: &Path) -> Log {
        let (told, notices) = channel();
        let config = LogConfig {
            folder: folder.join("logs"),
            store: 5,
            partitions: 8,
            value_file_bytes_max: 1 << 20,
            reserve: Reserve::Bytes(0),
        };
        let tell = move |notice| drop(told.send(notice));
        let (log, _) = Log::open(config, tell).unwrap();
        let mut chain = Chain::default();
        let entries = (1..=3).map(|seq| {
            let payload = Bytes::from(format!("entry {seq}"));
            chain = chain.next(4, seq, &payload);
            LogEntry { epoch: 4, seq, chain, payload }
        });
        log.submit(1, vec![LogOp::Append { partition: P, entries: entries.collect() }]).unwrap();
        while !matches!(notices.recv().unwrap(), Notice::Written { .. }) {}
        log
    }

    fn read(folder: &Path) -> Evidence {
        let kept = KeptFile::new(path(folder, P), MAGIC, VERSION, BYTES_MAX);
        postcard::from_bytes(&kept.read().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn the_first_evidence_is_kept_whole_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        put_aside(&log, folder.path(), P, 1, 2).unwrap();
        let evidence = read(folder.path());
        assert_eq!((evidence.partition, evidence.after, evidence.differs), (7, 1, 2));
        let payloads: Vec<&[u8]> =
            evidence.entries.iter().map(|(.., payload)| payload.as_slice()).collect();
        assert_eq!(payloads, [&b"entry 2"[..], b"entry 3"]);
        assert_eq!(evidence.unread, "");
        assert_eq!(found(folder.path()), BTreeSet::from([P]));
        put_aside(&log, folder.path(), P, 0, 1).unwrap();
        assert_eq!(read(folder.path()), evidence, "the second changes nothing");
    }

    /// The bytes that are on disks.
    #[test]
    fn evidence_has_the_bytes_it_always_had() {
        let entries = vec![(3, 9, [1; 16], vec![b'x'])];
        let unread = "no".to_owned();
        let evidence =
            Evidence { written_ms: 300, partition: 2, after: 8, differs: 9, unread, entries };
        let mut expected = vec![0xac, 2, 2, 8, 9, 2, b'n', b'o', 1, 3, 9];
        expected.extend([1; 16]);
        expected.extend([1, b'x']);
        assert_eq!(postcard::to_stdvec(&evidence).unwrap(), expected);
    }
}
