//! A decision as operators ask about it: found in the record, and made again by the components that made it.

use std::sync::Arc;

use api::admin::{DeciderInfo, DecisionInfo, OutcomeInfo, WhyInfo, With};
use chat::{Again, CallAgain, Chain, Chats, Code, Handler, Outcome, Record, Refusal};
use model::{Link, MessageId};
use plugin::{Manifest, Plugin};
use rollout::{Digest, Refused, Rollout};

use crate::told::refusal;

/// Why a message was decided about as it was, or what `with` would have decided.
pub(crate) async fn why(
    chats: &Chats,
    rollout: &Rollout,
    message: MessageId,
    with: Option<With>,
) -> Result<WhyInfo, Refusal> {
    let record = chats.record(message).await?;
    let lineup = record.lineup.clone().ok_or_else(|| {
        let detail = "the entries of this chat do not say which components decided it: they are from \
                      before that was recorded";
        Refusal::new(Code::NotFound, detail)
    })?;
    let with = match with {
        Some(with) => Some(another(rollout, &lineup.handlers, with).await?),
        None => None,
    };
    let (mut handlers, mut notes) = (Vec::new(), Vec::new());
    for link in &lineup.handlers {
        let plugin = match with.as_ref().filter(|with| with.name() == link.plugin) {
            Some(with) => Arc::clone(with),
            None => as_then(rollout, link, &mut notes).await?,
        };
        handlers.push(plugin);
    }
    if let Some(with) = with.as_ref().filter(|with| lineup.find(with.name()).is_none()) {
        handlers.push(Arc::clone(with));
    }
    let handlers = handlers.into_iter().map(|plugin| plugin as Arc<dyn Handler>).collect();
    let chain = Chain::of_generation(lineup.generation, handlers);
    let again = chats.again(&record, &chain).await;
    let decider = |plugin: &Arc<Plugin>| DeciderInfo {
        plugin: plugin.name().to_owned(),
        version: plugin.version().to_owned(),
        digest: plugin.digest().to_owned(),
    };
    Ok(told(&record, &lineup.handlers, with.as_ref().map(decider), again, notes))
}

/// The component that decided then, as this node would set it up now.
async fn as_then(
    rollout: &Rollout,
    link: &Link,
    notes: &mut Vec<String>,
) -> Result<Arc<Plugin>, Refusal> {
    let name = &link.plugin;
    let plugin = rollout.aside(name, Digest::from(link.digest)).await.map_err(|refused| {
        let mut refusal = refusal(refused);
        refusal.detail = format!(
            "{name} {} decided about it, and cannot be asked again: {}",
            link.version, refusal.detail
        );
        refusal
    })?;
    if plugin.setup() != link.setup {
        notes.push(format!(
            "this node gives {name} other configuration, grants or limits than it had then"
        ));
    }
    Ok(plugin)
}

/// Another component, in the place of the plugin that is named, or that it calls itself.
async fn another(rollout: &Rollout, handlers: &[Link], with: With) -> Result<Arc<Plugin>, Refusal> {
    let With { plugin, component } = with;
    let itself = || {
        let manifest = Manifest::find(&component).ok().flatten();
        manifest.map(|manifest| manifest.name)
    };
    let in_place_of = |name: &String| handlers.iter().any(|link| link.plugin == *name);
    let only = || match handlers {
        [only] => Some(only.plugin.clone()),
        _ => None,
    };
    let name = plugin.or_else(|| itself().filter(in_place_of)).or_else(only).ok_or_else(|| {
        let names: Vec<&str> = handlers.iter().map(|link| link.plugin.as_str()).collect();
        let detail = format!("plugin: say in whose place it is asked: {}", names.join(", "));
        Refusal::new(Code::InvalidRequest, detail)
    })?;
    rollout.component_aside(&name, component).await.map_err(|refused: Refused| refusal(refused))
}

fn told(
    record: &Record,
    handlers: &[Link],
    with: Option<DeciderInfo>,
    again: Again,
    notes: Vec<String>,
) -> WhyInfo {
    let Again { calls, then, now, differences } = again;
    let decider = |link: &Link| DeciderInfo {
        plugin: link.plugin.clone(),
        version: link.version.clone(),
        digest: Digest::from(link.digest).to_string(),
    };
    WhyInfo {
        message: record.message.to_string(),
        chat: record.token.to_string(),
        turn: record.turn,
        epoch: record.epoch,
        time_ms: record.time_ms,
        sender: record.sender().to_owned(),
        kind: record.kind().to_owned(),
        said: record.body().to_string(),
        generation: record.generation(),
        handlers: handlers.iter().map(decider).collect(),
        with,
        calls: calls.iter().map(call).collect(),
        then: outcome(then),
        now: outcome(now),
        same: differences.is_empty(),
        differences,
        notes,
    }
}

fn call(call: &CallAgain) -> DecisionInfo {
    let reply = call.reply.as_ref().ok();
    DecisionInfo {
        shown: call.shown.clone(),
        plugin: call.plugin.clone(),
        version: call.version.clone(),
        verdict: call.word(),
        reason: call.reason(),
        notes: reply.map(|reply| reply.notes.iter().cloned().collect()).unwrap_or_default(),
        effects: reply.iter().flat_map(|it| &it.effects).map(ToString::to_string).collect(),
        fuel: reply.map(|reply| reply.fuel),
    }
}

fn outcome(outcome: Outcome) -> OutcomeInfo {
    let verdicts = outcome.stamps.into_iter().map(|stamp| (stamp.plugin, stamp.verdict));
    OutcomeInfo {
        outcome: outcome.word,
        plugin: outcome.plugin,
        reason_code: outcome.code,
        reason: outcome.reason,
        body: outcome.body.map(|body| body.to_string()),
        verdicts: verdicts.collect(),
        changes: outcome.changes,
    }
}
