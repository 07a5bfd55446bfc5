//! A node that lost its disk goes on from a backup that was made before the last things were said. What services had
//! of those they had; what they are owed they get; and no id that they have seen comes again with other bytes.

use std::collections::BTreeSet;

use tests::carillon::{Carillon, single};
use tests::{Received, Receiver, eventually};

use crate::backup::{backup, remove, stop};
use crate::services::{checks_ids, gets, section, texts};
use crate::three::{folder, text};

fn id(request: &Received) -> String {
    request.header("webhook-id").unwrap_or_default().to_owned()
}

/// T-S15.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_when_a_backup_is_made_comes_after_it_was_restored_and_under_ids_of_its_own() {
    let place = folder();
    let path = |name: &str| text(&place.path().join(name));
    let receiver = Receiver::start().await;
    let config = single(place.path(), &section(&receiver, place.path(), ""));
    let (copy, start) = (path("backup"), ["node", "--config", config.as_str()]);

    let running = Carillon::start(&start).await;
    let node = running.nodes[0].clone();
    let token = node.create().await;
    let mut said: Vec<String> = Vec::new();
    let mut says = async |node: &tests::Http, text: &str| {
        node.send_surely(&token, "alice", text, text).await;
        said.push(text.to_owned());
        said.clone()
    };
    let taken = says(&node, "taken").await;
    gets(&receiver, &taken).await;
    receiver.answer(|_| 503);
    says(&node, "owed, and tried").await;
    eventually("an attempt", async || {
        let refused = receiver.received().iter().filter(|it| it.status == 503).count();
        if refused > 0 { Ok(()) } else { Err(refused) }
    })
    .await;
    says(&node, "owed").await;
    stop(running).await;
    backup(&["create", "--config", &config, "--to", &copy]).await;

    // After the backup: the service takes what it was owed, and something that will be lost.
    receiver.answer(|_| 200);
    let running = Carillon::start(&start).await;
    let node = running.nodes[0].clone();
    let all = says(&node, "lost").await;
    gets(&receiver, &all).await;
    stop(running).await;
    remove(&place.path().join("data"));
    let before: BTreeSet<String> = receiver.received().iter().map(id).collect();
    let count = receiver.received().len();

    backup(&["found", &copy, "--config", &config]).await;
    let running = Carillon::start(&start).await;
    let node = running.nodes[0].clone();
    // What is said now stands where the lost message stood.
    let all = says(&node, "new").await;
    gets(&receiver, &all).await;
    let again = receiver.received().split_off(count);
    let come: Vec<_> = again.iter().flat_map(Received::events).collect();
    let come: Vec<_> = come.iter().filter_map(|event| event["data"]["text"].as_str()).collect();
    assert_eq!(come.first(), Some(&"owed, and tried"), "in order: {come:?}");
    assert!(come.contains(&"owed") && !come.contains(&"lost"), "{come:?}");
    checks_ids(&receiver.received(), id);
    assert!(again.iter().all(|request| !before.contains(&id(request))), "ids of its own");
    assert_eq!(texts(&receiver), all);
    stop(running).await;
}
