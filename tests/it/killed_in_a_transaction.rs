//! Nodes that die between the steps of a transaction, and are taken over from there: the service gets everything, in
//! order, and what comes again comes under its id and with its bytes. Nodes of this process and processes at every step;
//! and processes that are killed while the service has a request in its hands.

use outbox::{Hook, Point, Says};
use tests::{Ambush, Cluster, HANGS, Receiver, eventually};

use crate::hooked;
use crate::services::{
    adds, checks_ids, described, gets, ids, says, section, texts, times, webhook,
};
use crate::three::Three;

const POINTS: [Point; 9] = [
    Point::Appending(Says::Frozen),
    Point::Appended(Says::Frozen),
    Point::Committed(Says::Frozen),
    Point::Sending,
    Point::Allowed,
    Point::Answered,
    Point::Appending(Says::Settled),
    Point::Appended(Says::Settled),
    Point::Committed(Says::Settled),
];

/// T-S1, of nodes. The one that leads the chat dies at each step, and another goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn the_primary_dies_at_every_step_of_a_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let ambush = Ambush::default();
    let waits = ambush.clone();
    let hook = Hook::new(move |node, point| waits.passes(node, point));
    let service = webhook(&receiver, folder.path());
    let hooked = |process: node::assemble::Process| process.with_service_hook(hook);
    let mut cluster = Cluster::start_in(3, adds(&service), hooked).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    for (round, point) in POINTS.into_iter().enumerate() {
        let victim = cluster.primary(&token).await;
        ambush.arm(victim, point);
        let text = format!("round-{round}");
        cluster.http(victim).send_surely(&token, "alice", &text, &text).await;
        said.push(text.clone());
        ambush.reached().await;
        cluster.kill(victim).await;
        let first = round * 10;
        said.extend(says(&cluster, &token, first..first + 3).await);
        gets(&receiver, &said).await;
        assert_eq!(ids(&receiver, &text).len(), 1, "{point:?}");
        cluster.restart(victim).await;
    }
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
    nothing_is_owed(&cluster, said.len()).await;
}

/// T-S1, of processes. The one that leads the chat kills itself with SIGKILL at each step, and another goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_dies_at_every_step_of_a_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let lines = section(&receiver, folder.path(), "");
    let Some(mut three) = Three::start_by(&lines, hooked::start).await else { return };
    let token = three.http(0).create().await;
    let mut said = Vec::new();
    for (round, point) in POINTS.into_iter().enumerate() {
        is_settled(&three, 0).await;
        let (victim, _) = three.primary(0, &token).await;
        let other = (victim + 1) % 3;
        hooked::dies_at(&three.config(victim), point);
        let text = format!("round-{round}");
        three.http(other).send_surely(&token, "alice", &text, &text).await;
        let ended = three.take(victim).end().await;
        assert_eq!(ended.code, None, "{point:?}: killed: {ended:?}");
        let came = times(&receiver, &text);
        let answered = matches!(
            point,
            Point::Answered
                | Point::Appending(Says::Settled)
                | Point::Appended(Says::Settled)
                | Point::Committed(Says::Settled)
        );
        // Another one may have gone on before this one's end was seen: how often it came in all is asked below.
        assert!(came >= usize::from(answered), "{point:?}: just there");
        said.push(text.clone());
        let later = format!("later-{round}");
        three.http(other).send_surely(&token, "alice", &later, &later).await;
        said.push(later.clone());
        // Nothing is missing, and nothing comes before what was said before it.
        gets(&receiver, &said).await;
        let settled = point == Point::Committed(Says::Settled);
        let most = usize::from(!settled && answered) + 1;
        assert!((1..=most).contains(&times(&receiver, &text)), "{point:?}: no oftener");
        assert_eq!(ids(&receiver, &text).len(), 1, "{point:?}: and under one id");
        three.restart(victim).await;
    }
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
}

/// Waits until the log knows that everything was taken: what dies next does so of what is said next.
async fn is_settled(three: &Three, node: usize) {
    let admin = tests::Http::new(&three.node(node).operators().await);
    eventually("nothing to be owed", async || {
        let told = admin.ask("GET", "/admin/v1/services", &[], None).await?.only(200)?.body;
        let service = &told["services"][0];
        let all = service["pending"] == 0 && told["silent"].as_array().is_some_and(Vec::is_empty);
        if all { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

/// T-I1, of nodes, and T-I12.
async fn nothing_is_owed(cluster: &Cluster, said: usize) {
    eventually("nothing to be owed", async || {
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        let service = &told["services"][0];
        let sums = ["pending", "parked"].map(|name| service[name].as_u64());
        let done = service["done"].as_u64().unwrap_or(0);
        let all = usize::try_from(done).is_ok_and(|done| done >= said);
        if sums == [Some(0); 2] && all { Ok(()) } else { Err(told) }
    })
    .await;
}

/// T-S1 and T-S2, of processes: `kill -9` of the node that leads while the service has a request and says nothing; while
/// it answers; and while requests fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_killed_while_the_service_has_its_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let lines = section(&receiver, folder.path(), "");
    let Some(mut three) = Three::start_with(&lines).await else { return };
    let token = three.http(0).create().await;
    let mut said = Vec::new();
    for (round, status) in [HANGS, 200, 503, 0].into_iter().enumerate() {
        let (victim, _) = three.primary(0, &token).await;
        let other = (victim + 1) % 3;
        let before = receiver.received().len();
        receiver.answer(move |_| status);
        let text = format!("round-{round}");
        three.http(other).send_surely(&token, "alice", &text, &text).await;
        said.push(text.clone());
        eventually("the request", async || {
            let count = receiver.received().len();
            if count > before { Ok(()) } else { Err(count) }
        })
        .await;
        three.take(victim).kill().await;
        receiver.answer(|_| 200);
        let later = format!("later-{round}");
        three.http(other).send_surely(&token, "alice", &later, &later).await;
        said.push(later);
        gets(&receiver, &said).await;
        assert_eq!(ids(&receiver, &text).len(), 1, "answered with {status}");
        three.restart(victim).await;
    }
    assert_eq!(texts(&receiver), said);
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
}
