//! The handlers of every simulated node: quick or slow, and of one mind, because a node that thinks
//! otherwise would be another version. Versions differ in their number only, and messages carry it.
//!
//! What a text begins with says what they do: `bad` is refused and counts a strike, `no` is refused and
//! leaves nothing, `help` is answered with a message, `slow` takes a while; `hold` is kept back until it ends by
//! itself, as `hold no` for good, or until somebody says `free`; `wait` starts a timer of its own.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, Handler, Later};
use model::{Attrs, Body, MessageId, Route};
use plugin::{
    Answered, Call, Draft, Effect, Event, Failure, Kind, OnFailure, Reply, Said, Verdict,
};

/// How long a slow one takes.
const SLOW: Duration = Duration::from_millis(40);

/// How long a message is kept back that is stored then, and one that is not.
const HELD_MS: [u32; 2] = [1_500, 400];
/// How long a timer runs.
const TIMER_MS: u32 = 300;
/// Who keeps messages back.
pub(crate) const KEEPER: &str = "keeper";

/// Counts strikes.
#[derive(Debug)]
struct Strict {
    version: String,
}

/// Answers who asks for help.
#[derive(Debug)]
struct Helper;

/// Keeps messages back, starts timers, and says when they end by themselves.
#[derive(Debug)]
struct Keeper;

/// All of them, as they are in one generation.
pub(crate) fn chain(generation: u64) -> Chain {
    let strict = Strict { version: generation.to_string() };
    Chain::of_generation(generation, vec![Arc::new(strict), Arc::new(Helper), Arc::new(Keeper)])
}

/// The text of a message that is text.
pub(crate) fn text(body: &Body) -> &str {
    match body {
        Body::Text(text) => text,
        Body::Json(_) | Body::Bytes { .. } | Body::Redacted(_) => "",
    }
}

impl Handler for Strict {
    fn name(&self) -> &str {
        "strict"
    }

    fn version(&self) -> &str {
        &self.version
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
            let text = format!("of {}", text(&said.message.body));
            reply(Verdict::Pass, vec![post(&call, text)])
        })
    }
}

impl Handler for Keeper {
    fn name(&self) -> &str {
        KEEPER
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Skip
    }

    fn kinds(&self) -> &[Kind] {
        &[Kind::Message, Kind::Events]
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        let text = text(&said.message.body);
        let (mut verdict, mut effects) = (Verdict::Pass, Vec::new());
        if text.starts_with("hold") {
            let accept = !text.starts_with("hold no");
            let deadline_ms = HELD_MS[usize::from(!accept)];
            verdict = Verdict::Hold { reason: text.to_owned(), deadline_ms, accept };
        } else if text.starts_with("wait") {
            effects.push(Effect::StartTimer { name: text.to_owned(), after_ms: TIMER_MS });
        } else if text.starts_with("free") {
            let held = call.waiting.iter().flat_map(|waiting| waiting.held.keys());
            effects.extend(held.map(|message| Effect::Release { message: *message }));
        }
        Box::pin(std::future::ready(reply(verdict, effects)))
    }

    fn on_event(&self, call: Call, event: Event) -> Later<'_, Result<Answered<()>, Failure>> {
        let attr = |wanted: &str| {
            let found = event.attrs.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let effects = match event.name {
            "timer.fired" => vec![post(&call, format!("ended {}", attr("name")))],
            "hold.expired" => vec![post(&call, format!("ended {}", attr("message")))],
            _ => Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Answered { answer: (), effects, fuel: 0 })))
    }
}

fn post(call: &Call, text: String) -> Effect {
    let ids = &call.ids;
    Effect::Post(Draft {
        id: MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index),
        kind: "text".into(),
        route: Route::Everyone,
        body: Body::Text(text),
        attrs: Attrs::new(),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler answers")]
fn reply(verdict: Verdict, effects: Vec<Effect>) -> Result<Reply, Failure> {
    Ok(Reply { verdict, notes: Vec::new(), effects, fuel: 0 })
}

fn reject(reason: &str) -> Verdict {
    Verdict::Reject { code: "no".into(), reason: reason.into(), retry_after_ms: None }
}
