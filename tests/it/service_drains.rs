//! A node that goes, or gives everything away, finishes what services have in their hands: whoever leads next sends it no
//! second time, unless a service is silent for too long.

use serde_json::json;
use tests::{Cluster, Http, Receiver, eventually};

use crate::services::{adds, checks_ids, described, gets, ids, times, webhook};

/// Until a request with the last thing said waits to be answered.
async fn is_held(receiver: &Receiver) {
    eventually("a request", async || match receiver.waiting() {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
}

async fn answers_nobody(node: &Http) {
    eventually("it to answer nobody any more", async || {
        match node.ask("GET", "/healthz", &[], None).await {
            Ok(answer) => Err(answer.status),
            Err(_gone) => Ok(()),
        }
    })
    .await;
}

/// T27, of a stop.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_has_in_its_hands_when_a_node_stops_comes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    let leaves = cluster.primary(&token).await;
    let (door, other) = (cluster.http(leaves).clone(), cluster.http((leaves + 1) % 3).clone());
    receiver.hold();
    other.send_surely(&token, "alice", "k1", "in its hands").await;
    is_held(&receiver).await;
    other.send_surely(&token, "alice", "k2", "behind it").await;
    let (cut, ()) = tokio::join!(cluster.stop(leaves), async {
        answers_nobody(&door).await;
        receiver.open();
    });
    assert_eq!(cut, Vec::<String>::new());
    other.send_surely(&token, "alice", "k3", "after").await;
    said.extend(["in its hands", "behind it", "after"].map(str::to_owned));
    gets(&receiver, &said).await;
    assert_eq!(times(&receiver, "in its hands"), 1, "the log knew that it was taken");
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
}

/// T-S16, of nodes: the service says nothing. The node does not wait for it for longer than it says, and the next one sends
/// the same again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_beside_a_service_that_hangs_stops_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    let leaves = cluster.primary(&token).await;
    let other = cluster.http((leaves + 1) % 3).clone();
    receiver.answer(|_| tests::HANGS);
    other.send_surely(&token, "alice", "k1", "in its hands").await;
    eventually("the request", async || match times(&receiver, "in its hands") {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    let cut = cluster.stop(leaves).await;
    assert_eq!(cut, Vec::<String>::new(), "its tasks did not have to be cut");
    receiver.answer(|_| 200);
    said.push("in its hands".to_owned());
    gets(&receiver, &said).await;
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
    assert_eq!(ids(&receiver, "in its hands").len(), 1);
}

/// T27, of an order to give everything away: the node stays, and goes on when it is taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_has_in_its_hands_when_a_node_gives_everything_away_comes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    let drained = cluster.primary(&token).await;
    let (admin, other) = (cluster.admin(drained), cluster.http((drained + 1) % 3).clone());
    receiver.hold();
    other.send_surely(&token, "alice", "k1", "in its hands").await;
    is_held(&receiver).await;
    other.send_surely(&token, "alice", "k2", "behind it").await;
    let order = json!({});
    let ((), ()) = tokio::join!(
        async { _ = admin.post("/admin/v1/drain", &order).await.expect(200) },
        async {
            eventually("it to be told", async || {
                let info = admin.ask("GET", "/admin/v1/info", &[], None).await?.only(200)?.body;
                if info["draining"] == true { Ok(()) } else { Err(info.to_string()) }
            })
            .await;
            receiver.open();
        }
    );
    eventually("it to lead nothing", async || {
        let info = admin.ask("GET", "/admin/v1/info", &[], None).await?.only(200)?.body;
        if info["led"] == 0 { Ok(()) } else { Err(info.to_string()) }
    })
    .await;
    said.extend(["in its hands", "behind it"].map(str::to_owned));
    gets(&receiver, &said).await;
    assert_eq!(times(&receiver, "in its hands"), 1, "the log knew that it was taken");
    admin.post("/admin/v1/drain", &json!({"draining": false})).await;
    other.send_surely(&token, "alice", "k3", "after").await;
    said.push("after".to_owned());
    gets(&receiver, &said).await;
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
}

/// T27, of an order that is taken back while a service still has something in its hands: the node gives nothing away, and
/// what it leads is sent from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_to_stay_after_all_goes_on_and_what_a_service_has_comes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    let stays = cluster.primary(&token).await;
    let (admin, other) = (cluster.admin(stays), cluster.http((stays + 1) % 3).clone());
    let led = async || admin.get("/admin/v1/info").await.expect(200)["led"].clone();
    receiver.hold();
    other.send_surely(&token, "alice", "k1", "in its hands").await;
    is_held(&receiver).await;
    let (go, stay) = (json!({}), json!({"draining": false}));
    let (ordered, ()) = tokio::join!(admin.post("/admin/v1/drain", &go), async {
        eventually("it to be told", async || {
            let info = admin.ask("GET", "/admin/v1/info", &[], None).await?.only(200)?.body;
            if info["draining"] == true { Ok(()) } else { Err(info.to_string()) }
        })
        .await;
        other.send_surely(&token, "alice", "k2", "while it is to go").await;
        admin.post("/admin/v1/drain", &stay).await.expect(200);
        other.send_surely(&token, "alice", "k3", "once it stays").await;
        assert_eq!(receiver.waiting(), 1, "one after the other");
        receiver.open();
    });
    ordered.expect(200);
    other.send_surely(&token, "alice", "k4", "after").await;
    let more = ["in its hands", "while it is to go", "once it stays", "after"];
    said.extend(more.map(str::to_owned));
    gets(&receiver, &said).await;
    assert_ne!(led().await, 0, "nothing was given away");
    assert_eq!(more.map(|text| times(&receiver, text)), [1; 4]);
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
}
