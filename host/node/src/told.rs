//! The rollout as operators meet it: its answers in the words of [`api::admin`].

use std::sync::Arc;
use std::time::Duration;

use api::admin::{
    AuditInfo, ChainInfo, ChangedInfo, ExampleInfo, LinkInfo, NodeProgressInfo, PairInfo, PastInfo,
    PluginInfo, PowerInfo, ProgressInfo, PushedInfo, TrialInfo, TrialWanted,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chat::{Code, Refusal};
use plugin::{Comparison, Grant, Kind, OnFailure, Plugin};
use rollout::{
    Changed, Digest, InvalidDigest, Lineup, LivePlugin, Refused, Rollout, Step, Trial, Trialled,
};

use crate::generations::in_order;

/// The live plugins, by name.
pub(crate) fn plugins(rollout: &Rollout) -> Vec<PluginInfo> {
    let Some(lineup) = rollout.live() else { return Vec::new() };
    let state = if rollout.behind().is_some() { "behind" } else { "live" };
    let plugins = lineup.set.plugins.values().zip(&lineup.plugins);
    plugins.map(|(live, plugin)| one(live, plugin, state)).collect()
}

fn one(live: &LivePlugin, plugin: &Plugin, state: &'static str) -> PluginInfo {
    let (calls, failures) = plugin.counts();
    let grants = plugin.grant().names();
    let power = |power: &&'static str| PowerInfo {
        power,
        granted: grants.contains(power),
        line: Grant::line(power).unwrap_or_default(),
    };
    let past = live.past.iter().map(|past| PastInfo {
        generation: past.generation,
        version: past.version.clone(),
        digest: past.digest.to_string(),
    });
    PluginInfo {
        name: plugin.name().to_owned(),
        kinds: plugin.kinds().iter().map(|kind| kind.interface()).collect(),
        version: plugin.version().to_owned(),
        digest: plugin.digest().to_owned(),
        generation: live.generation,
        state,
        held: live.held,
        on_failure: on_failure(plugin),
        asks: plugin.asks().iter().map(power).collect(),
        grants,
        past: past.collect(),
        calls,
        failures,
        breaker: plugin.breaker().name(),
    }
}

fn on_failure(plugin: &Plugin) -> &'static str {
    match plugin.on_failure() {
        OnFailure::Reject => "reject",
        OnFailure::Skip => "skip",
        OnFailure::Hold => "hold",
    }
}

/// The handlers of a message, in their order.
pub(crate) fn chain(rollout: &Rollout, order: &[String]) -> ChainInfo {
    let lineup = rollout.live();
    let link = |lineup: &Arc<Lineup>, plugin: Arc<Plugin>| LinkInfo {
        plugin: plugin.name().to_owned(),
        version: plugin.version().to_owned(),
        generation: lineup.set.plugins.get(plugin.name()).map_or(0, |live| live.generation),
        on_failure: on_failure(&plugin),
    };
    let message = lineup.iter().flat_map(|lineup| {
        let handlers = in_order(lineup, order).into_iter();
        let handlers = handlers.filter(|plugin| plugin.kinds().contains(&Kind::Message));
        handlers.map(move |plugin| link(lineup, plugin))
    });
    ChainInfo {
        message: message.collect(),
        generation: lineup.as_ref().map_or(0, |lineup| lineup.set.number),
        behind: rollout.behind(),
    }
}

pub(crate) async fn push(
    rollout: &Rollout,
    name: String,
    component: Bytes,
    signature: Option<String>,
) -> Result<PushedInfo, Refusal> {
    let signature = signature.map(|text| BASE64_STANDARD.decode(text.trim())).transpose();
    let signature = signature.map_err(|wrong| {
        let detail = format!("Carillon-Signature: {wrong}: it is 64 bytes in base64");
        Refusal::new(Code::InvalidRequest, detail)
    })?;
    let pushed = rollout.push(&name, component, signature.map(Bytes::from)).await;
    let pushed = pushed.map_err(refusal)?;
    Ok(PushedInfo { digest: pushed.digest.to_string(), new: pushed.new })
}

pub(crate) async fn swap(
    rollout: &Rollout,
    name: String,
    digest: String,
    wait: bool,
    trial: Option<TrialWanted>,
) -> Result<ChangedInfo, Refusal> {
    let digest: Digest = digest.parse().map_err(|wrong: InvalidDigest| {
        Refusal::new(Code::InvalidRequest, format!("digest: {wrong}"))
    })?;
    let swapped = match trial {
        Some(trial) => {
            let trial = Trial {
                span: Duration::from_millis(trial.for_ms),
                differing_ppm_max: trial.max_diff_ppm,
                sample_ppm: trial.sample_ppm,
                calls_min: trial.calls,
            };
            rollout.swap_after(trial, &name, digest, wait).await
        }
        None => rollout.swap(&name, digest, wait).await,
    };
    swapped.map(changed).map_err(refusal)
}

pub(crate) async fn roll_back(
    rollout: &Rollout,
    name: String,
    wait: bool,
) -> Result<ChangedInfo, Refusal> {
    rollout.roll_back(&name, wait).await.map(changed).map_err(refusal)
}

fn changed(changed: Changed) -> ChangedInfo {
    let Changed { generation, version, digest, live, nodes } = changed;
    let digest = digest.map(|digest| digest.to_string());
    ChangedInfo { generation, version, digest, live, nodes }
}

/// How far the last change is.
pub(crate) fn progress(rollout: &Rollout, name: &str) -> Option<ProgressInfo> {
    let progress = rollout.progress(name)?;
    let node = |node: rollout::NodeProgress| NodeProgressInfo {
        done: Step::ALL
            .into_iter()
            .filter(|step| Some(*step) <= node.done)
            .map(Step::name)
            .collect(),
        node: node.node,
        state: node.state,
        live: node.live,
    };
    Some(ProgressInfo {
        state: progress.state,
        digest: progress.digest.map(|digest| digest.to_string()),
        generation: progress.generation,
        detail: progress.detail,
        nodes: progress.nodes.into_iter().map(node).collect(),
        trial: progress.trial.map(tried),
    })
}

fn tried(trialled: Trialled) -> TrialInfo {
    let Trialled { comparison, nodes, left } = trialled;
    let Comparison { calls, differing, failed, dropped, pairs } = comparison;
    let example = |it: plugin::Example| ExampleInfo {
        chat: it.chat,
        message: it.message,
        sender: it.sender,
        kind: it.kind,
        text: it.text,
        live: it.live,
        candidate: it.other,
    };
    let pair = |it: plugin::Pair| PairInfo {
        live: it.live,
        candidate: it.other,
        count: it.count,
        examples: it.examples.into_iter().map(example).collect(),
    };
    TrialInfo {
        calls,
        differing,
        failed,
        dropped,
        nodes,
        left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        pairs: pairs.into_iter().map(pair).collect(),
    }
}

/// What was done to the plugins of this node.
pub(crate) fn audit(rollout: &Rollout) -> Vec<AuditInfo> {
    let line = |line: rollout::AuditLine| AuditInfo {
        line: line.line,
        at_ms: line.at_ms,
        event: line.event,
        plugin: line.plugin,
        digest: line.digest.map(|digest| digest.to_string()),
        generation: line.generation,
        detail: line.detail,
    };
    rollout.audit().into_iter().map(line).collect()
}

pub(crate) fn refusal(refused: Refused) -> Refusal {
    let code = match &refused {
        Refused::Invalid(_) => Code::InvalidRequest,
        Refused::Unknown(_) => Code::NotFound,
        Refused::Unusable(_) => Code::PluginUnusable,
        Refused::Conflict(_) => Code::PluginConflict,
        Refused::NotReady(_) | Refused::Unsure(_) => Code::NotReady,
        Refused::Full(_) => Code::StorageFull,
    };
    Refusal::new(code, refused.to_string())
}
