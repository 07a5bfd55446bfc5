//! What was begun and is not gone on with ends, and is told to have ended: by time, and by who began it.

use std::time::Duration;

use archive::{Archive, Code, Name, Put, Refusal, UnifiedId, Upload, Versioning};
use segment::archive::Fact;

use crate::lost::{Feeding, files, has};
use crate::objects::{code, data, get, make, name, put, put_of, soon};
use crate::support::Cluster;
use crate::wait::eventually;

/// Waits until a node knows that an upload was given up.
async fn given_up(archive: &Archive, upload: &Upload) {
    eventually("an upload to be given up", async || {
        let facts = archive.engine().facts_of_upload(upload).map_err(|error| error.to_string())?;
        let is = |fact: &Fact| matches!(fact, Fact::Cancelled { .. });
        if facts.iter().any(is) { Ok(()) } else { Err(format!("{facts:?}")) }
    })
    .await;
}

fn of(node: &str, boot: u64, count: u64) -> Upload {
    Upload { node: node.parse().expect("a node's name"), boot, count }
}

/// The connection is open, and nothing comes: members do not wait for ever, and their places are free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_coordinator_says_nothing_any_more_ends_on_every_member() {
    let stalled = Duration::from_millis(300);
    let cluster = Cluster::start_with(3, |config| config.stalled = stalled).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(1, 30 << 20));
    let feeding = Feeding::begin(&first, &key, data.len());
    // A sequence of it is everywhere, and then the client sends nothing: less long than it may.
    feeding.feed(&data.slice(..12 << 20)).await;
    for index in [1, 2] {
        given_up(cluster.node(index).archive(), &of("n1", 1, 1)).await;
    }
    // It goes on where nobody listens any more.
    let rest = data.slice(12 << 20..);
    let fed = async {
        for chunk in rest.chunks(1 << 20) {
            if !feeding.offer(chunk).await {
                break;
            }
        }
    };
    fed.await;
    let refused = feeding.end().await.expect_err("too few have it");
    assert!(matches!(refused.code, Code::NoQuorum | Code::SizeMismatch), "{refused:?}");
    assert_eq!(code(get(&first, &key).await), Code::NotFound);
    for index in 0..3 {
        let archive = cluster.node(index).archive();
        eventually("every place to be free", async || match archive.under_way() {
            (0, 0) => Ok(()),
            under_way => Err(format!("{under_way:?}")),
        })
        .await;
    }
}

/// A client that is connected and sends nothing: its put ends, everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_of_which_nothing_comes_ends() {
    let silence = Duration::from_millis(300);
    let cluster = Cluster::start_with(3, |config| config.silence = silence).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    for (number, size) in [(1, 1000), (2, 30 << 20)] {
        // It is kept open: only the time can end it.
        let mut feeding = Feeding::begin(&first, &name("plain", &format!("k{number}")), size);
        let refused = feeding.ended().await.expect_err("nothing came");
        assert_eq!(refused.code, Code::Timeout, "{refused:?}");
        assert_eq!(refused.outcome, Some(archive::Outcome::NotCommitted));
    }
    for index in 0..3 {
        let archive = cluster.node(index).archive();
        eventually("every place to be free", async || match archive.under_way() {
            (0, 0) => Ok(()),
            under_way => Err(format!("{under_way:?}")),
        })
        .await;
        assert_eq!(archive.engine().held(10), []);
    }
}

/// A holder that takes the question and gives nothing: the next one is asked, at the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_says_nothing_is_passed_over() {
    let holder = Duration::from_secs(2);
    let mut cluster = Cluster::start_with(3, |config| config.holder = holder).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(1, 300_000));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    for index in 0..3 {
        has(cluster.node(index).archive(), &key, &data).await;
    }
    cluster.stop(0).await;
    for file in files(&cluster.data(0)) {
        std::fs::remove_file(file).expect("it is removed");
    }
    cluster.node(1).mute();
    cluster.restart(0).await;
    cluster.led().await;
    let archive = cluster.node(0).archive();
    let read = eventually("who has it to be reached", async || get(archive, &key).await).await;
    assert!(read == data);
}

fn part_of(name: &Name, version: UnifiedId, part: u32, size: usize) -> Put {
    Put { part: Some((version, part)), ..put_of(name, size) }
}

/// By time: an archive of parts that nobody goes on with is given up, in the log, and its parts are hidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_parts_that_nobody_goes_on_with_is_given_up() {
    let unfinished = Duration::from_secs(1);
    let cluster = Cluster::start_with(3, |config| config.unfinished = unfinished).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(1, 100_000));
    let version = first.start(&key, None, soon()).await.expect("it is begun");
    let part = part_of(&key, version, 1, data.len());
    let part = first.put(part, &mut archive::Whole(Some(data.clone()))).await;
    // A slow machine may be overtaken by the time.
    assert!(matches!(part, Ok(_) | Err(Refusal { code: Code::AlreadyFinal, .. })), "{part:?}");
    for index in 0..3 {
        let engine = cluster.node(index).archive().engine().clone();
        eventually("it to be given up", async || {
            let facts =
                engine.facts(&key.collection, &key.key).map_err(|error| error.to_string())?;
            let is =
                |fact: &Fact| matches!(fact, Fact::Aborted { at, .. } if at.version == version);
            if facts.iter().any(is) { Ok(()) } else { Err(format!("{facts:?}")) }
        })
        .await;
    }
    assert_eq!(code(first.finish(&key, version, soon()).await), Code::AlreadyFinal);
    assert_eq!(code(get(&first, &key).await), Code::NotFound);
    // Another one begins as before, and is whole in time.
    let again = first.start(&key, None, soon()).await.expect("it is begun");
    assert!(again > version);
}

/// By who began it: a part whose coordinator died in the middle is given up when it begins another life; the
/// archive that it was for is nobody's life, and is finished through another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_an_earlier_life_is_given_up_and_its_archive_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(1, 15 << 20));
    let version = first.start(&key, None, soon()).await.expect("it is begun");
    let part = || part_of(&key, version, 1, data.len());
    let feeding = Feeding::begin_put(&first, part());
    feeding.feed(&data.slice(..12 << 20)).await;
    cluster.kill(0).await;
    drop((feeding, first));
    cluster.led().await;
    let second = cluster.node(1).archive().clone();
    eventually("the part to be brought by another", async || {
        second.put(part(), &mut archive::Whole(Some(data.clone()))).await.map(drop)
    })
    .await;
    second.finish(&key, version, soon()).await.expect("it is whole");
    cluster.restart(0).await;
    cluster.led().await;
    for index in 0..3 {
        let engine = cluster.node(index).archive().engine().clone();
        eventually("nothing to be held", async || match engine.held(10) {
            held if held.is_empty() => Ok(()),
            held => Err(format!("{held:?}")),
        })
        .await;
    }
    assert!(get(cluster.node(0).archive(), &key).await.expect("it is read") == data);
}

/// A coordinator that never comes back can say nothing; what it left is not kept for it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_coordinator_left_that_never_returns_is_cancelled_in_the_log() {
    let abandoned = Duration::from_millis(500);
    let mut cluster = Cluster::start_with(3, |config| config.abandoned = abandoned).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    cluster.kill(0).await;
    cluster.led().await;
    let (key, data, upload) = (name("plain", "k"), data(5, 100_000), of("n1", 1, 1_000_000));
    crate::lost::held(&cluster, &upload, &key, &data).await;
    for index in [1, 2] {
        let archive = cluster.node(index).archive().clone();
        given_up(&archive, &upload).await;
        assert_eq!(archive.engine().held(10), []);
    }
}
