//! Versions of plugins on a real ZooKeeper: what `generations` shows on the registry of one process, where
//! nodes have sessions that end, and learn by watches what is live.

use serde_json::{Value, json};
use tests::ensemble::Ensemble;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, eventually};

fn passes(name: &str) -> Vec<u8> {
    version(&Guest::default(), name)
}

/// What is live on node `index`: version and generation of the one plugin there is.
async fn live(cluster: &Cluster, index: usize) -> Option<(String, u64)> {
    let live = cluster.admin(index).live().await;
    live.into_iter().next().map(|(_, version, generation)| (version, generation))
}

async fn roll_back(cluster: &Cluster, index: usize) -> Value {
    let path = "/admin/v1/plugins/hello/rollback";
    cluster.admin(index).post(path, &json!({"wait": true})).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_comes_and_goes_on_all_nodes_while_one_is_down_and_one_comes_anew() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let mut cluster = Cluster::start_with(3, ensemble.nodes()).await;
    let first = cluster.admin(0).swap_in("hello", &passes("1.0")).await;
    assert_eq!((&first["live"], &first["nodes"]), (&json!(3), &json!(3)), "{first}");
    let second = cluster.admin(1).swap_in("hello", &passes("2.0")).await;
    assert_eq!(second["live"], 3, "{second}");
    let back = roll_back(&cluster, 2).await;
    assert_eq!((&back["version"], &back["live"]), (&json!("1.0"), &json!(3)), "{back}");

    // A node that is down does not hold the others up for longer than its session lasts.
    let token = cluster.http(0).create().await;
    cluster.kill(2).await;
    let third = cluster.admin(0).swap_in("hello", &passes("3.0")).await;
    assert_eq!((&third["live"], &third["nodes"]), (&json!(2), &json!(2)), "{third}");
    let generation = third["generation"].as_u64().unwrap_or_default();
    let sent = cluster.http(1).send_surely(&token, "alice", "k1", "hello").await;
    assert_eq!(sent["stamps"][0]["version"], "3.0", "{sent}");
    cluster.restart(2).await;
    // It is ready: nothing is waited for here.
    assert_eq!(live(&cluster, 2).await, Some(("3.0".to_owned(), generation)));

    // One that comes with an empty folder fetches all of it, also what can be rolled back to.
    cluster.kill(2).await;
    std::fs::remove_dir_all(cluster.data(2)).unwrap_or_else(|error| panic!("{error}"));
    cluster.restart(2).await;
    assert_eq!(live(&cluster, 2).await, Some(("3.0".to_owned(), generation)));
    let back = roll_back(&cluster, 2).await;
    assert_eq!((&back["version"], &back["live"]), (&json!("1.0"), &json!(3)), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_swaps_at_once_one_wins_and_all_nodes_agree() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let cluster = Cluster::start_with(3, ensemble.nodes()).await;
    let mut digests = Vec::new();
    for (index, of) in ["a", "b"].into_iter().enumerate() {
        let pushed = cluster.admin(index).push("hello", &passes(of)).await;
        digests.push(pushed.text("digest"));
    }
    let swap = async |index: usize| {
        let body = json!({"digest": digests[index], "wait": true});
        cluster.admin(index).post("/admin/v1/plugins/hello/swap", &body).await
    };
    let (one, other) = tokio::join!(swap(0), swap(1));
    let answers = [&one, &other];
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    let lost = answers.iter().filter(|answer| answer.code() == "plugin-conflict").count();
    // One may also have come after the other was done: then both are live in turn.
    assert!(won > 0 && won + lost == 2, "{} {}", one.body, other.body);
    let generations = answers.iter().filter_map(|answer| answer.body["generation"].as_u64());
    let last = generations.max().unwrap_or_default();
    for index in 0..3 {
        eventually("the last one to be live", async || match live(&cluster, index).await {
            Some((version, generation)) if generation == last => Ok(version),
            other => Err(other),
        })
        .await;
    }
}
