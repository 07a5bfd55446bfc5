//! A take-over begins with a snapshot, if the log agrees with it.

use bytes::Bytes;
use chat::{Chain, Config, Request};
use model::ChatToken;
use segment::Snapshot;

use crate::stage::{Keeps, Stage, refused, send, sent};

/// Messages of a story: more than the entries after which a snapshot is due.
const MESSAGES: usize = 40;

/// Two nodes, and a chat with everything that a fold holds. The first node leads it.
async fn told() -> (Stage, ChatToken) {
    let config = Config { snapshot_entries: 20, ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    for number in 0..MESSAGES {
        stage.say(token, &number.to_string(), &format!("text {number}")).await;
    }
    (stage, token)
}

/// The snapshot that the nodes keep.
async fn kept(stage: &Stage) -> Snapshot {
    stage.until(|world| world.snapshot.clone()).await
}

/// The second node takes over; how many entries it read for that.
async fn taken_over(stage: &Stage) -> usize {
    stage.world.close();
    stage.world.look().entries_read = 0;
    stage.world.open(1, Keeps::Committed);
    let read = stage.ask(1, crate::stage::read(ChatToken([0; 16]), None)).await;
    refused(read);
    stage.world.look().entries_read
}

/// Everything is there after a take-over: the messages, the keys, the end.
async fn is_whole(stage: &Stage, token: ChatToken) {
    let texts: Vec<String> = (0..MESSAGES).map(|number| format!("text {number}")).collect();
    assert_eq!(stage.texts(1, token).await, texts);
    for number in [0, MESSAGES / 2, MESSAGES - 1] {
        let again = send(token, &number.to_string(), &format!("text {number}"));
        assert!(sent(stage.ask(1, again).await).replay, "{number}");
    }
    assert!(!sent(stage.ask(1, send(token, "new", "new")).await).replay);
}

#[tokio::test]
async fn who_takes_over_reads_the_tail_and_knows_everything() {
    let (stage, token) = told().await;
    let snapshot = kept(&stage).await;
    assert!(snapshot.place.seq >= 20, "{snapshot:?}");
    let read = taken_over(&stage).await;
    let end = stage.world.look().log.len();
    let tail = end - usize::try_from(snapshot.place.seq).unwrap();
    // And the one at the snapshot's place, to compare.
    assert!(read <= tail + 1, "{read} entries of {end} were read");
    is_whole(&stage, token).await;
}

#[tokio::test]
async fn an_ended_chat_has_its_end_also_out_of_a_snapshot() {
    let (stage, token) = told().await;
    let end = stage.ask(0, Request::End { token, sender: None }).await;
    assert!(end.is_ok(), "{end:?}");
    let shown = stage.ask(0, Request::Show { token, confirmed: false }).await;
    let before = stage.world.look().log.len() as u64;
    stage.until(|world| world.snapshot.clone().filter(|it| it.place.seq + 20 > before)).await;
    taken_over(&stage).await;
    assert_eq!(stage.ask(1, Request::Show { token, confirmed: false }).await, shown);
}

/// Whatever is wrong with a snapshot: it is not used, everything is there all the same, and another one is
/// kept soon.
async fn is_not_believed(spoil: impl Fn(&mut Snapshot)) {
    let (stage, token) = told().await;
    let good = kept(&stage).await;
    spoil(stage.world.look().snapshot.as_mut().unwrap());
    let read = taken_over(&stage).await;
    let end = stage.world.look().log.len();
    assert!(read >= end, "{read} entries of {end} were read");
    is_whole(&stage, token).await;
    assert!(kept(&stage).await.place.seq >= good.place.seq);
}

#[tokio::test]
async fn a_snapshot_of_another_log_is_not_believed() {
    is_not_believed(|it| it.place.chain.0[0] ^= 1).await;
}

#[tokio::test]
async fn a_snapshot_of_another_epoch_is_not_believed() {
    is_not_believed(|it| it.place.epoch += 1).await;
}

#[tokio::test]
async fn a_snapshot_of_a_place_that_is_not_there_is_not_believed() {
    is_not_believed(|it| it.place.seq += 1_000_000).await;
}

#[tokio::test]
async fn a_snapshot_of_a_newer_version_is_not_believed() {
    is_not_believed(|it| it.parts = vec![Bytes::from_static(&[99, 1, 2, 3])]).await;
}

#[tokio::test]
async fn a_snapshot_that_makes_no_sense_is_not_believed() {
    is_not_believed(|it| it.parts = vec![Bytes::from_static(&[1, 77, 2, 3])]).await;
}

#[tokio::test]
async fn a_snapshot_that_was_cut_off_is_not_believed() {
    is_not_believed(|it| {
        let part = it.parts.pop().unwrap();
        it.parts.push(part.slice(..part.len() / 2));
    })
    .await;
}

/// What is appended and not committed is in no snapshot.
#[tokio::test]
async fn what_is_not_committed_is_in_no_snapshot() {
    let (stage, token) = told().await;
    stage.hold();
    let mut waiting = Vec::new();
    for number in 0..30 {
        let mut late = stage.ask(0, send(token, &format!("late {number}"), "late"));
        crate::stage::waits(&mut late).await;
        waiting.push(late);
    }
    let committed = stage.world.look().committed;
    let snapshot = kept(&stage).await;
    assert!(snapshot.place.seq <= committed);
    assert_eq!(Some(snapshot.place), stage.world.look().at(snapshot.place.seq));
}
