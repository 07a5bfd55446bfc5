//! Orders of events in which such an archive goes wrong, each as one story.

use archive::{Code, Delete, List, Upload, Versioning};

use crate::lost::{has, held, node, own};
use crate::objects::{code, data, get, make, name, put, soon};
use crate::support::Cluster;
use crate::wait::eventually;

/// G-S5: two of three have the bytes, and another two what makes them a version; each of those may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_on_two_and_the_entry_on_another_two_outlive_the_loss_of_each() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    cluster.kill(2).await;
    cluster.led().await;
    let (key, data) = (name("plain", "k"), data(1, 12 << 20));
    let first = cluster.node(0).archive().clone();
    eventually("two of three to have it", async || put(&first, &key, &data).await).await;
    drop(first);
    cluster.restart(2).await;
    cluster.led().await;
    cluster.kill(0).await;
    cluster.led().await;
    let third = cluster.node(2).archive().clone();
    let read = eventually("it to be read", async || get(&third, &key).await).await;
    assert!(read == data);
    has(&third, &key, &data).await;
    cluster.restart(0).await;
    cluster.led().await;
    cluster.kill(1).await;
    cluster.led().await;
    for index in [0, 2] {
        let archive = cluster.node(index).archive();
        let read = eventually("it to be read", async || get(archive, &key).await).await;
        assert!(read == data);
    }
}

/// G-S10: it is deleted while a member that was away fetches it. What came in by then is no debt and is not seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_in_the_middle_of_a_fetch_stays_a_delete() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    cluster.kill(2).await;
    cluster.led().await;
    let (key, data) = (name("plain", "k"), data(2, 45 << 20));
    let first = cluster.node(0).archive().clone();
    eventually("two of three to have it", async || put(&first, &key, &data).await).await;
    cluster.restart(2).await;
    cluster.led().await;
    let returned = cluster.node(2).archive().clone();
    eventually("it to know what it lacks", async || match returned.owed() {
        // It may have all of it by now: then the delete comes right behind.
        0 if own(&returned, &key).is_err() => Err("nothing is owed"),
        _ => Ok(()),
    })
    .await;
    let all = Delete { name: key.clone(), version: None, repeat: None };
    eventually("it to be deleted", async || first.delete(all.clone(), soon()).await).await;
    eventually("the debt to be none any more", async || match returned.owed() {
        0 => Ok(()),
        owed => Err(format!("{owed} segments are owed")),
    })
    .await;
    eventually("the delete to be known", async || match own(&returned, &key) {
        Err(_gone) => Ok(()),
        Ok(_) => Err("it is there"),
    })
    .await;
    drop((first, returned));
    cluster.kill(2).await;
    cluster.restart(2).await;
    cluster.led().await;
    for index in 0..3 {
        let archive = cluster.node(index).archive();
        eventually("an answer", async || match code(get(archive, &key).await) {
            Code::NotFound => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

/// G-S15: whoever lists while a node that leads is lost gets no answer, or one with all that was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_in_a_take_over_is_whole_or_none() {
    const KEYS: usize = 24;
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    for number in 0..KEYS {
        let key = name("plain", &format!("k{number:02}"));
        put(cluster.node(0).archive(), &key, &data(3, 100)).await.expect("it is stored");
    }
    cluster.kill(0).await;
    let list = List {
        collection: "plain".parse().expect("a name"),
        prefix: String::new(),
        marker: None,
        limit: 1000,
        versions: false,
        version_marker: None,
    };
    let archive = cluster.node(1).archive();
    // The first answer there is must be right: nothing is waited for but an answer.
    let listing = eventually("an answer", async || archive.list(list.clone(), soon()).await).await;
    let keys: Vec<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
    let wanted: Vec<String> = (0..KEYS).map(|number| format!("k{number:02}")).collect();
    assert_eq!((keys, listing.truncated), (wanted.iter().map(String::as_str).collect(), false));
}

/// Sabotage: what is held goes by its age. While its coordinator is away the same is held over a kill without
/// (`what_is_held_is_decided_by_evidence_and_not_by_age`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_by_age_is_seen_to_lose_what_nobody_has_decided() {
    let by_age = |config: &mut archive::Config| config.sabotage.held_by_age = true;
    let mut cluster = Cluster::start_with(3, by_age).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(4, 100_000));
    cluster.kill(0).await;
    held(&cluster, &Upload { node: node(0), boot: 1, count: 1_000_000 }, &key, &data).await;
    for index in [1, 2] {
        let engine = cluster.node(index).archive().engine().clone();
        eventually("it to be lost", async || match engine.held(10) {
            held if held.is_empty() => Ok(()),
            held => Err(held),
        })
        .await;
    }
}
