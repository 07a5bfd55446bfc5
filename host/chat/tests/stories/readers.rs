//! What readers see, and when.

use std::time::Duration;

use chat::{CallContext, Chain, Code, Config, Read, Request, RequestOutcome, Response, Send};
use model::{Cursor, Route};

use crate::stage::{
    Asking, Keeps, Stage, context, message, page, read, reading, refused, send, sent, texts, wait,
    waits,
};

#[tokio::test]
async fn a_reader_who_waits_wakes_when_something_is_committed() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let mut first = stage.ask(0, wait(token, None));
    waits(&mut first).await;
    stage.hold();
    let mut saying = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut saying).await;
    waits(&mut first).await;
    stage.world.commit();
    let first = page(first.await);
    assert_eq!(texts(&first), ["hello"]);
    assert_eq!(first.cursor, sent(saying.await).cursor);
    assert_eq!((first.head, first.more), (first.cursor, false));
    let mut next = stage.ask(0, wait(token, Some(first.cursor)));
    waits(&mut next).await;
}

/// Who read by time lost one of two messages of one moment, and all that were said by a clock that was behind.
#[tokio::test]
async fn of_messages_of_one_moment_none_is_passed_over() {
    let stage = Stage::new(vec![Chain::default(), Chain::default()], Config::default());
    stage.world.look().wall_ms = 10_000;
    let token = stage.chat().await;
    let mut said = Vec::new();
    for (key, wall_ms) in [("a", 10_000), ("b", 10_000), ("c", 11_000), ("d", 9_000)] {
        stage.world.look().wall_ms = wall_ms;
        said.push(stage.say(token, key, key).await);
    }
    // Another leader, whose clock is behind.
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    stage.world.look().wall_ms = 1_000;
    said.push(sent(stage.ask(1, send(token, "e", "e")).await));
    let times: Vec<u64> = said.iter().map(|sent| sent.message.time_ms).collect();
    assert_eq!(times, [10_000, 10_000, 11_000, 11_000, 11_000]);
    for (number, sent) in said.iter().enumerate() {
        let after = texts(&page(stage.ask(0, read(token, Some(sent.cursor))).await));
        assert_eq!(after, ["a", "b", "c", "d", "e"][number + 1..]);
    }
}

#[tokio::test]
async fn joins_and_refusals_wake_nobody() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let mut reader = stage.ask(0, wait(token, None));
    waits(&mut reader).await;
    let join = Request::Join { token, id: "bob".into(), role: None, attrs: Default::default() };
    assert_eq!(stage.ask(0, join).await, Ok(Response::Joined { ordinal: 1 }));
    waits(&mut reader).await;
}

#[tokio::test]
async fn a_wait_that_is_over_answers_nothing_and_the_same_cursor() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let said = stage.say(token, "k1", "hello").await.cursor;
    let short = Read { wait_ms: 20, ..reading(token, Some(said)) };
    let nothing = page(stage.ask(0, Request::Read(short)).await);
    assert_eq!((nothing.messages.len(), nothing.cursor, nothing.head), (0, said, said));
    let never = Read { wait_ms: 20, ..reading(stage.chat().await, None) };
    let nothing = page(stage.ask(0, Request::Read(never)).await);
    assert_eq!((nothing.cursor, nothing.more), (Cursor::default(), false));
}

#[tokio::test]
async fn a_node_that_stops_answers_its_readers_and_takes_nothing_new() {
    let stage = Stage::new(vec![Chain::default(), Chain::default()], Config::default());
    let token = stage.chat().await;
    let said = stage.say(token, "k1", "hello").await.cursor;
    let mut here = stage.ask(0, wait(token, Some(said)));
    let mut through_another = stage.ask(1, wait(token, Some(said)));
    waits(&mut here).await;
    waits(&mut through_another).await;
    stage.chats[1].drain();
    assert_eq!(page(through_another.await).cursor, said);
    waits(&mut here).await;
    stage.chats[0].drain();
    let page = page(here.await);
    assert_eq!((page.messages.len(), page.cursor, page.more), (0, said, false));
    assert_eq!(refused(stage.ask(0, send(token, "k2", "more")).await).code, Code::NotReady);
    assert_eq!(stage.texts(0, token).await, ["hello"]);
    stage.chats[0].drained().await;
    assert!(stage.chats[0].readiness().stopping);
}

/// A reader waited for a leader that did not come, and got an empty page that nobody had looked for: with a
/// head behind what they had seen, or, for a confirmed read, behind what was acknowledged before it began.
#[tokio::test]
async fn who_is_sent_away_is_told_nothing_that_nobody_knows() {
    let config = Config { patience: Duration::from_millis(50), ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    let first = stage.say(token, "k1", "first").await.cursor;
    let said = stage.say(token, "k2", "second").await.cursor;
    let seen = |seen: Cursor| CallContext { seen: Some(seen), ..context() };
    let later = Cursor { seq: said.seq + 1, ..said };

    // Through a node that stops.
    let call = |request, context| -> Asking<'_> { Box::pin(stage.chats[1].call(request, context)) };
    let confirmed = || match wait(token, Some(said)) {
        Request::Read(read) => Request::Read(Read { confirmed: true, ..read }),
        other => other,
    };
    let mut plain = call(wait(token, Some(said)), seen(said));
    let mut sure = call(confirmed(), context());
    waits(&mut plain).await;
    waits(&mut sure).await;
    stage.chats[1].drain();
    assert_eq!(page(plain.await).head, said);
    assert_eq!(refused(sure.await).code, Code::NotReady);

    // On a reign that ends, with nobody after it.
    let mut plain = stage.ask(0, wait(token, Some(said)));
    let mut sure = stage.ask(0, confirmed());
    waits(&mut plain).await;
    waits(&mut sure).await;
    stage.world.close();
    assert_eq!(page(plain.await).head, said);
    assert_eq!(refused(sure.await).code, Code::NotReady);

    // Whoever leads next has not what they had seen.
    for after in [None, Some(first)] {
        let lost = stage.chats[0].call(wait(token, after), seen(later)).await;
        assert_eq!(refused(lost).code, Code::NotReady, "{after:?}");
    }
}

#[tokio::test]
async fn nobody_sees_what_is_not_for_them_and_every_cursor_counts_it() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.say(token, "k1", "all").await;
    let routed =
        |key: &str, text: &str, route| Request::Send(Send { route, ..message(token, key, text) });
    sent(stage.ask(0, routed("k2", "bob's", Route::Only(vec!["bob".into()]))).await);
    let last = sent(stage.ask(0, routed("k3", "nobody's", Route::Nobody)).await).cursor;
    let as_reader = |reader: Option<&str>| {
        let reader = reader.map(str::to_owned);
        stage.ask(0, Request::Read(Read { reader, ..reading(token, None) }))
    };
    for (reader, wanted) in [
        (Some("bob"), vec!["all", "bob's"]),
        (Some("eve"), vec!["all"]),
        (None, vec!["all", "bob's"]),
    ] {
        let page = page(as_reader(reader).await);
        assert_eq!(texts(&page), wanted, "{reader:?}");
        assert_eq!((page.cursor, page.head, page.more, last.seq), (last, last, false, 3));
    }
    // What is hidden does not end a wait, and what is not hidden does.
    let reader = Some("eve".to_owned());
    let waiting = Read { reader, wait_ms: 8_000, ..reading(token, Some(last)) };
    let mut eve = stage.ask(0, Request::Read(waiting));
    sent(stage.ask(0, routed("k4", "bob's", Route::Only(vec!["bob".into()]))).await);
    waits(&mut eve).await;
    stage.say(token, "k5", "all again").await;
    assert_eq!(texts(&page(eve.await)), ["all again"]);
}

#[tokio::test]
async fn a_long_chat_is_read_in_pages_from_memory_and_from_the_log() {
    let config = Config { recent_bytes_max: 4_000, ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    let other = stage.chat().await;
    let mut wanted = Vec::new();
    for n in 0..200 {
        stage.say(token, &format!("k{n}"), &n.to_string()).await;
        if n % 3 == 0 {
            stage.say(other, &format!("k{n}"), "between").await;
        }
        wanted.push(n.to_string());
    }
    let read_all = async |at: usize, limit: u16| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let request = Request::Read(Read { limit, ..reading(token, after) });
            let page = page(stage.ask(at, request).await);
            assert!(page.messages.len() <= usize::from(limit));
            all.extend(texts(&page));
            after = Some(page.cursor);
            if !page.more {
                return all;
            }
            assert!(!page.messages.is_empty());
        }
    };
    for limit in [1, 7, 150, 1000] {
        assert_eq!(read_all(0, limit).await, wanted, "limit {limit}");
    }
    // Nothing of it is in the memory of the next primary.
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    assert_eq!(read_all(0, 90).await, wanted);
}

#[tokio::test]
async fn a_reader_who_keeps_up_costs_no_disk() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let mut after = None;
    let before = stage.world.look().reads;
    for n in 0..50 {
        let mut reader = stage.ask(0, wait(token, after));
        waits(&mut reader).await;
        stage.say(token, &format!("k{n}"), "hello").await;
        after = Some(page(reader.await).cursor);
    }
    assert_eq!(stage.world.look().reads, before);
}

#[tokio::test]
async fn a_page_ends_before_the_cursor_it_must_not_pass() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let mut cursors = Vec::new();
    for n in 0..5 {
        cursors.push(stage.say(token, &format!("k{n}"), &n.to_string()).await.cursor);
    }
    let between = Read { before: Some(cursors[3]), ..reading(token, Some(cursors[0])) };
    let one = Read { limit: 1, ..between.clone() };
    let first = page(stage.ask(0, Request::Read(one)).await);
    assert_eq!((texts(&first), first.more), (vec!["1".to_owned()], true));
    let page = page(stage.ask(0, Request::Read(between)).await);
    assert_eq!(texts(&page), ["1", "2"]);
    // Who reads on as long as there is more comes to an end.
    assert_eq!((page.cursor, page.head, page.more), (cursors[2], cursors[4], false));
}

#[tokio::test]
async fn a_cursor_is_a_promise_that_a_node_keeps_or_refuses() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    let said = stage.say(token, "k1", "hello").await.cursor;
    let newer = Cursor { epoch: said.epoch + 1, seq: 1 };
    let later = Cursor { seq: said.seq + 1, ..said };
    for cursor in [newer, later] {
        let refusal = refused(stage.ask(0, read(token, Some(cursor))).await);
        assert_eq!((refusal.code, refusal.retryable), (Code::Behind, true));
        assert_eq!(refusal.detail, "what you have seen is not committed here yet");
        let seen = CallContext { seen: Some(cursor), ..context() };
        let show = Request::Show { token, confirmed: false };
        assert_eq!(refused(stage.chats[0].call(show, seen).await).code, Code::Behind);
    }
    let seen = CallContext { seen: Some(newer), ..context() };
    let refusal = refused(stage.chats[0].call(send(token, "k2", "more"), seen).await);
    assert_eq!((refusal.code, refusal.outcome), (Code::Behind, Some(RequestOutcome::NotCommitted)));
    let seen = CallContext { seen: Some(said), ..context() };
    let Ok(Response::Chat(chat)) =
        stage.chats[0].call(Request::Show { token, confirmed: true }, seen).await
    else {
        panic!("not shown")
    };
    assert_eq!((chat.cursor, chat.participants.len()), (said, 1));
}

#[tokio::test]
async fn a_reader_who_has_seen_a_local_message_waits_until_it_is_committed() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.hold();
    let local = Send { acks: Some(1), ..message(token, "k1", "local") };
    let local = sent(stage.ask(0, Request::Send(local)).await).cursor;
    let mut reader = stage.ask(0, read(token, Some(local)));
    waits(&mut reader).await;
    stage.world.commit();
    let page = page(reader.await);
    assert_eq!((page.messages.len(), page.cursor), (0, local));
}

#[tokio::test]
async fn a_confirmed_read_is_not_answered_by_a_node_that_may_be_deposed() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    stage.say(token, "k1", "hello").await;
    let confirmed = || Request::Read(Read { confirmed: true, ..reading(token, None) });
    assert_eq!(texts(&page(stage.ask(0, confirmed()).await)), ["hello"]);
    stage.world.look().confirms = false;
    assert_eq!(refused(stage.ask(0, confirmed()).await).code, Code::NotReady);
}

#[tokio::test]
async fn only_so_many_readers_wait() {
    let config = Config { waiting_max: 2, ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    let mut first = stage.ask(0, wait(token, None));
    let mut second = stage.ask(0, wait(token, None));
    waits(&mut first).await;
    waits(&mut second).await;
    assert_eq!(refused(stage.ask(0, wait(token, None)).await).code, Code::Overloaded);
    drop(first);
    let mut third = stage.ask(0, wait(token, None));
    waits(&mut third).await;
    assert!(stage.texts(0, token).await.is_empty(), "who does not wait needs no place");
}

#[tokio::test]
async fn nobody_who_has_many_readers_waiting_takes_the_places_of_those_who_have_none() {
    let config = Config { waiting_max: 4, ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    // Also from another node: who asks goes with what they ask.
    let of = |at: usize, caller: u64| {
        let context = CallContext { caller, ..context() };
        let asking = stage.chats[at].call(wait(token, None), context);
        Box::pin(asking) as Asking<'_>
    };
    let mut greedy = [of(0, 1), of(1, 1)];
    for reader in &mut greedy {
        waits(reader).await;
    }
    for at in [0, 1] {
        let refusal = refused(of(at, 1).await);
        assert_eq!((refusal.code, refusal.retryable), (Code::Overloaded, true));
        assert!(refusal.detail.contains("you have"), "{}", refusal.detail);
    }
    let mut other = of(1, 2);
    waits(&mut other).await;
    // Whoever waits is told all the same.
    stage.say(token, "k1", "hello").await;
    let [first, second] = greedy;
    for reader in [first, second, other] {
        assert_eq!(texts(&page(reader.await)), ["hello"]);
    }
}

#[tokio::test]
async fn who_has_seen_what_was_withdrawn_is_told_after_which_message_it_was() {
    let stage = Stage::new(vec![Chain::default(), Chain::default()], Config::default());
    let token = stage.chat().await;
    let kept = stage.say(token, "k1", "kept").await.cursor;
    assert_eq!(page(stage.ask(0, read(token, Some(kept))).await).gap, None);
    let gone = Cursor { seq: kept.seq + 1, ..kept };
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    // At once: they need not wait for something to be said to hear that.
    let mut asking = stage.ask(1, wait(token, Some(gone)));
    let mut told = None;
    for _turn in 0..200 {
        tokio::select! {
            biased;
            answer = &mut asking, if told.is_none() => told = Some(page(answer)),
            () = tokio::task::yield_now() => {}
        }
    }
    let told = told.expect("an answer, and no wait");
    assert_eq!((told.gap, told.cursor, told.messages.len()), (Some(kept), kept, 0));
    let mut on = stage.ask(1, wait(token, Some(told.cursor)));
    waits(&mut on).await;
    sent(stage.ask(1, send(token, "k2", "instead")).await);
    let told = page(on.await);
    assert_eq!((told.gap, texts(&told)), (None, vec!["instead".to_owned()]));
    let told = page(stage.ask(0, read(token, Some(gone))).await);
    assert_eq!((told.gap, texts(&told)), (Some(kept), vec!["instead".to_owned()]));
    for start in [None, Some(Cursor::default())] {
        assert_eq!(page(stage.ask(1, read(token, start)).await).gap, None, "{start:?}");
    }
}
