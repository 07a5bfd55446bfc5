//! `carillon plugin logs`: what the guests of a plugin say, now and as they go on.

use std::time::Duration;

use clap::Args;
use model::ChatToken;
use serde::Deserialize;
use serde_json::Value;

use super::time_of_day;
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// How soon a new line is seen by whoever follows.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Prints what the guests of a plugin said on a node, the last 256 KiB of it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin logs moderation -f --chat 0123456789abcdef0123456789abcdef"
)]
pub(super) struct Logs {
    /// The plugin
    name: String,
    /// Goes on with what is said from now on, until it is interrupted
    #[arg(long, short)]
    follow: bool,
    /// Of one chat only
    #[arg(long)]
    chat: Option<String>,
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    lines: Vec<Value>,
    next: u64,
    forgotten: u64,
}

impl Logs {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.admin)?;
        let chat = self.chat.as_deref().map(|token| {
            let token = token.parse::<ChatToken>();
            token.map_err(|error| {
                Problem::usage(error, "Take a token that carillon chat create printed")
            })
        });
        let chat = chat.transpose()?.map_or(String::new(), |token| format!("&chat={token}"));
        let mut after = 0;
        loop {
            let path = format!("/admin/v1/plugins/{}/logs?after={after}{chat}", self.name);
            let Page { lines, next, forgotten } = admin.get(&path).await?;
            if after > 0 && forgotten > 0 {
                output::note(format_args!("{forgotten} lines in between are gone"));
            }
            let caught_up = lines.is_empty() || next == after;
            for line in &lines {
                if !output::line(if self.json { line.to_string() } else { text(line) })? {
                    return Ok(());
                }
            }
            after = next;
            match (caught_up, self.follow) {
                (false, _) => {}
                (true, false) => return Ok(()),
                (true, true) => runtime::sleep(LOOK_EVERY).await,
            }
        }
    }
}

fn text(line: &Value) -> String {
    let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or("-");
    let at_ms = line.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
    let of = [field("version"), field("chat"), field("message")].join(" ");
    format!("{} {:<7} {of} {}", time_of_day(at_ms), field("level"), field("text"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn a_line_names_its_version_chat_and_message() {
        let line = json!({"at_ms": 3_723_004_u64, "level": "warn", "version": "1.2", "chat": "c",
            "message": null, "text": "hello there"});
        assert_eq!(text(&line), "01:02:03.004 warn    1.2 c - hello there");
    }
}
