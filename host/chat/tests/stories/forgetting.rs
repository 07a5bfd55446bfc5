//! A chat that has been over for long is forgotten, where that is asked for, at the same place of every log.

use std::time::Duration;

use chat::{Chain, Code, Collect, Config, Request};
use model::{Change, ChatToken, encode};

use crate::stage::{Keeps, Stage, read, refused, send, wait, waits};

const DAY_MS: u64 = 86_400_000;

/// Two nodes that forget chats a day after their end; the first leads.
fn stage(forget: Option<Duration>) -> Stage {
    let collect =
        Collect { every: Duration::from_millis(5), pause: Duration::from_millis(1), forget };
    let config = Config { collect, snapshot_entries: 10, ..Config::default() };
    Stage::new(vec![Chain::default(), Chain::default()], config)
}

async fn ended(stage: &Stage) -> ChatToken {
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    token
}

/// How many entries forget a chat.
fn forgettings(stage: &Stage, token: ChatToken) -> usize {
    let inner = stage.world.look();
    let entries = inner.log.iter().filter_map(|logged| encode::decode(&logged.payload).ok());
    entries.filter(|it| it.chat == token && it.changes.contains(&Change::Forget)).count()
}

async fn is_forgotten(stage: &Stage, node: usize, token: ChatToken) {
    for request in [
        read(token, None),
        send(token, "1", "hello"),
        send(token, "2", "more"),
        Request::Show { token, confirmed: false },
        Request::End { token, sender: None },
    ] {
        assert_eq!(refused(stage.ask(node, request).await).code, Code::UnknownChat);
    }
}

#[tokio::test]
async fn a_chat_is_forgotten_when_it_has_been_over_for_so_long_and_stays_so() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let (old, open) = (ended(&stage).await, stage.chat().await);
    stage.world.look().wall_ms += DAY_MS - 1_000;
    let young = ended(&stage).await;
    stage.world.look().wall_ms += 1_000;
    stage.until(|world| world.log.last().filter(|last| last.payload[0] == 3).map(|_| ())).await;
    stage.until(|world| (world.committed == world.log.len() as u64).then_some(())).await;
    is_forgotten(&stage, 0, old).await;
    // Who folds the log, or a snapshot and the rest, makes the same of it.
    for index in 0..30 {
        stage.say(open, &index.to_string(), "and on").await;
    }
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    is_forgotten(&stage, 1, old).await;
    assert_eq!(stage.texts(1, open).await.len(), 30);
    assert_eq!(stage.texts(1, young).await, ["hello"]);
    assert_eq!((forgettings(&stage, old), forgettings(&stage, young)), (1, 0));
}

#[tokio::test]
async fn nothing_is_forgotten_unless_that_is_asked_for() {
    let stage = stage(None);
    let token = ended(&stage).await;
    stage.world.look().wall_ms += 4_000 * DAY_MS;
    stage.rest().await;
    assert_eq!(forgettings(&stage, token), 0);
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn a_forgetting_that_is_not_committed_is_told_to_nobody_and_can_be_withdrawn() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let token = ended(&stage).await;
    stage.world.look().commits = false;
    stage.world.look().wall_ms += DAY_MS;
    stage.until(|world| world.log.last().filter(|last| last.payload[0] == 3).map(|_| ())).await;
    let mut asking = stage.ask(0, read(token, None));
    waits(&mut asking).await;
    stage.world.close();
    stage.world.look().wall_ms -= DAY_MS;
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    let page = crate::stage::page(asking.await);
    assert_eq!(crate::stage::texts(&page), ["hello"]);
    assert_eq!(stage.texts(1, token).await, ["hello"]);
}

#[tokio::test]
async fn who_waits_in_a_chat_is_told_when_it_is_forgotten() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let token = ended(&stage).await;
    let page = crate::stage::page(stage.ask(0, read(token, None)).await);
    let mut asking = stage.ask(0, wait(token, Some(page.cursor)));
    waits(&mut asking).await;
    stage.world.look().wall_ms += DAY_MS;
    assert_eq!(refused(asking.await).code, Code::UnknownChat);
}
