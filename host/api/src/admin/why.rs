//! Why something was decided: the decision as it is in the record, and as it comes out when it is made again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chat::Code;
use hyper::StatusCode;
use model::MessageId;
use serde::Serialize;

use super::order::Order;
use crate::endpoints::{Answered, json};
use crate::problem::Problem;

/// How long it may take: a log is read twice, and components that were live long ago are compiled.
const WHY_MAX: Duration = Duration::from_secs(300);

/// For which plugin the component is, where its manifest does not say it.
const PLUGIN: &str = "carillon-plugin";

/// Another component, to see what it would have decided.
#[derive(Clone, Debug)]
pub struct With {
    /// In whose place; `None`: in that of the plugin that its manifest names.
    pub plugin: Option<String>,
    /// The component.
    pub component: Bytes,
}

/// A decision that was made again.
#[derive(Clone, Debug, Serialize)]
pub struct WhyInfo {
    /// The message that was decided about.
    pub message: String,
    /// Its chat.
    pub chat: String,
    /// The chat's turn.
    pub turn: u64,
    /// The epoch in which it was decided.
    pub epoch: u64,
    /// When, on the chat's clock.
    pub time_ms: u64,
    /// Who sent it.
    pub sender: String,
    /// Of which kind it was.
    pub kind: String,
    /// What it said, as it came.
    pub said: String,
    /// The number of the handlers that decided.
    pub generation: u64,
    /// Who they were.
    pub handlers: Vec<DeciderInfo>,
    /// The component that was asked in place of one of them.
    pub with: Option<DeciderInfo>,
    /// Every call, as it is made again.
    pub calls: Vec<DecisionInfo>,
    /// What was decided then.
    pub then: OutcomeInfo,
    /// What is decided now.
    pub now: OutcomeInfo,
    /// Whether both are the same.
    pub same: bool,
    /// What differs.
    pub differences: Vec<String>,
    /// What may be the reason.
    pub notes: Vec<String>,
}

/// Who decides.
#[derive(Clone, Debug, Serialize)]
pub struct DeciderInfo {
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its component, in hex.
    pub digest: String,
}

/// One call of one handler.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionInfo {
    /// The kind of what it was shown.
    pub shown: String,
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The verdict in one word, or how the call failed.
    pub verdict: &'static str,
    /// Why, if it said so.
    pub reason: Option<String>,
    /// What it noted beside it.
    pub notes: BTreeMap<String, String>,
    /// What it asked for.
    pub effects: Vec<String>,
    /// What the call cost, by this engine.
    pub fuel: Option<u64>,
}

/// What a turn came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OutcomeInfo {
    /// `stored`, `held`, `refused`, `failed`, `full`.
    pub outcome: &'static str,
    /// Who refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The refusal's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// Its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is stored or kept back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Each handler's verdict.
    pub verdicts: BTreeMap<String, String>,
    /// What else the chat's entry changes.
    pub changes: Vec<String>,
}

pub(super) async fn why(order: Order) -> Answered {
    let id = message(&order)?;
    answer(order, id, None).await
}

pub(super) async fn why_with(mut order: Order) -> Answered {
    let id = message(&order)?;
    let plugin = order.header(PLUGIN).map(str::to_owned);
    let component = order.component().await?;
    answer(order, id, Some(With { plugin, component })).await
}

async fn answer(order: Order, id: MessageId, with: Option<With>) -> Answered {
    let desk = order.into_desk();
    match runtime::timeout(WHY_MAX, desk.operate.why(id, with)).await {
        Ok(why) => json(StatusCode::OK, &why?),
        Err(_elapsed) => Err(Problem::new(Code::Timeout, "it takes too long to find it")),
    }
}

fn message(order: &Order) -> Result<MessageId, Problem> {
    let wrong = || Problem::invalid("message: an id is 32 hex digits");
    MessageId::parse(&order.named()).ok_or_else(wrong)
}
