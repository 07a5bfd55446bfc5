//! `carillon chat`: chats from a shell, over HTTP like everybody else.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use client::{Body, Client, Error, Message, NewChat, NewMessage, Options, Reference, Route};
use model::{Attrs, ChatToken};
use serde_json::{Value, json};

use super::archive::Attached;
use super::bearer::BearerArgs;
use super::export::Export;
use super::{Problem, archive, chain, output, waiting};

/// How long somebody at a shell waits where nothing listens: a node that restarts may be back, a wrong
/// address never is.
pub(super) const NOBODY: Duration = Duration::from_secs(3);

/// Creates chats, sends to them and reads them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  TOKEN=$(carillon chat create)\n  carillon chat send $TOKEN \"hello\" \
                        --as alice"
)]
pub(super) struct Chat {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Send(Send),
    Tail(Tail),
    Show(Show),
    Join(Join),
    Leave(Leave),
    End(End),
    Export(Export),
}

/// Where to ask, and how to print.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// A node; more of them, with commas, are asked in turn when one does not answer
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:7081")]
    url: Vec<String>,
    #[command(flatten)]
    bearer: BearerArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Makes a chat and prints its token.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon chat create --max-participants 2")]
struct Create {
    #[command(flatten)]
    common: Common,
    /// How long it may last after it started, in seconds
    #[arg(long)]
    max_duration_s: Option<u64>,
    /// How many may be in it
    #[arg(long)]
    max_participants: Option<u32>,
}

/// Sends one message and prints its id.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon chat send 0123456789abcdef0123456789abcdef \"hello\" --as \
                        alice\n  carillon chat send 0123456789abcdef0123456789abcdef --attach bell.jpg --as \
                        alice\n\nAfter an unknown outcome, send again with the --key that was printed: \
                        it is stored once."
)]
struct Send {
    /// The chat
    token: String,
    /// What to say; with --attach it may be left out
    #[arg(required_unless_present = "attach")]
    text: Option<String>,
    /// Who says it; an access token says it by itself
    #[arg(long = "as", value_name = "NAME")]
    sender: Option<String>,
    /// What kind of message it is
    #[arg(long, default_value = "text")]
    kind: String,
    /// Only these see it, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// A file that goes with it: stored first, and gone when the message is taken back
    #[arg(long, value_name = "FILE")]
    attach: Option<String>,
    /// How many nodes must hold it before the answer; the commit quorum if not said
    #[arg(long, value_name = "W")]
    acks: Option<u8>,
    /// The idempotency key; a random one if not said
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Prints messages as they come, one a line.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon chat tail 0123456789abcdef0123456789abcdef --from-start"
)]
struct Tail {
    /// The chat
    token: String,
    /// Begins with its first message and not with the next one
    #[arg(long)]
    from_start: bool,
    /// Who reads: messages to others are left out
    #[arg(long = "as", value_name = "NAME")]
    reader: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Prints what a chat looks like now.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon chat show 0123456789abcdef0123456789abcdef")]
struct Show {
    /// The chat
    token: String,
    #[command(flatten)]
    common: Common,
}

/// Lets somebody join.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon chat join 0123456789abcdef0123456789abcdef bob")]
struct Join {
    /// The chat
    token: String,
    /// Who
    name: String,
    /// As what
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Lets somebody leave.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon chat leave 0123456789abcdef0123456789abcdef bob")]
struct Leave {
    /// The chat
    token: String,
    /// Who
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Ends a chat: nothing can be sent to it any more.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon chat end 0123456789abcdef0123456789abcdef --as alice")]
struct End {
    /// The chat
    token: String,
    /// Who ends it
    #[arg(long = "as", value_name = "NAME")]
    sender: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Chat {
    pub(super) fn run(self) -> Result<(), Problem> {
        super::small_runtime()?.block_on(async {
            match self.command {
                Command::Create(create) => create.run().await,
                Command::Send(send) => send.run().await,
                Command::Tail(tail) => tail.run().await,
                Command::Show(show) => show.run().await,
                Command::Join(join) => join.run().await,
                Command::Leave(leave) => leave.run().await,
                Command::End(end) => end.run().await,
                Command::Export(export) => export.run().await,
            }
        })
    }
}

impl Create {
    async fn run(self) -> Result<(), Problem> {
        let new = NewChat {
            max_duration_s: self.max_duration_s,
            max_participants: self.max_participants,
            attrs: Attrs::new(),
        };
        let client = self.common.client()?;
        let created = waiting::answer(&client, client.create(&new)).await?;
        self.common.print(&created.token, || {
            json!({
                "token": created.token.to_string(), "cursor": created.cursor,
                "status": created.status, "created_ms": created.created_ms,
            })
        })
    }
}

impl Send {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        if self.sender.is_none() && !client.is_authorised() {
            return Err(Problem::usage("nobody says it", "Add --as NAME"));
        }
        if self.sender.is_some() && client.is_authorised() {
            let what = "the access token says who it is, and --as says it too";
            return Err(Problem::usage(what, "Leave --as out"));
        }
        let key = self.key.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let route = if self.only.is_empty() { Route::Everyone } else { Route::Only(self.only) };
        let attached = match &self.attach {
            Some(file) => Some(archive::attach(&client, token, &key, file).await?),
            None => None,
        };
        let message = NewMessage {
            sender: self.sender.unwrap_or_default(),
            kind: Some(self.kind),
            route,
            body: Body::Text(self.text.unwrap_or_default()),
            archive: attached.as_ref().map(|attached| attached.reference.clone()),
            attrs: Attrs::new(),
            sent_ms: Some(runtime::wall_ms()),
            key: Some(key.clone()),
            acks: self.acks,
        };
        let sent = match waiting::answer(&client, client.send(token, &message)).await {
            Ok(sent) => sent,
            Err(error) => return Err(unsent(&client, error, attached.as_ref(), &key).await),
        };
        self.common.print(&sent.id, || {
            json!({
                "id": sent.id.to_string(), "cursor": sent.cursor, "durability": sent.durability,
                "replay": sent.replay, "message": message_json(&sent.message),
            })
        })
    }
}

impl Tail {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        let after = match self.from_start {
            true => None,
            false => Some(waiting::answer(&client, client.show(token)).await?.cursor),
        };
        let mut tail = client.tail(token, after, self.reader);
        loop {
            for message in waiting::news(&client, tail.next()).await? {
                let read = match self.common.json {
                    true => output::line(message_json(&message))?,
                    false => output::line(message_line(&message))?,
                };
                if !read {
                    return Ok(());
                }
            }
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        if self.common.json {
            let path = format!("/v1/chats/{token}");
            let bytes = waiting::answer(&client, client.get(&path)).await?;
            return output::line(String::from_utf8_lossy(&bytes)).map(drop);
        }
        let chat = waiting::answer(&client, client.show(token)).await?;
        let mut lines =
            vec![format!("chat      {}", chat.token), format!("status    {}", chat.status)];
        lines.push(format!("cursor    {}", chat.cursor));
        if let Some(most) = chat.max_participants {
            lines.push(format!("people    at most {most}"));
        }
        for person in &chat.participants {
            lines.push(format!(
                "          {} ({}, {})",
                one_line(&person.id),
                person.role,
                person.status
            ));
        }
        for (plugin, version) in &chat.plugins {
            lines.push(format!("plugin    {plugin} {version}"));
        }
        output::line(lines.join("\n")).map(drop)
    }
}

impl Join {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        let join = client.join(token, &self.name, self.role.as_deref());
        let ordinal = waiting::answer(&client, join).await?;
        self.common.print(&ordinal, || json!({"ordinal": ordinal}))
    }
}

impl Leave {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        waiting::answer(&client, client.leave(token, &self.name)).await?;
        self.common.print(&"left", || json!({}))
    }
}

impl End {
    async fn run(self) -> Result<(), Problem> {
        let token = token(&self.token)?;
        let client = self.common.client()?;
        let ended = waiting::answer(&client, client.end(token, self.sender.as_deref())).await?;
        self.common.print(&"ended", || json!({"cursor": ended.cursor, "ended_ms": ended.ended_ms}))
    }
}

impl Common {
    pub(super) fn client(&self) -> Result<Client, Problem> {
        let options = Options { nobody: Some(NOBODY), ..Options::default() };
        let client = Client::with_options(&self.url, options)?;
        if let Some(bearer) = self.bearer.bearer()? {
            client.authorise(bearer);
        }
        Ok(client)
    }

    fn print(
        &self,
        text: &dyn std::fmt::Display,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Problem> {
        if self.json { output::line(json()) } else { output::line(text) }.map(drop)
    }
}

pub(super) fn token(text: &str) -> Result<ChatToken, Problem> {
    text.parse().map_err(|error| {
        Problem::usage(format!("{text:?}: {error}"), "Take one that carillon chat create printed")
    })
}

/// A message as `/messages` shows it.
fn message_json(message: &Message) -> Value {
    let stamps: Vec<Value> = message
        .stamps
        .iter()
        .map(|s| json!({"plugin": s.plugin, "version": s.version, "verdict": s.verdict}))
        .collect();
    let mut fields = vec![
        ("id", json!(message.id.to_string())),
        ("cursor", json!(message.cursor)),
        ("sender", json!(message.sender)),
        ("kind", json!(message.kind)),
        ("route", json!(message.route)),
        ("attrs", json!(message.attrs)),
        ("time_ms", json!(message.time_ms)),
        ("stamps", json!(stamps)),
    ];
    fields.extend(message.archive.as_ref().map(|archive| ("archive", json!(archive))));
    fields.extend(message.sent_ms.map(|sent_ms| ("sent_ms", json!(sent_ms))));
    match &message.body {
        Body::Text(text) => fields.push(("text", json!(text))),
        Body::Json(text) => {
            fields.push(("json", serde_json::from_str(text).unwrap_or_default()));
        }
        Body::Bytes { media_type, bytes } => {
            fields.push(("media_type", json!(media_type)));
            fields.push(("base64", json!(STANDARD.encode(bytes))));
        }
        Body::Redacted { by, reason, time_ms } => {
            let why = json!({"by": by, "reason": reason, "time_ms": time_ms});
            fields.push(("redacted", why));
        }
    }
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A message as one line for people.
fn message_line(message: &Message) -> String {
    let archive = message.archive.as_ref().map_or_else(String::new, |archive| {
        let Reference { collection, key, .. } = archive;
        format!(" [{}/{}]", one_line(collection), one_line(key))
    });
    let said = match &message.body {
        Body::Text(text) | Body::Json(text) => one_line(text),
        Body::Bytes { media_type, bytes } => format!("({media_type}, {} bytes)", bytes.len()),
        Body::Redacted { reason, .. } if reason.is_empty() => "(redacted)".to_owned(),
        Body::Redacted { reason, .. } => format!("(redacted: {})", one_line(reason)),
    };
    let kind = match message.kind.as_str() {
        "text" => String::new(),
        kind => format!(" [{}]", one_line(kind)),
    };
    format!("{}{kind}: {said}{archive}", one_line(&message.sender))
}

/// A message cannot pretend to be two, nor drive a terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let shown = if letter.is_control() { None } else { Some(letter) };
            let escaped = if shown.is_none() { Some(letter.escape_default()) } else { None };
            shown.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// A send that failed may be repeated; with its key that is safe. What this run stored for it goes again if it is stored nowhere.
async fn unsent(client: &Client, error: Error, attached: Option<&Attached>, key: &str) -> Problem {
    let unknown = match error.problem() {
        Some(problem) => problem.outcome.as_deref() == Some("unknown"),
        None => matches!(error, Error::Lost { .. } | Error::Timeout { .. }),
    };
    let refused = error.problem().is_some_and(|problem| {
        !unknown && !problem.retryable && problem.code != "idempotency-conflict"
    });
    let mut problem = Problem::from(error);
    if unknown {
        problem.fix =
            format!("It may be stored: send it again with --key {key}, which stores it once");
    }
    if let Some(Attached { reference, .. }) = attached.filter(|own| refused && own.is_new)
        && let Err(error) = archive::detach(client, reference).await
    {
        output::note(format_args!("carillon: {} stays for now: {error}", reference.key));
    }
    problem
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let what = chain(&error);
        match &error {
            Error::Unreachable { .. } => Self::unreachable(
                what,
                "Start a node there (carillon demo), or name one with --url",
            ),
            Error::Lost { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Self::unreachable(what, "Name a node of Carillon with --url")
            }
            Error::Lost { .. } | Error::Timeout { .. } => {
                Self::unreachable(what, "See whether the node lives, and ask again")
            }
            Error::Url(_) | Error::NoUrl => Self::usage(what, "Write --url http://127.0.0.1:7081"),
            Error::Refused(problem) => Self::failed(what, advice(problem)),
            _ => Self::failed(what, "See whether it is a node of Carillon that answers there"),
        }
    }
}

/// What helps against a refusal.
fn advice(problem: &client::Problem) -> String {
    match problem.code.as_str() {
        "unknown-chat" => "Take a token that carillon chat create printed".to_owned(),
        "chat-ended" => "Create another chat".to_owned(),
        "unauthenticated" => "Add --token-file with a token that has not ended".to_owned(),
        "forbidden" => "Ask for a token with this chat and scope".to_owned(),
        "idempotency-conflict" => "Use another --key for another message".to_owned(),
        "rejected" | "illegal-transition" => "Say something else".to_owned(),
        "storage-full" => "Make room on the node's disk".to_owned(),
        _ if problem.retryable => "Try again in a while".to_owned(),
        _ => format!("Look for request {} in the node's log", problem.request_id),
    }
}

#[cfg(test)]
mod tests {
    use super::{message_json, message_line, one_line};
    use client::{Body, Cursor, Message, Reference, Route};
    use model::{Attrs, MessageId};

    fn message(kind: &str, body: Body) -> Message {
        Message {
            id: MessageId([1; 16]),
            cursor: Cursor("c1".to_owned()),
            sender: "ali\nce".to_owned(),
            kind: kind.to_owned(),
            route: Route::Everyone,
            body,
            archive: None,
            attrs: Attrs::new(),
            time_ms: 5,
            sent_ms: None,
            stamps: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let text = message("text", Body::Text("a\nb\u{1b}[2J\u{e9}".to_owned()));
        assert_eq!(message_line(&text), "ali\\nce: a\\nb\\u{1b}[2J\u{e9}");
        let other = message("chat.status", Body::Json("{}".to_owned()));
        assert_eq!(message_line(&other), "ali\\nce [chat.status]: {}");
        assert_eq!(one_line("plain"), "plain");
        let (collection, key) = ("attachments".to_owned(), "t/a\nb".to_owned());
        let archive = Some(Reference { collection, key, version: Some("7".to_owned()) });
        let look = Message { archive, ..message("text", Body::Text("look".to_owned())) };
        assert_eq!(message_line(&look), "ali\\nce: look [attachments/t/a\\nb]");
        assert_eq!(message_json(&look)["archive"]["version"], "7");
    }

    #[test]
    fn a_message_in_json_has_one_body() {
        let json = message_json(&message("k", Body::Json("{\"a\":1}".to_owned())));
        assert_eq!((&json["json"]["a"], &json["route"]), (&1.into(), &"everyone".into()));
        assert_eq!(json.get("text"), None);
    }
}
