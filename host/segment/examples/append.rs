//! What the log makes of a disk: appends from one submitter, with so many entries under way, beside the
//! bare append and sync of the same disk in the same run.
//!
//! ```text
//! cargo run --release -p segment --example append [FOLDER]
//! ```

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use segment::{Chain, Log, LogConfig, LogEntry, LogOp, Notice, Reserve};

const SYNCS: u32 = 2000;
const PAYLOAD_BYTES: usize = 300;
const PARTITIONS: u16 = 64;

fn main() {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("a folder");
    let mut floor = segment::floor(folder.path(), SYNCS).expect("the floor");
    let took: Duration = floor.iter().sum();
    floor.sort_unstable();
    println!(
        "floor: {:.0} syncs/s, p50 {:?}, p99 {:?}",
        f64::from(SYNCS) / took.as_secs_f64(),
        floor[floor.len() / 2],
        floor[floor.len() * 99 / 100],
    );
    for under_way in [1, 8, 64, 256, 1024] {
        append(&folder.path().join(format!("logs.{under_way}")), under_way);
    }
}

/// Keeps `under_way` submissions of one entry each under way.
fn append(folder: &Path, under_way: u64) {
    let config = LogConfig {
        folder: folder.to_owned(),
        store: 1,
        partitions: PARTITIONS,
        value_file_bytes_max: 1 << 30,
        reserve: Reserve::Bytes(0),
    };
    let (tell, told) = sync_channel(4096);
    let notices = move |notice| {
        if let Notice::Written { ticket } = notice {
            let _closed = tell.send(ticket);
        }
    };
    let (log, _recovered) = Log::open(config, notices).expect("the log opens");
    let payload = Bytes::from_static(&[0x5a; PAYLOAD_BYTES]);
    let total = u64::from(SYNCS) * under_way.min(64);
    let (mut submitted, mut written, mut batches) = (0, 0, 0_u32);
    let began = runtime::now();
    while written < total {
        while submitted < total && submitted - written < under_way {
            let partition = u16::try_from(submitted % u64::from(PARTITIONS)).expect("it fits");
            let seq = submitted / u64::from(PARTITIONS) + 1;
            let entry =
                LogEntry { epoch: 1, seq, chain: Chain::default(), payload: payload.clone() };
            submitted += 1;
            let append = LogOp::Append { partition: PartitionId(partition), entries: vec![entry] };
            log.submit(submitted, vec![append]).expect("the log takes it");
        }
        written = told.recv().expect("the writer lives");
        batches += 1;
    }
    let took = (runtime::now() - began).as_secs_f64();
    println!(
        "{under_way:5} under way: {:.0} syncs/s, {:.0} entries/s, {:.1} entries a sync",
        f64::from(batches) / took,
        f64::from(u32::try_from(total).expect("it fits")) / took,
        f64::from(u32::try_from(total).expect("it fits")) / f64::from(batches),
    );
}
