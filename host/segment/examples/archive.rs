//! What the archive makes of a disk: large objects in one copy and in three, small objects, reading with
//! verification, and an index built anew; beside the bare sequential write of the same disk in the same run.
//!
//! ```text
//! cargo run --release -p segment --example archive [FOLDER] [LARGE] [SMALL] [SEQUENCES]
//! ```
//!
//! LARGE is how many objects of 64 MiB (default 8), SMALL how many of 4 KiB (default 20000), SEQUENCES how many
//! sequences the index is built anew from (default 100000). The folder should be on the disk that is meant.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use segment::Reserve;
use segment::archive::{
    Adler32, Answer, Archive, ArchiveConfig, Closing, Digesting, Md5, Opening, Operation,
    SEQUENCE_BYTES_MAX, Slice, SpaceConfig, UnifiedId, Upload, Versioning,
};

const LARGE_BYTES: usize = 64 << 20;
const SMALL_BYTES: usize = 4 << 10;
/// So many small objects are under way at once.
const UNDER_WAY: u64 = 256;
const MIB: f64 = 1_048_576.0;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut count = |default: u64| {
        let given = args.next();
        given.and_then(|given| given.to_str()?.parse().ok()).unwrap_or(default)
    };
    let (large, small, sequences) = (count(8), count(20_000), count(100_000));
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let data = data(LARGE_BYTES);
    for copies in [1, 3] {
        let floor = floor(folder.path(), &data, large, copies);
        let made = large_objects(folder.path(), &data, large, copies);
        println!(
            "{large} objects of 64 MiB, copies {copies}: {made:.0} MiB/s of objects; bare writes {floor:.0} \
             MiB/s; {:.0} %",
            100.0 * made / floor
        );
    }
    small_objects(folder.path(), &data, small);
    rebuilt(folder.path(), &data, sequences);
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
    let (archive, found) = Archive::open(config, panic_at).expect("it opens");
    assert!(found.damages.is_empty(), "{found:?}");
    let (name, versioning) = ("c".parse().expect("a name"), Versioning::Versioned);
    let made = Operation::CreateCollection { name, versioning, time_ms: 1 };
    archive.perform(made).expect("it is made");
    archive
}

fn panic_at(text: &str) {
    println!("the disk failed: {text}");
    std::process::exit(1);
}

fn seconds(since: runtime::Instant) -> f64 {
    (runtime::now() - since).as_secs_f64()
}

/// MiB of objects a second, if each of so many copies is only written and synced.
fn floor(folder: &Path, data: &[u8], objects: u64, copies: u32) -> f64 {
    let began = runtime::now();
    std::thread::scope(|scope| {
        for copy in 0..copies {
            scope.spawn(move || {
                let path = folder.join(format!("bare.{copy}"));
                let mut file = File::create(&path).expect("a file");
                for _object in 0..objects {
                    for piece in data.chunks(8 << 20) {
                        file.write_all(piece).expect("it is written");
                        file.sync_data().expect("it is synced");
                    }
                }
                std::fs::remove_file(path).expect("it is removed");
            });
        }
    });
    mib(data, objects) / seconds(began)
}

fn mib(data: &[u8], objects: u64) -> f64 {
    f64::from(u32::try_from(data.len()).expect("small")) / MIB
        * f64::from(u32::try_from(objects).expect("few"))
}

fn opening(count: u64) -> Opening {
    Opening {
        upload: Upload { node: "n1".parse().expect("a name"), boot: 1, count },
        collection: "c".parse().expect("a name"),
        key: format!("k{count}").parse().expect("a key"),
        part: 0,
        segment_number: 1,
    }
}

fn closing(version: u64, size: u64, md5: Md5, adler32: Adler32) -> Closing {
    Closing { version: UnifiedId(version), size, md5, adler32, meta: Vec::new(), time_ms: 1 }
}

/// As a coordinator cuts them and members take them: each sequence is digested, sent to every copy, and verified by all
/// but the first, which is the coordinator's own, while the next is cut and the one before is written; then final.
fn large_objects(folder: &Path, data: &Bytes, objects: u64, copies: u32) -> f64 {
    let folders: Vec<PathBuf> =
        (0..copies).map(|copy| folder.join(format!("large.{copies}.{copy}"))).collect();
    let archives: Vec<Archive> = folders.iter().map(|folder| open(folder)).collect();
    let began = runtime::now();
    std::thread::scope(|scope| {
        let members: Vec<SyncSender<Operation>> = archives
            .iter()
            .enumerate()
            .map(|(copy, archive)| {
                let (member, operations) = sync_channel(1);
                scope.spawn(move || take(archive, copy == 0, &operations));
                member
            })
            .collect();
        for count in 1..=objects {
            large_object(data, count, |operation| {
                for member in &members {
                    member.send(operation.clone()).expect("the member goes on");
                }
            });
        }
    });
    let rate = mib(data, objects) / seconds(began);
    if copies == 1 {
        for archive in &archives {
            read_all(archive, data, objects);
        }
    }
    drop(archives);
    for folder in folders {
        std::fs::remove_dir_all(folder).expect("it is removed");
    }
    rate
}

/// One copy: one operation is written while the next one is verified.
fn take(archive: &Archive, is_own: bool, operations: &Receiver<Operation>) {
    let mut before: Option<Receiver<Answer>> = None;
    let written = |before: Receiver<Answer>| {
        before.recv().expect("it is answered").expect("it is written");
    };
    for operation in operations {
        let (reply, answer) = channel();
        let reply = move |answer| {
            let _heard = reply.send(answer);
        };
        if is_own {
            archive.submit_own(operation, reply);
        } else {
            archive.submit(operation, reply);
        }
        before.replace(answer).into_iter().for_each(written);
    }
    before.into_iter().for_each(written);
}

fn large_object(data: &Bytes, count: u64, perform: impl Fn(Operation)) {
    let mut digesting = Digesting::new();
    let mut begun = None;
    let mut at = 0;
    for sequence in 0_u32.. {
        let end = (at + SEQUENCE_BYTES_MAX).min(data.len());
        if at == end {
            break;
        }
        let data = data.slice(at..end);
        let size = u64::try_from(data.len()).expect("small");
        let (md5, adler32) = digesting.push_apart(&data);
        let slice = Slice { sequence, data, size, md5, adler32 };
        at = end;
        perform(match begun.replace(()) {
            None => Operation::Start { opening: opening(count), slice },
            Some(()) => Operation::Next { upload: opening(count).upload, slice },
        });
    }
    let (size, (md5, adler32)) = (digesting.size(), digesting.finish());
    let closing = closing(count, size, md5, adler32);
    perform(Operation::Final { upload: opening(count).upload, slice: None, closing });
}

fn read_all(archive: &Archive, data: &Bytes, objects: u64) {
    let began = runtime::now();
    let mut bytes = 0;
    for count in 1..=objects {
        let key = opening(count).key;
        let mut reading =
            archive.read(&opening(count).collection, &key, None).expect("it is there");
        while let Some(sequence) = reading.next_sequence().expect("it verifies") {
            bytes += sequence.len();
        }
    }
    assert_eq!(bytes as u64, objects * data.len() as u64);
    println!("read and verified: {:.0} MiB/s", mib(data, objects) / seconds(began));
}

fn entire(data: &Bytes, count: u64, size: usize) -> Operation {
    let from = usize::try_from(count).expect("small") % (data.len() - size);
    let slice = Slice::of(0, data.slice(from..from + size));
    let closing = closing(count, slice.size, slice.md5, slice.adler32);
    Operation::Entire { opening: opening(count), slice, closing }
}

/// Many at once: what waits together is synced together.
fn fill(archive: &Archive, data: &Bytes, objects: u64, size: usize) {
    let (tell, told) = channel();
    let mut left = 0_u64;
    for count in 1..=objects {
        let tell = tell.clone();
        archive.submit(entire(data, count, size), move |answer| {
            let _closed = tell.send(answer);
        });
        left += 1;
        if left >= UNDER_WAY {
            told.recv().expect("it is answered").expect("it is final");
            left -= 1;
        }
    }
    for _answer in 0..left {
        told.recv().expect("it is answered").expect("it is final");
    }
}

fn small_objects(folder: &Path, data: &Bytes, objects: u64) {
    let folder = folder.join("small");
    let archive = open(&folder);
    let began = runtime::now();
    fill(&archive, data, objects, SMALL_BYTES);
    let rate = f64::from(u32::try_from(objects).expect("few")) / seconds(began);
    println!("{objects} objects of 4 KiB, {UNDER_WAY} under way: {rate:.0} objects/s");
    drop(archive);
    std::fs::remove_dir_all(folder).expect("it is removed");
}

fn rebuilt(folder: &Path, data: &Bytes, sequences: u64) {
    let folder = folder.join("rebuilt");
    let archive = open(&folder);
    fill(&archive, data, sequences, 16);
    drop(archive);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _absent = std::fs::remove_file(folder.join(name));
    }
    let began = runtime::now();
    let archive = open(&folder);
    println!("index of {sequences} sequences built anew: {:.1} s", seconds(began));
    drop(archive);
}
