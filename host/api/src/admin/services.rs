//! The answers about application services: how they do, what was tried, what was put aside; and what an operator
//! has done with them.

use std::time::Duration;

use chat::Code;
use hashring::NodeId;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::endpoints::in_time;
use super::order::Order;
use crate::endpoints::{Answered, json};
use crate::problem::Problem;

/// The services of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ServicesInfo {
    /// By name.
    pub services: Vec<ServiceInfo>,
    /// Nodes that were not heard: what they know is not in it.
    pub silent: Vec<NodeId>,
}

/// A service as all nodes see it: the worst state, and sums.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// `matrix` or `webhook`.
    pub dialect: String,
    /// `up`, `down`, `recovering` or `stopped`.
    pub state: &'static str,
    /// Why it is stopped: `paused`, `gone`, `gave-up`, `refuses-all`; `unconfigured`: a node does not have it in its file.
    pub cause: Option<&'static str>,
    /// For how long it has been so, in milliseconds; what is down, or tried, since it was first found down.
    pub for_ms: u64,
    /// In how long it is tried again, in milliseconds, if it is down, or the first of its failing partitions is.
    pub next_ms: Option<u64>,
    /// Partitions whose first transaction was tried and not taken.
    pub failing: u64,
    /// For how long the one of them that has failed longest has, in milliseconds.
    pub failing_ms: Option<u64>,
    /// How long the oldest event waits that it is owed, in milliseconds, as it was seen a few seconds ago.
    pub lag_ms: Option<u64>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events it is owed.
    pub pending: u64,
    /// Events it took of them.
    pub done: u64,
    /// Events that were put aside.
    pub parked: u64,
    /// Events that were given up, because they had waited for longer than is kept.
    pub abandoned: u64,
    /// Of how many partitions that is.
    pub partitions: u64,
    /// What each node sees, the worst first.
    pub nodes: Vec<ServiceNodeInfo>,
}

/// A service as one node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceNodeInfo {
    /// The node.
    pub node: NodeId,
    /// Where it is, for that node.
    pub url: String,
    /// `up`, `down`, `recovering` or `stopped`.
    pub state: &'static str,
    /// Why it is stopped.
    pub cause: Option<&'static str>,
    /// For how long it has been so, in milliseconds.
    pub for_ms: u64,
    /// In how long it is tried again, in milliseconds.
    pub next_ms: Option<u64>,
    /// Partitions whose first transaction was tried and not taken.
    pub failing: u64,
    /// For how long the one of them that has failed longest has, in milliseconds.
    pub failing_ms: Option<u64>,
    /// How long the oldest event waits that the node sees, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events it is owed by the partitions that the node leads.
    pub pending: u64,
    /// Events it took of them.
    pub done: u64,
    /// Events that were put aside.
    pub parked: u64,
    /// Events that were given up, because they had waited for longer than is kept.
    pub abandoned: u64,
    /// Of how many partitions that is.
    pub partitions: u64,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptInfo {
    /// The node that tried.
    pub node: NodeId,
    /// The transaction's id.
    pub transaction: String,
    /// When it ended.
    pub at_ms: u64,
    /// Events in it.
    pub events: usize,
    /// `done`, `refused`, `gone` or `failed`.
    pub outcome: &'static str,
    /// The answer's status.
    pub status: Option<u16>,
    /// How long it took.
    pub ms: u32,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer, as text.
    pub answer: String,
}

/// An event that was put aside.
#[derive(Clone, Debug, Serialize)]
pub struct DeadInfo {
    /// The message's id; none if its chat's log does not give it any more.
    pub event: Option<String>,
    /// Its chat.
    pub chat: Option<String>,
    /// Its cursor.
    pub cursor: Option<String>,
    /// What the service said to it last.
    pub status: Option<u16>,
    /// What it was sent under last.
    pub transaction: String,
    /// When it was put aside.
    pub last_ms: u64,
    /// No event, but how many events of a partition were given up; 0 for an event.
    pub abandoned: u64,
}

/// What an operator wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceWish {
    /// It is there: try at once.
    Wake,
    /// Send it nothing.
    Pause,
    /// Go on.
    Resume,
    /// There is no such service any more.
    Forget,
}

/// The last attempts of all nodes.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptsInfo {
    /// Newest first.
    pub attempts: Vec<AttemptInfo>,
    /// Whether a node has more than it tells at once: those are older.
    pub more: bool,
    /// Nodes that were not heard: what they tried is not in it.
    pub silent: Vec<NodeId>,
}

/// What a service did not take.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLettersInfo {
    /// By partition, the oldest first.
    pub entries: Vec<DeadInfo>,
    /// Whether a node has more than it tells at once.
    pub more: bool,
    /// Nodes that were not heard: what the partitions have that they lead is not in it.
    pub silent: Vec<NodeId>,
}

/// What of it goes again.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayedInfo {
    /// So many events.
    pub replayed: u64,
    /// Whether there are more: say it again.
    pub more: bool,
    /// Nodes that were not heard: in the partitions that they lead nothing goes again.
    pub silent: Vec<NodeId>,
}

/// `POST /admin/v1/services/{name}/replay`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// Ids of messages; none: all that were put aside.
    events: Option<Vec<String>>,
}

pub(super) async fn services(order: Order) -> Answered {
    let desk = order.into_desk();
    json(StatusCode::OK, &in_time(&desk, desk.operate.services()).await?)
}

pub(super) async fn attempts(order: Order) -> Answered {
    let name = order.named();
    let desk = order.into_desk();
    json(StatusCode::OK, &in_time(&desk, desk.operate.attempts(name)).await?)
}

/// Longer than any other answer: a service may take its time to say nothing.
const TEST_MAX: Duration = Duration::from_secs(40);

pub(super) async fn test(order: Order) -> Answered {
    let name = order.named();
    let desk = order.into_desk();
    let tested = runtime::timeout(TEST_MAX, desk.operate.test(name)).await;
    let late = |_elapsed| Problem::new(Code::Timeout, "no answer in time");
    json(StatusCode::OK, &tested.map_err(late)?.map_err(Problem::from)?)
}

pub(super) async fn dead_letters(order: Order) -> Answered {
    let name = order.named();
    let desk = order.into_desk();
    json(StatusCode::OK, &in_time(&desk, desk.operate.dead_letters(name)).await?)
}

pub(super) async fn wake(order: Order) -> Answered {
    wish(order, ServiceWish::Wake).await
}

pub(super) async fn pause(order: Order) -> Answered {
    wish(order, ServiceWish::Pause).await
}

pub(super) async fn resume(order: Order) -> Answered {
    wish(order, ServiceWish::Resume).await
}

pub(super) async fn forget(order: Order) -> Answered {
    wish(order, ServiceWish::Forget).await
}

async fn wish(order: Order, wish: ServiceWish) -> Answered {
    let name = order.named();
    let desk = order.into_desk();
    json(StatusCode::OK, &in_time(&desk, desk.operate.wish(name, wish)).await?)
}

pub(super) async fn replay(mut order: Order) -> Answered {
    let Replay { events } = order.json().await?;
    let name = order.named();
    let desk = order.into_desk();
    json(StatusCode::OK, &in_time(&desk, desk.operate.replay(name, events)).await?)
}
