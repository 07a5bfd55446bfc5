//! What operators see of a plugin's calls after they are over: what its guests said, and how they failed.

use chat::Code;
use hyper::StatusCode;
use model::ChatToken;
use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::endpoints::{Answered, json};
use crate::problem::Problem;

/// Some lines that guests said, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct LinesInfo {
    /// The lines.
    pub lines: Vec<LineInfo>,
    /// What to ask `after` next time.
    pub next: u64,
    /// How many lines in between are gone: there was no room for them.
    pub forgotten: u64,
}

/// A line that a guest said.
#[derive(Clone, Debug, Serialize)]
pub struct LineInfo {
    /// Its number, since the node started.
    pub number: u64,
    /// When, by the wall clock of the node.
    pub at_ms: u64,
    /// `debug`, `info`, `warn`, `error`, `printed`.
    pub level: &'static str,
    /// The version of the plugin.
    pub version: String,
    /// In which chat; none while a configuration is checked.
    pub chat: Option<String>,
    /// About which message.
    pub message: Option<String>,
    /// What it said, in one line.
    pub text: String,
}

/// One way in which calls failed.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorInfo {
    /// `trap`, `fuel`, `deadline`, `memory`, `bad-output`, `refused`, `busy`.
    pub kind: &'static str,
    /// The version of the plugin.
    pub version: String,
    /// How often.
    pub count: u64,
    /// When first.
    pub first_ms: u64,
    /// When last.
    pub last_ms: u64,
    /// The chat of the last one.
    pub chat: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// What the guest printed last, what it failed on, and in which functions.
    pub text: String,
}

/// `GET /admin/v1/plugins/{name}/logs`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinesQuery {
    chat: Option<String>,
    after: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ErrorsShape {
    errors: Vec<ErrorInfo>,
}

pub(super) async fn lines(order: Order) -> Answered {
    let LinesQuery { chat, after } = order.query()?;
    let chat = chat.map(|token| token.parse::<ChatToken>()).transpose();
    let chat = chat.map_err(|wrong| Problem::invalid(format!("chat: {wrong}")))?;
    let name = order.plugin();
    let lines = order.into_desk().operate.lines(&name, chat, after.unwrap_or_default());
    json(StatusCode::OK, &lines.ok_or_else(|| nobody(&name))?)
}

pub(super) async fn errors(order: Order) -> Answered {
    let name = order.plugin();
    let errors = order.into_desk().operate.errors(&name).ok_or_else(|| nobody(&name))?;
    json(StatusCode::OK, &ErrorsShape { errors })
}

fn nobody(name: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("no plugin {name:?} was loaded here since the node started"),
    )
}
