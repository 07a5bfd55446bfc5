//! `carillon chat export`: a chat as lines of JSON, as the archive keeps those that are over.

use clap::Args;
use client::Client;
use model::ChatToken;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::chat::{Common, token};
use super::{Problem, archive, output, waiting};

/// Messages that are asked for at once.
const PAGE: u16 = 500;

/// What of a chat is no matter of how it was, but of how it stands.
const NOT_KEPT: [&str; 4] = ["cursor", "pending", "plugins", "archive"];

/// Prints a chat as lines of JSON: what it is, then each message.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon chat export 0123456789abcdef0123456789abcdef > chat.jsonl\n\nA chat that can \
                  still be read comes as a reader sees it: what was routed to nobody is only in its archive. Of one that is \
                  forgotten its archive is printed."
)]
pub(super) struct Export {
    /// The chat
    token: String,
    #[command(flatten)]
    common: Common,
}

/// A page, with its messages as they came.
#[derive(Debug, Deserialize)]
struct RawPage {
    messages: Vec<Box<RawValue>>,
    cursor: String,
    more: bool,
}

impl Export {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        let head = match waiting::answer(&client, client.get(&format!("/v1/chats/{token}"))).await {
            Ok(shown) => head(&shown)?,
            Err(error) => return forgotten(&client, error).await,
        };
        if !output::line(head)? {
            return Ok(());
        }
        live(&client, token).await
    }
}

/// Every message that can be read, a line each.
async fn live(client: &Client, token: ChatToken) -> Result<(), Problem> {
    let mut path = format!("/v1/chats/{token}/messages?limit={PAGE}");
    loop {
        let bytes = waiting::answer(client, client.get(&path)).await?;
        let page: RawPage = serde_json::from_slice(&bytes).map_err(|error| strange(&error))?;
        for message in &page.messages {
            if !output::line(one_line(message.get()))? {
                return Ok(());
            }
        }
        if !page.more {
            return Ok(());
        }
        path = format!("/v1/chats/{token}/messages?limit={PAGE}&after={}", page.cursor);
    }
}

/// The first line, of what a node shows of the chat.
fn head(shown: &[u8]) -> Result<Value, Problem> {
    let mut chat: Map<String, Value> =
        serde_json::from_slice(shown).map_err(|error| strange(&error))?;
    chat.retain(|name, _| !NOT_KEPT.contains(&name.as_str()));
    let mut head = Map::from_iter([("carillon_chat".to_owned(), Value::from(1))]);
    head.append(&mut chat);
    Ok(Value::Object(head))
}

/// JSON has line ends between its words only.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

fn strange(error: &serde_json::Error) -> Problem {
    let what = format!("the answer is not what a node says: {error}");
    Problem::failed(what, "See whether it is a node of Carillon that answers there")
}

/// A chat that is not there any more, but in the archive: as it stands there.
async fn forgotten(client: &Client, error: client::Error) -> Result<(), Problem> {
    match error.problem().and_then(|problem| problem.archive.clone()) {
        Some(client::Archived { collection, key }) => {
            archive::print(client, &collection, &key).await
        }
        None => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{head, one_line};
    use serde_json::json;

    #[test]
    fn the_first_line_is_what_the_chat_was() {
        let shown = json!({
            "token": "t", "status": "ended", "cursor": "1-1", "created_ms": 5, "participants": [],
            "attrs": {}, "plugins": {"status": "1"}, "archive": {"collection": "chats", "key": "t"},
        });
        let expected = json!({
            "carillon_chat": 1, "token": "t", "status": "ended", "created_ms": 5,
            "participants": [], "attrs": {},
        });
        assert_eq!(head(shown.to_string().as_bytes()).unwrap(), expected);
        assert!(head(b"[]").is_err());
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("{\r\n\"a\": 1}"), "{  \"a\": 1}");
    }
}
