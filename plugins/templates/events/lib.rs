//! Who comes is greeted, and asked after a while whether they are there.

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

use carillon::plugin::types::{CapError, Content, Draft, Route};
use carillon::plugin::{kv, post, settings, timers};
use exports::carillon::plugin::chat_events::{self, Context, Event, Failure};
use exports::carillon::plugin::lifecycle::{self, Problem};

struct Plugin;

export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn check_config(_config: String) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, detail: &str| {
            problems.push(Problem { path: path.into(), detail: detail.into() });
        };
        if settings::text("greeting").is_none_or(|greeting| greeting.is_empty()) {
            problem("greeting", "missing or empty: write greeting = \"welcome\"");
        }
        if patience_s().is_none() {
            problem("patience_s", "missing or no number: write patience_s = 60");
        }
        problems
    }
}

/// How long after somebody came it is asked whether they are there.
fn patience_s() -> Option<u32> {
    settings::one("patience_s")?.parse().ok()
}

impl chat_events::Guest for Plugin {
    fn on_event(_: Context, event: Event) -> Result<(), Failure> {
        let done = match (event.name.as_str(), event.subject) {
            ("member.joined", Some(who)) => welcome(&who.id),
            ("timer.fired", _) => say(Route::Everyone, "is anybody there?"),
            // There are more, and may be more one day: chat.started, chat.ended, member.left …
            _ => Ok(()),
        };
        done.map_err(failed)
    }
}

fn welcome(who: &str) -> Result<(), CapError> {
    let key = format!("greeted/{who}");
    if kv::get(&key)?.is_none() {
        kv::set(&key, b"yes")?;
        say(Route::Only(vec![who.into()]), &settings::text("greeting").unwrap_or_default())?;
    }
    // A timer of the same name that runs already starts anew.
    timers::start("patience", patience_s().unwrap_or(60).saturating_mul(1000))
}

fn say(route: Route, text: &str) -> Result<(), CapError> {
    let content = Content { media_type: "text/plain".into(), body: text.into() };
    post::send(&Draft { kind: "text".into(), route, content, attrs: vec![] }).map(drop)
}

/// A power said no: nothing of this call happens.
fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
