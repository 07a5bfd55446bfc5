//! Handlers that are replaced while messages are on their way.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, Code, Config, Handler, LiveChain, Request, RequestOutcome, Response};
use model::Body;
use plugin::Verdict;

use crate::stage::scripted::{Scripted, chain, reject, text, verdict};
use crate::stage::{Keeps, Stage, refused, send, sent};

/// Writes its name over whatever is said.
fn writes(name: &'static str) -> Arc<Scripted> {
    Scripted::new(name, move |call| match text(call) {
        "bad" => verdict(reject(name)),
        _ => verdict(Verdict::Rewrite(Body::Text(name.into()))),
    })
}

fn of(generation: u64, handlers: &[&Arc<Scripted>]) -> Chain {
    let handler = |each: &&Arc<Scripted>| -> Arc<dyn Handler> { Arc::<Scripted>::clone(each) };
    Chain::of_generation(generation, handlers.iter().map(handler).collect())
}

fn impatient() -> Config {
    Config { patience: Duration::from_millis(50), ..Config::default() }
}

#[tokio::test]
async fn a_turn_ends_with_the_handlers_it_began_with() {
    let (old, second, new) = (writes("old"), writes("second"), writes("new"));
    let live = LiveChain::from(of(1, &[&old, &second]));
    let stage = Stage::new(vec![live.clone()], Config::default());
    let token = stage.chat().await;
    old.close_gate();
    let first = stage.ask(0, send(token, "k1", "one"));
    let (first, ()) = tokio::join!(first, async {
        // By now its first handler is asked and cannot answer.
        assert!(live.switch(of(2, &[&new])));
        old.open_gate();
    });
    let by = |sent: &chat::Sent| -> Vec<String> {
        sent.message.stamps.iter().map(|stamp| stamp.plugin.clone()).collect()
    };
    assert_eq!(by(&sent(first)), ["old", "second"]);
    assert_eq!(by(&sent(stage.ask(0, send(token, "k2", "two")).await)), ["new"]);
    assert_eq!((old.calls(), second.calls(), new.calls()), (2, 2, 1), "the join too");
}

/// S28. The new primary has missed a swap: it says so instead of answering by the earlier handlers, also where
/// the later ones only said no; and answers once it has the later ones.
#[tokio::test]
async fn s28_a_chat_does_not_meet_earlier_handlers_after_a_take_over() {
    for (said, before) in [("fine", Ok(())), ("bad", Err(Code::Rejected))] {
        let (old, new) = (writes("old"), writes("new"));
        let lives = [of(2, &[&new]), of(1, &[&old])].map(LiveChain::from);
        let stage = Stage::new(lives.to_vec(), impatient());
        let (token, untouched) = (stage.chat().await, stage.chat().await);
        let first = stage.ask(0, send(token, "k1", said)).await;
        assert_eq!(first.map(drop).map_err(|refusal| refusal.code), before);

        stage.world.close();
        stage.world.open(1, Keeps::Everything);
        let behind = refused(stage.ask(1, send(token, "k2", "again")).await);
        assert_eq!(behind.code, Code::NotReady, "{behind}");
        assert_eq!(behind.outcome, Some(RequestOutcome::NotCommitted));
        assert!(behind.retryable && behind.detail.contains("generation 2"), "{behind}");
        assert_eq!(old.calls(), 0, "the earlier handlers were never asked");
        // A chat that the later handlers have not seen need not wait for them.
        sent(stage.ask(1, send(untouched, "k", "hello")).await);
        assert!(old.calls() > 0);

        assert!(lives[1].switch(of(2, &[&new])));
        let again = sent(stage.ask(1, send(token, "k2", "again")).await);
        assert_eq!(again.message.stamps[0].plugin, "new");
    }
}

/// Nobody is asked whether a chat may end, but who the handlers are is recorded with it.
#[tokio::test]
async fn a_chat_is_not_ended_by_earlier_handlers_than_it_has_met() {
    let (old, new) = (writes("old"), writes("new"));
    let lives = [of(2, &[&new]), of(1, &[&old])].map(LiveChain::from);
    let stage = Stage::new(lives.to_vec(), impatient());
    let token = stage.chat().await;
    sent(stage.ask(0, send(token, "k", "hello")).await);
    stage.world.close();
    stage.world.open(1, Keeps::Everything);
    let end = || Request::End { token, sender: Some("alice".into()) };
    let behind = refused(stage.ask(1, end()).await);
    assert_eq!(behind.code, Code::NotReady, "{behind}");
    assert_eq!(behind.outcome, Some(RequestOutcome::NotCommitted));
    assert!(lives[1].switch(of(2, &[&new])));
    let ended = stage.ask(1, end()).await;
    assert!(matches!(ended, Ok(Response::Ended { .. })), "{ended:?}");
}

#[tokio::test]
async fn nothing_is_decided_before_there_are_handlers() {
    let live = LiveChain::default();
    let stage = Stage::new(vec![live.clone()], impatient());
    let token = stage.chat().await;
    let early = refused(stage.ask(0, send(token, "k", "hello")).await);
    assert_eq!(early.code, Code::NotReady, "{early}");
    assert!(live.switch(chain(&[])));
    sent(stage.ask(0, send(token, "k", "hello")).await);
}
