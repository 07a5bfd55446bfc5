//! `carillon plugin errors`: how the calls of a plugin have failed, and where.

use clap::Args;
use serde_json::Value;

use super::time_of_day;
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// Prints how the calls of a plugin have failed on a node, the latest first.
///
/// Failures with the same words are told once, with how often, and with the last message that did it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin errors moderation")]
pub(super) struct Errors {
    /// The plugin
    name: String,
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Errors {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.admin)?;
        let path = format!("/admin/v1/plugins/{}/errors", self.name);
        let answer: Value = admin.get(&path).await?;
        if self.json {
            return output::line(answer).map(drop);
        }
        let errors = answer.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
        if errors.is_empty() {
            return output::line("no call has failed since the node started").map(drop);
        }
        output::line(errors.iter().map(text).collect::<Vec<_>>().join("\n")).map(drop)
    }
}

fn text(error: &Value) -> String {
    let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("-");
    let number = |name: &str| error.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (first, last) = (time_of_day(number("first_ms")), time_of_day(number("last_ms")));
    format!(
        "{}x {} in version {}, from {first} to {last}, last in chat {} at message {}\n    {}",
        number("count"),
        field("kind"),
        field("version"),
        field("chat"),
        field("message"),
        field("text").replace("; ", "\n    "),
    )
}
