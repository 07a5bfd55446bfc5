//! Bytes that a member lacks, or that broke: where they are looked for, and that they come back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use archive::{Name, Versioning};
use bytes::Bytes;
use segment::archive::{Adopted, Fact, Operation};

use crate::lost::{files, has, node, own};
use crate::objects::{data, get, make, name, put};
use crate::support::{Cluster, engine_at};
use crate::wait::eventually;

/// N8 and N24: what does not verify is never given out, is read from another, and is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n24_a_copy_with_flipped_bits_is_passed_over_and_mended_from_a_member() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(6, 11 << 20));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    for index in 0..3 {
        has(cluster.node(index).archive(), &key, &data).await;
    }
    cluster.stop(1).await;
    let largest = |folder: &Path| {
        let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |found| found.len());
        files(folder).into_iter().max_by_key(size).expect("a value file")
    };
    let file = largest(&cluster.data(1));
    let mut bytes = std::fs::read(&file).expect("it is read");
    for place in [3 << 20, 8 << 20] {
        bytes[place] ^= 0x10;
    }
    std::fs::write(&file, bytes).expect("it is written");
    cluster.restart(1).await;
    cluster.led().await;
    let archive = cluster.node(1).archive();
    assert!(own(archive, &key).is_err(), "the copy is broken");
    assert!(get(archive, &key).await.expect("another has it") == data);
    has(archive, &key, &data).await;

    // A file that is gone is owed too.
    cluster.stop(1).await;
    for file in files(&cluster.data(1)) {
        std::fs::remove_file(file).expect("it is removed");
    }
    cluster.restart(1).await;
    cluster.led().await;
    has(cluster.node(1).archive(), &key, &data).await;
}

/// N24: what nobody reads breaks too, and the scrub finds it while another member still has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_scrub_finds_broken_is_mended_from_a_member_before_anybody_reads_it() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(13, 11 << 20));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    for index in 0..3 {
        has(cluster.node(index).archive(), &key, &data).await;
    }
    cluster.stop(1).await;
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |found| found.len());
    let file = files(&cluster.data(1)).into_iter().max_by_key(size).expect("a value file");
    let mut bytes = std::fs::read(&file).expect("it is read");
    for place in [3 << 20, (10 << 20) + 500_000] {
        bytes[place] ^= 0x10;
    }
    std::fs::write(&file, bytes).expect("it is written");
    cluster.restart(1).await;
    cluster.led().await;
    let archive = cluster.node(1).archive().clone();
    assert_eq!(archive.owed(), 0, "nobody knows");
    let engine = archive.engine().clone();
    let scrubbed = tokio::task::spawn_blocking(move || engine.scrub(u64::MAX)).await;
    let scrubbed = scrubbed.expect("it does not panic").expect("it is read");
    assert_eq!((scrubbed.damages, scrubbed.complete), (2, true));
    eventually("what is owed to be paid", async || match archive.owed() {
        0 => Ok(()),
        owed => Err(format!("{owed} segments are owed")),
    })
    .await;
    assert!(own(&archive, &key).expect("it is whole") == data);
}

/// G27: a node that begins anew beside what it had takes bytes from there, as far as they verify, and needs nobody
/// for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_store_left_is_as_good_as_another_copy() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(11, 11 << 20));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    for index in 0..3 {
        has(cluster.node(index).archive(), &key, &data).await;
    }
    let store = cluster.node(2).archive().engine().store();
    for index in 0..3 {
        cluster.stop(index).await;
    }
    // The others have lost all bytes, and the third begins anew.
    for file in [0, 1].into_iter().flat_map(|index| files(&cluster.data(index))) {
        std::fs::remove_file(file).expect("it is removed");
    }
    let earlier = cluster.data(2).join("earlier");
    std::fs::rename(cluster.data(2).join("archive"), &earlier).expect("it is moved");
    for index in 0..3 {
        cluster.restart(index).await;
    }
    cluster.led().await;
    let third = cluster.node(2).archive();
    assert!(own(third, &key).is_err(), "it has nothing");
    let disk = Arc::new(segment::SystemDisk);
    third.read_also(vec![engine_at(disk, earlier, &node(2), store, 0)]);
    has(third, &key, &data).await;
    // And from there it comes to everybody.
    has(cluster.node(0).archive(), &key, &data).await;
}

/// A change of the ring may leave bytes with nodes that are members no more, and that no final entry names: they are
/// asked last, and who owes the bytes has them from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_only_a_node_outside_has_are_read_and_paid_from_there() {
    let mut cluster = Cluster::start(4).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(12, 50_000));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    let (members, outside) = sides(&cluster);
    for index in &members {
        has(cluster.node(*index).archive(), &key, &data).await;
    }
    keep_outside(&cluster, (members[0], outside), &key, &data).await;
    for index in &members {
        cluster.stop(*index).await;
    }
    for file in members.iter().flat_map(|index| files(&cluster.data(*index))) {
        std::fs::remove_file(file).expect("it is removed");
    }
    for index in &members {
        cluster.restart(*index).await;
    }
    cluster.led().await;
    for index in &members {
        has(cluster.node(*index).archive(), &key, &data).await;
    }
    assert!(get(cluster.node(members[0]).archive(), &key).await.expect("it is read") == data);
}

/// Who is a member of the partition of `plain/k` on four nodes, and who is not.
fn sides(cluster: &Cluster) -> (Vec<usize>, usize) {
    let replication = cluster.node(0).replication();
    let partition = replication.partitions().of_key(b"plain/k");
    let ensemble = replication.view(partition).ensemble.clone();
    let (members, outside): (Vec<usize>, Vec<usize>) =
        (0..4).partition(|index| ensemble.contains(&node(*index)));
    (members, outside[0])
}

/// Gives a node that is no member what a member has, as if it had been one.
async fn keep_outside(
    cluster: &Cluster,
    (member, outside): (usize, usize),
    key: &Name,
    data: &Bytes,
) {
    let engine = cluster.node(member).archive().engine().clone();
    let facts = engine.facts(&key.collection, &key.key).expect("they are told");
    let fact = facts.into_iter().find(|fact| matches!(fact, Fact::Final(_))).expect("it is final");
    let collection = Some((key.collection.clone(), Versioning::Unversioned));
    let entries = vec![Adopted { fact, collection, data: Some(data.clone()) }];
    let kept = cluster.node(outside).archive().engine().clone();
    let adopt = Operation::Adopt { entries, applied: Vec::new() };
    let adopted = tokio::task::spawn_blocking(move || kept.perform(adopt)).await;
    adopted.expect("it does not panic").expect("it is taken over");
}

/// A node that is no member any more kept everything for ever, also what was deleted since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_outside_holds_is_given_back_once_all_members_have_it() {
    let often = |config: &mut archive::Config| config.left = Duration::from_millis(50);
    let mut cluster = Cluster::start_with(4, often).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(14, 50_000));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    let (members, outside) = sides(&cluster);
    for index in &members {
        has(cluster.node(*index).archive(), &key, &data).await;
    }
    keep_outside(&cluster, (members[0], outside), &key, &data).await;
    // The file it is in is closed then.
    cluster.stop(outside).await;
    cluster.restart(outside).await;
    cluster.led().await;
    given_back(&cluster, outside, &key).await;
    for index in &members {
        has(cluster.node(*index).archive(), &key, &data).await;
    }
    assert!(get(cluster.node(outside).archive(), &key).await.expect("it is read") == data);
}

/// Waits until compaction has collected all that a node knows of a key.
pub(crate) async fn given_back(cluster: &Cluster, index: usize, key: &Name) {
    let engine = cluster.node(index).archive().engine().clone();
    eventually("it to be given back", async || {
        let (engine, key) = (engine.clone(), key.clone());
        let compact = move || {
            engine.compact(runtime::wall_ms()).expect("it is compacted");
            engine.facts(&key.collection, &key.key).expect("they are told")
        };
        match tokio::task::spawn_blocking(compact).await.expect("it does not panic") {
            facts if facts.is_empty() => Ok(()),
            facts => Err(facts),
        }
    })
    .await;
}
