//! How much is taken of clients while a disk takes nothing.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use archive::{Body, BodyEnded, Next, Versioning};
use bytes::Bytes;
use segment::{Disk, SystemDisk};

use crate::objects::{data, get, make, name, put_of};
use crate::support::Cluster;
use crate::wait::eventually;

const MIB: u64 = 1 << 20;
/// A chunk of a body.
const CHUNK: usize = 64 << 10;

/// A disk whose syncs wait while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    written: AtomicU64,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().expect("it is whole") = shut;
        self.opened.notify_all();
    }
}

impl Disk for Gate {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        SystemDisk.write(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let shut = self.shut.lock().expect("it is whole");
        drop(self.opened.wait_while(shut, |shut| *shut).expect("it is whole"));
        SystemDisk.sync(file)
    }
}

/// A body that says how much of it was taken.
struct Counted {
    left: Bytes,
    taken: Arc<AtomicU64>,
}

impl Body for Counted {
    fn next(&mut self) -> Next<'_> {
        if self.left.is_empty() {
            return Box::pin(std::future::ready(None));
        }
        let chunk = self.left.split_to(CHUNK.min(self.left.len()));
        self.taken.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Box::pin(std::future::ready(Some(Ok::<Bytes, BodyEnded>(chunk))))
    }
}

/// G9 and G11: a hundred clients send as fast as they can, and the disk stands still. What was taken of them is in
/// memory or written, and neither is more than it may be; then all of it arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_uploads_at_once_take_no_more_memory_than_they_may() {
    const UPLOADS: u64 = 100;
    const MEMORY: u64 = 16 * MIB;
    let gate = Arc::new(Gate::default());
    let disk = Arc::clone(&gate) as Arc<dyn Disk>;
    let memory = |config: &mut archive::Config| config.memory_kib = 16 << 10;
    let cluster = Cluster::start_on(disk, 1, memory).await;
    let archive = cluster.node(0).archive().clone();
    make(&archive, "plain", Versioning::Unversioned).await;
    gate.set(true);
    let before = gate.written.load(Ordering::SeqCst);
    let (taken, bytes) = (Arc::new(AtomicU64::new(0)), data(1, 1 << 20));
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..UPLOADS {
        let (archive, left, taken) = (archive.clone(), bytes.clone(), Arc::clone(&taken));
        puts.spawn(async move {
            let put = put_of(&name("plain", &format!("k{number}")), left.len());
            archive.put(put, &mut Counted { left, taken }).await
        });
    }
    // A sync is due at 8 MiB, and looked for behind each sequence.
    let written_most = 10 * MIB;
    let in_hand = UPLOADS * CHUNK as u64;
    let check = || {
        let written = gate.written.load(Ordering::SeqCst) - before;
        assert!(written <= written_most, "{written} bytes are dirty");
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken <= MEMORY + written_most + in_hand, "{taken} bytes were taken");
    };
    eventually("memory to be used up", async || {
        check();
        match (archive.memory_kib_left(), archive.under_way()) {
            (0..256, (under_way, _)) if under_way as u64 == UPLOADS => Ok(()),
            (left, under_way) => Err(format!("{left} KiB are left of {under_way:?}")),
        }
    })
    .await;
    check();
    gate.set(false);
    while let Some(done) = puts.join_next().await {
        done.expect("it does not panic").expect("it is stored");
    }
    assert_eq!(taken.load(Ordering::SeqCst), UPLOADS * MIB);
    assert_eq!(archive.memory_kib_left(), 16 << 10, "all of it is given back");
    assert!(get(&archive, &name("plain", "k99")).await.expect("it is read") == bytes);
}
