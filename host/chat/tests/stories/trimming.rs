//! A log that lost its beginning: what is read again is kept, what is forgotten is not, and whoever takes over
//! knows everything that there is to know.

use std::time::Duration;

use chat::{Chain, Code, Collect, Config, Request, Trim};
use model::{ChatToken, encode};

use crate::stage::{Keeps, Stage, read, refused, send, sent};

const DAY_MS: u64 = 86_400_000;

/// Two nodes on one disk, which trim and forget; the first leads.
fn stage() -> Stage {
    let forget = Some(Duration::from_millis(DAY_MS));
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    let config = Config {
        collect: Collect { every, pause, forget, ..Collect::default() },
        trim: Some(Trim { entries: 8, bytes: 1 << 20 }),
        snapshot_entries: 10,
        ..Config::default()
    };
    Stage::new(vec![Chain::default(), Chain::default()], config)
}

/// The entries of a chat that can be read below where the log begins, once that is behind `seq`.
async fn kept(stage: &Stage, token: ChatToken, seq: u64) -> usize {
    stage
        .until(|world| {
            let (base, kept) = world.base.as_ref().filter(|(base, _)| base.place.seq >= seq)?;
            let entries = world.log.iter().filter(|it| it.seq <= base.place.seq);
            let of = entries.filter(|it| kept.contains(&it.seq));
            Some(
                of.filter(|it| encode::decode(&it.payload).is_ok_and(|it| it.chat == token))
                    .count(),
            )
        })
        .await
}

#[tokio::test]
async fn what_is_read_again_is_kept_and_what_is_forgotten_is_not() {
    let stage = stage();
    let (old, open) = (stage.chat().await, stage.chat().await);
    for number in 0..10 {
        stage.say(old, &number.to_string(), "old").await;
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    let middle = stage.world.look().log.len() as u64;
    for number in 10..40 {
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    assert_eq!(kept(&stage, old, middle).await, 10, "all that was said, and nothing else");
    stage.ask(0, Request::End { token: old, sender: None }).await.unwrap();
    stage.world.look().wall_ms += DAY_MS;
    let forgotten = |last: &segment::LogEntry| last.payload[0] == 3;
    let forgets =
        stage.until(|world| world.log.iter().find(|it| forgotten(it)).map(|it| it.seq)).await;
    for number in 40..90 {
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    assert_eq!(kept(&stage, old, forgets).await, 0);
    // The other node takes over, with no snapshot to help.
    stage.world.close();
    stage.world.look().snapshot = None;
    stage.world.look().entries_read = 0;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(refused(stage.ask(1, read(old, None)).await).code, Code::UnknownChat);
    let tail = {
        let inner = stage.world.look();
        let base = inner.base.as_ref().map_or(0, |(base, _)| base.place.seq);
        assert!(inner.entries_read <= inner.log.len(), "{}", inner.entries_read);
        inner.log.len() as u64 - base
    };
    assert!(tail < 60, "{tail} entries stay");
    let texts: Vec<String> = (0..90).map(|number| format!("text {number}")).collect();
    assert_eq!(stage.texts(1, open).await, texts);
    for number in [0, 20, 89] {
        let again = send(open, &number.to_string(), &format!("text {number}"));
        assert!(sent(stage.ask(1, again).await).replay, "{number}");
    }
    assert!(!sent(stage.ask(1, send(open, "new", "new")).await).replay);
}
