//! Nodes that die between the steps of a swap: afterwards the old version is live or the new one, on every
//! node the same, and nothing stands in the way of the next swap. On the registry of one process, and on a real
//! ZooKeeper, where a node that died is on the ring until its session ends.

use node::config::Config;
use rollout::{Hook, Point};
use serde_json::json;
use tests::ensemble::Ensemble;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Ambush, Cluster, eventually};

const POINTS: [Point; 9] = [
    Point::Fetching,
    Point::Kept,
    Point::Compiling,
    Point::Checked,
    Point::Prepared,
    Point::Writing,
    Point::Written,
    Point::Learned,
    Point::Switched,
];

/// The node that is asked for the swap dies (`asked`), or another one.
async fn dies_at_every_step(asked: bool, registry: impl Fn(&mut Config)) {
    let ambush = Ambush::default();
    let waits = ambush.clone();
    let hook = Hook::new(move |node, point| waits.passes(node, point));
    let mut cluster = Cluster::start_hooked(3, registry, Some(hook)).await;
    cluster.admin(0).swap_in("hello", &version(&Guest::default(), "0.0")).await;
    let token = cluster.http(0).create().await;
    for (round, point) in POINTS.into_iter().enumerate() {
        let victim = if asked { 0 } else { 2 };
        // Only who is asked writes, and it has nothing to fetch.
        let others = if asked { &[Point::Fetching][..] } else { &[Point::Writing, Point::Written] };
        if others.contains(&point) {
            continue;
        }
        let before = cluster.admin(1).live().await;
        let new = format!("{round}.1");
        let component = version(&Guest::default(), &new);
        ambush.arm(victim, point);
        let (admin, pushed) = (cluster.admin(0), component.clone());
        let swapping = tokio::spawn(async move {
            let path = "/admin/v1/plugins/hello/artefacts";
            let pushed = admin.ask_bytes("PUT", path, &[], &pushed).await?;
            let body = json!({"digest": pushed.text("digest"), "wait": true});
            admin.ask("POST", "/admin/v1/plugins/hello/swap", &[], Some(&body)).await
        });
        ambush.reached().await;
        cluster.kill(victim).await;
        let told = swapping.await.unwrap_or_else(|error| panic!("{error}"));
        if !asked {
            let told = told.unwrap_or_else(|error| panic!("{point:?}: {error}"));
            // On a busy machine the registry's answer may be lost too, and then the answer says that asking once more
            // is right.
            let lost = told.status == 503 && told.body["retryable"] == true;
            assert!(
                lost || told.status == 200,
                "{point:?}: it goes on without the one: {}",
                told.body
            );
            if lost {
                cluster.admin(0).swap_in("hello", &component).await;
            }
        }
        // Those who are left agree: on the old one, or on the new one if it was written.
        let written = !asked || matches!(point, Point::Written | Point::Learned | Point::Switched);
        let left = cluster.alive();
        let live = eventually("those who are left to agree", async || {
            let (one, other) =
                (cluster.admin(left[0]).live().await, cluster.admin(left[1]).live().await);
            let agreed = one == other && (one[0].1 == new) == written && (one == before) != written;
            if agreed { Ok(one) } else { Err((point, one, other)) }
        })
        .await;
        let key = format!("k{round}");
        cluster.http(1).send_surely(&token, "alice", &key, "between").await;
        cluster.restart(victim).await;
        assert_eq!(cluster.admin(victim).live().await, live, "{point:?}: before it serves");
        let next = cluster
            .admin(victim)
            .swap_in("hello", &version(&Guest::default(), &format!("{round}.2")))
            .await;
        assert_eq!(next["nodes"], 3, "{point:?}: {next}");
        let sent = cluster.http(2).send_surely(&token, "alice", &format!("{key}b"), "after").await;
        assert_eq!(sent["stamps"][0]["version"], format!("{round}.2"), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_that_was_asked_dies() {
    dies_at_every_step(true, |_config| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_dies() {
    dies_at_every_step(false, |_config| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_that_was_asked_dies_on_a_real_zookeeper() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    dies_at_every_step(true, ensemble.nodes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_dies_on_a_real_zookeeper() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    dies_at_every_step(false, ensemble.nodes()).await;
}
