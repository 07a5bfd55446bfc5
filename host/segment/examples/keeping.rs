//! What keeping an archive costs: an index built anew from many sequences, a scrub, a compaction.
//!
//! ```text
//! cargo run --release -p segment --example keeping [FOLDER] [SEQUENCES] [GIB]
//! ```
//!
//! SEQUENCES is from how many the index is built anew (default 1000000), GIB how much is scrubbed and then compacted
//! (default 10), half of which was deleted by then. The folder should be on the disk that is meant, with room for one
//! and a half times GIB; before each step its files are taken out of memory, as far as the system heeds that.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use segment::Reserve;
use segment::archive::{
    Archive, ArchiveConfig, At, Closing, Opening, Operation, SEQUENCE_BYTES_MAX, Slice,
    SpaceConfig, UnifiedId, Upload, Versioning,
};

/// So many operations are under way at once.
const UNDER_WAY: u64 = 256;
/// Of what is scrubbed: as many large sequences at once.
const LARGE_UNDER_WAY: u64 = 4;
/// A small object, of one sequence.
const SMALL_BYTES: usize = 16;
/// Later than anything that keeps hidden bytes.
const MUCH_LATER_MS: u64 = 10_000_000_000;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut count = |default: u64| {
        let given = args.next();
        given.and_then(|given| given.to_str()?.parse().ok()).unwrap_or(default)
    };
    let (sequences, gib) = (count(1_000_000), count(10));
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let data = data(SEQUENCE_BYTES_MAX + 4096);
    rebuilt(&folder.path().join("rebuilt"), &data, sequences);
    kept(&folder.path().join("kept"), &data, gib);
}

fn data(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(size);
    Bytes::from(data)
}

fn open(folder: &Path) -> Archive {
    let config = ArchiveConfig {
        home: folder.to_owned(),
        node: "n1".parse().expect("a name"),
        store: 1,
        spaces: vec![SpaceConfig { id: 1, root: folder.join("data"), takes: true }],
        reserve: Reserve::Bytes(0),
        value_file_bytes_max: 1 << 30,
        idle_max: Duration::from_secs(1800),
        hidden_for: Duration::from_secs(3600),
        grace: Duration::from_secs(864_000),
        keeping: None,
    };
    let (archive, found) = Archive::open(config, failed).expect("it opens");
    assert!(found.damages.is_empty(), "{found:?}");
    let (name, versioning) = ("c".parse().expect("a name"), Versioning::Versioned);
    let made = Operation::CreateCollection { name, versioning, time_ms: 1 };
    archive.perform(made).expect("it is made");
    archive
}

fn failed(text: &str) {
    println!("the disk failed: {text}");
    std::process::exit(1);
}

fn at(count: u64) -> At {
    let (collection, key) = ("c".parse().expect("a name"), format!("k{count}"));
    At { collection, key: key.parse().expect("a key"), version: UnifiedId(count) }
}

/// An object of one sequence.
fn entire(data: &Bytes, count: u64, size: usize) -> Operation {
    let from = usize::try_from(count).expect("small") % (data.len() - size);
    let slice = Slice::of(0, data.slice(from..from + size));
    let At { collection, key, version } = at(count);
    let upload = Upload { node: "n1".parse().expect("a name"), boot: 1, count };
    let (size, md5, adler32) = (slice.size, slice.md5, slice.adler32);
    Operation::Entire {
        opening: Opening { upload, collection, key, part: 0, segment_number: 1 },
        slice,
        closing: Closing { version, size, md5, adler32, meta: Vec::new(), time_ms: 1 },
    }
}

/// Many at once: what waits together is synced together.
fn submit(archive: &Archive, operations: impl Iterator<Item = Operation>, under_way: u64) {
    let (tell, told) = channel();
    let mut left = 0_u64;
    for operation in operations {
        let tell = tell.clone();
        archive.submit(operation, move |answer| {
            let _closed = tell.send(answer);
        });
        left += 1;
        if left >= under_way {
            told.recv().expect("it is answered").expect("it is done");
            left -= 1;
        }
    }
    for _answer in 0..left {
        told.recv().expect("it is answered").expect("it is done");
    }
}

fn seconds(since: runtime::Instant) -> f64 {
    (runtime::now() - since).as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).expect("less than 4 TiB")) / 1024.0
}

/// Takes the files below a folder out of memory.
fn forget(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it is read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(file) = File::open(path) {
                // Only advice: without it the figure is that of a warm disk.
                let _heeded = fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
    }
}

fn rebuilt(folder: &Path, data: &Bytes, sequences: u64) {
    let archive = open(folder);
    submit(&archive, (1..=sequences).map(|count| entire(data, count, SMALL_BYTES)), UNDER_WAY);
    drop(archive);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _absent = std::fs::remove_file(folder.join(name));
    }
    forget(folder);
    let began = runtime::now();
    let archive = open(folder);
    let took = seconds(began);
    let many = f64::from(u32::try_from(sequences).expect("few"));
    println!(
        "index of {sequences} sequences built anew: {took:.1} s, {:.0} sequences/s",
        many / took
    );
    drop(archive);
    std::fs::remove_dir_all(folder).expect("it is removed");
}

fn kept(folder: &Path, data: &Bytes, gib: u64) {
    let size = u64::try_from(SEQUENCE_BYTES_MAX).expect("small");
    let objects = (gib << 30).div_ceil(size);
    let archive = open(folder);
    let objects_of = (1..=objects).map(|count| entire(data, count, SEQUENCE_BYTES_MAX));
    submit(&archive, objects_of, LARGE_UNDER_WAY);
    drop(archive);
    forget(folder);
    let archive = open(folder);

    let began = runtime::now();
    let scrubbed = archive.scrub(u64::MAX).expect("it is read");
    let took = seconds(began);
    assert!(scrubbed.complete && scrubbed.damages == 0, "{scrubbed:?}");
    println!(
        "scrub of {:.0} MiB: {took:.1} s, {:.0} MiB/s",
        mib(scrubbed.bytes),
        mib(scrubbed.bytes) / took
    );

    let deletes = (1..=objects).step_by(2).map(|count| Operation::Destroy {
        at: At { version: UnifiedId(objects + count), ..at(count) },
        target: None,
        time_ms: 1,
    });
    submit(&archive, deletes, UNDER_WAY);
    drop(archive);
    forget(folder);
    let archive = open(folder);
    let began = runtime::now();
    let all = archive.compact(MUCH_LATER_MS).expect("it is compacted");
    let took = seconds(began);
    println!(
        "compaction of {} files, {:.0} MiB to {:.0} MiB: {took:.1} s, {:.0} MiB/s read and {:.0} MiB/s written",
        all.files,
        mib(all.bytes_before),
        mib(all.bytes_after),
        mib(all.bytes_before) / took,
        mib(all.bytes_after) / took
    );
}
