//! The answers about plugins: which are live, and how others become so.

use std::time::Duration;

use chat::Code;
use hashring::NodeId;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::{
    AuditInfo, ChainInfo, ChangedInfo, Doing, LinkInfo, NodeProgressInfo, PastInfo, PluginInfo,
    PowerInfo, ProgressInfo, TrialInfo, TrialWanted,
};
use crate::endpoints::{Answered, json};
use crate::problem::Problem;

/// How long a change may take: longer than any node is waited for, so that the answer says what became of
/// it.
const CHANGE_MAX: Duration = Duration::from_secs(400);

/// A component's signature, in base64.
const SIGNATURE: &str = "carillon-signature";

pub(super) async fn plugins(order: Order) -> Answered {
    json(StatusCode::OK, &PluginsShape::new(&order.into_desk().operate.plugins()))
}

pub(super) async fn chain(order: Order) -> Answered {
    json(StatusCode::OK, &ChainShape::new(&order.into_desk().operate.chain()))
}

pub(super) async fn push(mut order: Order) -> Answered {
    let name = order.plugin();
    let signature = order.header(SIGNATURE).map(str::to_owned);
    let component = order.component().await?;
    let desk = order.into_desk();
    let pushed = in_time(desk.operate.push(name, component, signature)).await?;
    let status = if pushed.new { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &PushedShape { digest: &pushed.digest })
}

pub(super) async fn swap(mut order: Order) -> Answered {
    let Swap { digest, wait, shadow } = order.json().await?;
    let name = order.plugin();
    let desk = order.into_desk();
    let runs = Duration::from_millis(shadow.map_or(0, |shadow| shadow.for_ms));
    let swapping = desk.operate.swap(name, digest, wait, shadow);
    let changed = within(CHANGE_MAX.saturating_add(runs), swapping).await?;
    json(StatusCode::OK, &ChangedShape::new(&changed))
}

pub(super) async fn roll_back(mut order: Order) -> Answered {
    let Rollback { wait } = order.json().await?;
    let name = order.plugin();
    let desk = order.into_desk();
    let changed = in_time(desk.operate.roll_back(name, wait)).await?;
    json(StatusCode::OK, &ChangedShape::new(&changed))
}

pub(super) async fn progress(order: Order) -> Answered {
    let name = order.plugin();
    match order.into_desk().operate.progress(&name) {
        Some(progress) => json(StatusCode::OK, &ProgressShape::new(&progress)),
        None => {
            let detail = format!("no change of {name} was asked of this node last");
            Err(Problem::new(Code::NotFound, detail))
        }
    }
}

pub(super) async fn audit(order: Order) -> Answered {
    let lines = order.into_desk().operate.audit();
    json(StatusCode::OK, &AuditShape { lines: lines.iter().map(LineShape::new).collect() })
}

async fn in_time<T>(doing: Doing<'_, T>) -> Result<T, Problem> {
    within(CHANGE_MAX, doing).await
}

async fn within<T>(span: Duration, doing: Doing<'_, T>) -> Result<T, Problem> {
    match runtime::timeout(span, doing).await {
        Ok(done) => done.map_err(Problem::from),
        Err(_elapsed) => Err(Problem::new(Code::Timeout, "no answer in time")),
    }
}

/// `{digest, wait?, shadow?}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Swap {
    digest: String,
    #[serde(default)]
    wait: bool,
    shadow: Option<TrialWanted>,
}

/// `{wait?}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    #[serde(default)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct PushedShape<'a> {
    digest: &'a str,
}

#[derive(Debug, Serialize)]
struct ChangedShape<'a> {
    generation: u64,
    version: Option<&'a str>,
    digest: Option<&'a str>,
    live: usize,
    nodes: usize,
}

impl<'a> ChangedShape<'a> {
    fn new(changed: &'a ChangedInfo) -> Self {
        let ChangedInfo { generation, version, digest, live, nodes } = changed;
        let (version, digest) = (version.as_deref(), digest.as_deref());
        Self { generation: *generation, version, digest, live: *live, nodes: *nodes }
    }
}

#[derive(Debug, Serialize)]
struct ProgressShape<'a> {
    state: &'static str,
    digest: Option<&'a str>,
    generation: Option<u64>,
    detail: &'a str,
    nodes: Vec<NodeShape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a TrialInfo>,
}

#[derive(Debug, Serialize)]
struct NodeShape<'a> {
    node: &'a NodeId,
    done: &'a [&'static str],
    state: &'static str,
    live: bool,
}

impl<'a> ProgressShape<'a> {
    fn new(progress: &'a ProgressInfo) -> Self {
        let ProgressInfo { state, digest, generation, detail, nodes, trial } = progress;
        let node = |info: &'a NodeProgressInfo| NodeShape {
            node: &info.node,
            done: &info.done,
            state: info.state,
            live: info.live,
        };
        let (digest, nodes) = (digest.as_deref(), nodes.iter().map(node).collect());
        Self { state, digest, generation: *generation, detail, nodes, shadow: trial.as_ref() }
    }
}

#[derive(Debug, Serialize)]
struct AuditShape<'a> {
    lines: Vec<LineShape<'a>>,
}

#[derive(Debug, Serialize)]
struct LineShape<'a> {
    line: u64,
    at_ms: u64,
    event: &'a str,
    plugin: &'a str,
    digest: Option<&'a str>,
    generation: Option<u64>,
    detail: &'a str,
}

impl<'a> LineShape<'a> {
    fn new(info: &'a AuditInfo) -> Self {
        let AuditInfo { line, at_ms, event, plugin, digest, generation, detail } = info;
        let (digest, generation) = (digest.as_deref(), *generation);
        Self { line: *line, at_ms: *at_ms, event, plugin, digest, generation, detail }
    }
}

#[derive(Debug, Serialize)]
struct ChainShape<'a> {
    generation: u64,
    behind: Option<&'a str>,
    message: Vec<LinkShape<'a>>,
}

#[derive(Debug, Serialize)]
struct LinkShape<'a> {
    plugin: &'a str,
    version: &'a str,
    generation: u64,
    on_failure: &'static str,
}

impl<'a> ChainShape<'a> {
    fn new(chain: &'a ChainInfo) -> Self {
        let link = |link: &'a LinkInfo| LinkShape {
            plugin: &link.plugin,
            version: &link.version,
            generation: link.generation,
            on_failure: link.on_failure,
        };
        let message = chain.message.iter().map(link).collect();
        Self { generation: chain.generation, behind: chain.behind.as_deref(), message }
    }
}

#[derive(Debug, Serialize)]
struct PluginsShape<'a> {
    plugins: Vec<PluginShape<'a>>,
}

#[derive(Debug, Serialize)]
struct PluginShape<'a> {
    name: &'a str,
    kinds: &'a [&'static str],
    version: &'a str,
    digest: &'a str,
    generation: u64,
    state: &'static str,
    held: bool,
    on_failure: &'static str,
    grants: &'a [&'static str],
    asks: Vec<PowerShape>,
    past: Vec<PastShape<'a>>,
    calls: u64,
    failures: u64,
    breaker: &'static str,
}

#[derive(Debug, Serialize)]
struct PowerShape {
    power: &'static str,
    granted: bool,
    line: &'static str,
}

#[derive(Debug, Serialize)]
struct PastShape<'a> {
    generation: u64,
    version: &'a str,
    digest: &'a str,
}

impl<'a> PluginsShape<'a> {
    fn new(plugins: &'a [PluginInfo]) -> Self {
        Self { plugins: plugins.iter().map(PluginShape::new).collect() }
    }
}

impl<'a> PluginShape<'a> {
    fn new(plugin: &'a PluginInfo) -> Self {
        let asks = plugin.asks.iter().map(|ask| {
            let PowerInfo { power, granted, line } = *ask;
            PowerShape { power, granted, line }
        });
        let past = plugin.past.iter().map(|past| {
            let PastInfo { generation, version, digest } = past;
            PastShape { generation: *generation, version, digest }
        });
        Self {
            name: &plugin.name,
            kinds: &plugin.kinds,
            version: &plugin.version,
            digest: &plugin.digest,
            generation: plugin.generation,
            state: plugin.state,
            held: plugin.held,
            on_failure: plugin.on_failure,
            grants: &plugin.grants,
            asks: asks.collect(),
            past: past.collect(),
            calls: plugin.calls,
            failures: plugin.failures,
            breaker: plugin.breaker,
        }
    }
}
