//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::log::{self, Level};
use crate::bindings::carillon::plugin::types::{self, CapError, Content, Draft, Message, Position};
use crate::bindings::carillon::plugin::{history, kv, post, settings};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::twilio_handler::{
    self, Context, Failure, Request, Verb,
};
use crate::{Asked, Earlier, NotAnswered, OVER, Place, Post, Route, check, decide, replies};

/// Messages that are looked at for one text: what is granted.
const LOOKED_AT: u32 = 20;

/// What the component exports.
pub(crate) struct Sms;

impl lifecycle::Guest for Sms {
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        let problems = check(&config).into_iter();
        problems.map(|(path, detail)| lifecycle::Problem { path, detail }).collect()
    }
}

impl twilio_handler::Guest for Sms {
    fn on_request(context: Context, request: Request) -> Result<Vec<Verb>, Failure> {
        let asked = Asked {
            path: &request.path,
            sid: &request.sid,
            from: &request.caller,
            params: &request.params,
        };
        let Some(message) = decide(asked).map_err(not_answered)? else { return Ok(Vec::new()) };
        if context.status == "ended" {
            return Ok(vec![Verb::Message(setting("over").unwrap_or_else(|| OVER.to_owned()))]);
        }
        // Before it is said: what is new to the number is what others said.
        let mut texts = news(&request.caller, context.head);
        say(message).map_err(failed)?;
        texts.extend(setting("reply").filter(|reply| !reply.is_empty()));
        Ok(texts.into_iter().map(Verb::Message).collect())
    }
}

fn say(Post { text, attrs }: Post) -> Result<(), CapError> {
    let content = Content { media_type: "text/plain".to_owned(), body: text.into_bytes() };
    let (kind, route) = ("text".to_owned(), types::Route::Everyone);
    post::send(&Draft { kind, route, content, attrs }).map(|_id| ())
}

/// What others said since this number wrote last. A number that writes for the first time hears what comes from now on.
/// What cannot be read now, or not be noted, is not worth losing the text for.
fn news(number: &str, head: Position) -> Vec<String> {
    let key = format!("seen/{number}");
    let seen = kv::get(&key).ok().flatten();
    let seen = seen.and_then(|seen| String::from_utf8(seen).ok()?.parse::<Place>().ok());
    let here = place(head);
    let texts = match seen {
        None => Vec::new(),
        Some(seen) => {
            // The last one too.
            let after = Position { seq: head.seq.saturating_add(1), ..head };
            match history::before(after, LOOKED_AT) {
                Ok(earlier) => {
                    let earlier: Vec<Earlier> = earlier.into_iter().filter_map(read).collect();
                    replies(number, seen, &earlier)
                }
                Err(error) => {
                    log::emit(Level::Warn, &error.detail, &[]);
                    return Vec::new();
                }
            }
        }
    };
    if let Err(error) = kv::set(&key, here.to_string().as_bytes()) {
        log::emit(Level::Warn, &error.detail, &[]);
    }
    texts
}

fn read(message: Message) -> Option<Earlier> {
    let from = message.attrs.into_iter().find(|(name, _)| name == "from");
    let sender = message.sender.id;
    let is_text = message.kind == "text" && message.content.media_type == "text/plain";
    Some(Earlier {
        at: place(message.at?),
        // Anybody can say where a message is from; what this plugin wrote is the node's.
        from: from.map(|(_, from)| from).filter(|_| sender == "system"),
        sender,
        route: match message.route {
            types::Route::Everyone => Route::Everyone,
            types::Route::Nobody => Route::Nobody,
            types::Route::Only(names) => Route::Only(names),
        },
        text: is_text.then(|| String::from_utf8(message.content.body).ok()).flatten(),
    })
}

fn place(position: Position) -> Place {
    let Position { epoch, seq } = position;
    Place { epoch, seq }
}

fn setting(key: &str) -> Option<String> {
    settings::text(key)
}

fn not_answered(why: NotAnswered) -> Failure {
    let (code, detail) = match why {
        NotAnswered::Path => ("unknown-path", "sms answers at its channel and at status"),
        NotAnswered::NoSender => ("no-sender", "From is missing, or too long"),
    };
    Failure { code: code.to_owned(), detail: detail.to_owned(), retryable: false }
}

fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
