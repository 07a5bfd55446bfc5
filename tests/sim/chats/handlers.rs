//! The handlers of every simulated node: quick or slow, and of one mind, because a node that thinks
//! otherwise would be another version.
//!
//! What a text begins with says what they do: `bad` is refused and counts a strike, `no` is refused and
//! leaves nothing, `help` is answered with a message, `slow` takes a while.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, Handler, Later};
use model::{Attrs, Body, MessageId, Route};
use plugin::{Call, Draft, Effect, Failure, OnFailure, Reply, Said, Verdict};

/// How long a slow one takes.
const SLOW: Duration = Duration::from_millis(40);

/// Counts strikes.
#[derive(Debug)]
struct Strict;

/// Answers who asks for help.
#[derive(Debug)]
struct Helper;

/// Both.
pub(crate) fn chain() -> Chain {
    Chain::new(vec![Arc::new(Strict), Arc::new(Helper)])
}

/// The text of a message that is text.
pub(crate) fn text(body: &Body) -> &str {
    match body {
        Body::Text(text) => text,
        Body::Json(_) | Body::Bytes { .. } => "",
    }
}

impl Handler for Strict {
    fn name(&self) -> &str {
        "strict"
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Reject
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let text = text(&said.message.body);
            if text.starts_with("slow") {
                runtime::sleep(SLOW).await;
            }
            if text.starts_with("no") {
                return reply(reject("never"), Vec::new());
            }
            if !text.starts_with("bad") {
                return reply(Verdict::Pass, Vec::new());
            }
            let before = call.notes.get("strikes").and_then(|value| value.first());
            let strikes = before.unwrap_or(&0).wrapping_add(1);
            let note = Effect::Note { key: "strikes".into(), value: Some(vec![strikes]) };
            reply(reject(&format!("strike {strikes}")), vec![note])
        })
    }
}

impl Handler for Helper {
    fn name(&self) -> &str {
        "helper"
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Skip
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            if !text(&said.message.body).starts_with("help") {
                return reply(Verdict::Pass, Vec::new());
            }
            let ids = &call.ids;
            let draft = Draft {
                id: MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index),
                kind: "text".into(),
                route: Route::Everyone,
                body: Body::Text(format!("of {}", text(&said.message.body))),
                attrs: Attrs::new(),
            };
            reply(Verdict::Pass, vec![Effect::Post(draft)])
        })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler answers")]
fn reply(verdict: Verdict, effects: Vec<Effect>) -> Result<Reply, Failure> {
    Ok(Reply { verdict, notes: Vec::new(), effects, fuel: 0 })
}

fn reject(reason: &str) -> Verdict {
    Verdict::Reject { code: "no".into(), reason: reason.into(), retry_after_ms: None }
}
