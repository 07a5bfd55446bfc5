//! Where a service wants one transaction after another from the whole cluster, nodes take turns.

use std::collections::BTreeMap;
use std::time::Duration;

use outbox::Point;
use rustix::process::Signal;
use serde_json::Value;
use tests::{Cluster, Deadline, Receiver, eventually, until};

use crate::hooked;
use crate::killed_compiling::stat;
use crate::services::{adds, checks_ids, gets, says, section, texts, webhook};
use crate::three::Three;

/// Chats that are led by different nodes, so that each node has something to send.
async fn chats_of_all(cluster: &Cluster) -> Vec<String> {
    let mut tokens: Vec<Option<String>> = vec![None; 3];
    while tokens.iter().any(Option::is_none) {
        let token = cluster.http(0).create().await;
        let primary = cluster.primary(&token).await;
        tokens[primary] = Some(token);
    }
    tokens.into_iter().flatten().collect()
}

/// Lets waiting requests go one by one, until everything has come.
async fn one_by_one(receiver: &Receiver, wanted: usize) {
    while texts(receiver).len() < wanted {
        eventually("one request", async || {
            let (waits, come) = (receiver.waiting() > 0, texts(receiver).len());
            if waits || come >= wanted { Ok(()) } else { Err(come) }
        })
        .await;
        if texts(receiver).len() >= wanted {
            return;
        }
        // No more than wait may go: who comes later waits too.
        let before = receiver.received().len();
        receiver.let_go(1);
        eventually("it to go", async || {
            let (gone, waits) = (receiver.received().len() > before, receiver.waiting());
            if gone || waits == 0 { Ok(()) } else { Err(waits) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_order_is_the_services_one_transaction_is_under_way_in_the_whole_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut service = webhook(&receiver, folder.path());
    service.order = node::config::Order::Service;
    service.from = node::config::From::Start;
    receiver.hold();
    let mut cluster = Cluster::start_with(3, adds(&service)).await;
    let tokens = chats_of_all(&cluster).await;
    let mut wanted = 0;
    for (number, token) in tokens.iter().enumerate() {
        wanted += says(&cluster, token, number * 10..number * 10 + 5).await.len();
    }
    one_by_one(&receiver, wanted).await;
    assert_eq!(receiver.waited_at_once(), 1, "one at a time, of three nodes");
    for (number, token) in tokens.iter().enumerate() {
        wanted += says(&cluster, token, 100 + number * 10..105 + number * 10).await.len();
    }
    let holder = eventually("an attempt of a node that has the turn", async || {
        let turn = cluster.registry().get("services/crm/turn").await.map_err(|e| e.to_string())?;
        let turn: Value =
            turn.and_then(|it| serde_json::from_slice(&it.data).ok()).unwrap_or_default();
        let holder = ["n1", "n2", "n3"].iter().position(|node| turn["holder"] == *node);
        holder.filter(|_| receiver.waiting() == 1).ok_or_else(|| turn.to_string())
    })
    .await;
    // It dies in the middle of an attempt; its next life lets the others know at once that the turn is free.
    cluster.kill(holder).await;
    cluster.restart(holder).await;
    one_by_one(&receiver, wanted).await;
    assert_eq!(receiver.waited_at_once(), 1, "also after a take-over");
    receiver.open();
}

/// Two partitions at least that each node leads, with a chat in each.
async fn two_lanes_of_each(cluster: &Cluster) -> Vec<String> {
    let mut lanes: [BTreeMap<u64, String>; 3] = Default::default();
    while lanes.iter().any(|of| of.len() < 2) {
        let token = cluster.http(0).create().await;
        let primary = cluster.primary(&token).await;
        let owners = cluster.http(0).get(&format!("/v1/chats/{token}/owners")).await.expect(200);
        lanes[primary].insert(owners["partition"].as_u64().expect("a number"), token);
    }
    lanes.into_iter().flat_map(BTreeMap::into_values).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_passed_on_between_two_attempts_though_more_waits_in_other_lanes() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut service = webhook(&receiver, folder.path());
    service.order = node::config::Order::Service;
    service.from = node::config::From::Start;
    service.batch_events = 1;
    receiver.hold();
    let mut cluster = Cluster::start_with(3, adds(&service)).await;
    let tokens = two_lanes_of_each(&cluster).await;
    let mut wanted = 0;
    for (number, token) in tokens.iter().enumerate() {
        wanted += says(&cluster, token, number * 100..number * 100 + 8).await.len();
    }
    let mut holders = Vec::new();
    let mut come = 0;
    while come < wanted {
        eventually("one request", async || {
            come = texts(&receiver).len();
            if receiver.waiting() > 0 || come >= wanted { Ok(()) } else { Err(come) }
        })
        .await;
        holders.push(holder(&cluster).await);
        // As long as the service takes for each: whoever believes that it may sends meanwhile.
        runtime::sleep(Duration::from_millis(150)).await;
        receiver.let_go(receiver.waiting().min(1));
    }
    holders.dedup();
    assert!(holders.len() > 3, "it was passed on: {holders:?}");
    assert_eq!(receiver.waited_at_once(), 1, "one at a time, also while it is passed on");
    stops_in_an_attempt(&mut cluster, &receiver, &tokens).await;
}

/// A node that stops while its attempt is under way leaves the turn to those who miss it: the service may still be busy.
async fn stops_in_an_attempt(cluster: &mut Cluster, receiver: &Receiver, tokens: &[String]) {
    for (number, token) in tokens.iter().enumerate() {
        says(cluster, token, 1000 + number..1001 + number).await;
    }
    let holder = eventually("an attempt", async || {
        let holder = holder(cluster).await;
        let holder = ["n1", "n2", "n3"].iter().position(|node| holder == *node);
        holder.filter(|_| receiver.waiting() == 1).ok_or("nothing waits")
    })
    .await;
    cluster.stop(holder).await;
    let left = cluster.registry().get("services/crm/turn").await.expect("it is there");
    let left: Value = serde_json::from_slice(&left.expect("a turn").data).expect("JSON");
    assert_eq!(left["holder"], ["n1", "n2", "n3"][holder], "it was not given back");
    receiver.open();
}

/// Who has the turn.
async fn holder(cluster: &Cluster) -> String {
    let turn = cluster.registry().get("services/crm/turn").await.ok().flatten();
    let turn: Value = turn.and_then(|it| serde_json::from_slice(&it.data).ok()).unwrap_or_default();
    turn["holder"].as_str().unwrap_or_default().to_owned()
}

/// T-S11, of a process that stands still between its last look at the clock and its first byte, and is believed to be dead
/// meanwhile. The rule cannot keep it from sending when it goes on. What it sends is what the log froze: the same bytes
/// under the same id as whoever took over, so that nobody is told two things.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_before_its_first_byte_sends_what_others_have_sent() {
    /// The others miss a holder after 45 s, and before that its session and what it leads.
    const MISSED: Duration = Duration::from_secs(120);
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let lines = section(&receiver, folder.path(), "order = \"service\"\n");
    let Some(three) = Three::start_by(&lines, hooked::start).await else { return };
    let token = three.http(0).create().await;
    let mut said = vec!["before".to_owned()];
    three.http(0).send_surely(&token, "alice", "k0", "before").await;
    gets(&receiver, &said).await;
    let (holder, _) = three.primary(0, &token).await;
    let other = (holder + 1) % 3;
    hooked::stands_still_at(&three.config(holder), Point::Allowed);
    three.http(other).send_surely(&token, "alice", "k1", "in its hands").await;
    let process = three.node(holder).id();
    eventually("the holder to stand still", async || match stat(process) {
        Some(('T', _)) => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(texts(&receiver), said, "nothing was sent");
    three.http(other).send_surely(&token, "alice", "k2", "meanwhile").await;
    said.extend(["in its hands", "meanwhile"].map(str::to_owned));
    until(Deadline::after(MISSED), "another one to send it", async || {
        let texts = texts(&receiver);
        if texts.len() >= said.len() { Ok(()) } else { Err(texts) }
    })
    .await;
    three.node(holder).signal(Signal::CONT);
    let again = |it: &tests::Received| {
        it.events().iter().any(|event| event["data"]["text"] == "in its hands")
    };
    eventually("what it had in its hands", async || {
        let came = receiver.received().iter().filter(|it| again(it)).count();
        if came == 2 { Ok(()) } else { Err(came) }
    })
    .await;
    three.http(other).send_surely(&token, "alice", "k3", "after").await;
    said.push("after".to_owned());
    until(Deadline::after(MISSED), "everything", async || {
        let texts = texts(&receiver);
        if texts.len() >= said.len() { Ok(()) } else { Err(texts) }
    })
    .await;
    assert_eq!(texts(&receiver), said, "in order");
    let received = receiver.received();
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&received, id);
    let ids: Vec<_> = received.iter().filter(|it| again(it)).map(id).collect();
    assert!(ids.iter().all(|one| *one == ids[0]), "{ids:?}");
}
