//! What a handler asked for, as changes of the chat it asked about.
//!
//! Pure. What makes no sense in the chat as it is by then (a start of what has started, a pair on
//! somebody who is not there) is left out, so that an entry holds only what changes something. What would
//! outgrow a chat does not fit: then the whole of one call fits, or none of it.

use std::sync::Arc;

use model::{
    Attrs, Change, Chat, ChatStatus, Dropped, Message, MessageId, Outcall, Participant, Waiting,
};
use plugin::{Draft, Effect};

use crate::config::ROSTER_BYTES_MAX;

/// Most pairs on one thing.
pub(crate) const ATTRS_MAX: usize = 64;

/// The state of somebody who just joined.
const CONNECTED: &str = "connected";

/// The code of what its handler dropped.
const DROPPED: &str = "dropped";

/// The sender of what the node itself and its handlers say.
pub const SYSTEM: &str = "system";

/// Why a call's effects do not fit. Nothing of the call is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    /// The chat holds no more of its participants. The same call fits when somebody has left.
    #[error("the chat holds no more of its participants")]
    Full(Full),
    /// No more pairs fit on this. A pair that is there can be set again.
    #[error("no more attributes fit on {0}")]
    Pairs(&'static str),
    /// No more of these may wait in a chat. Room comes when those that wait are done.
    #[error("no more {0} may wait in this chat")]
    Waiting(&'static str),
}

/// Of what a chat has as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Participants.
    Places,
    /// Bytes of them.
    Bytes,
}

/// What to do with an effect that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMisfit {
    /// None of the call fits.
    Stop,
    /// It is left out: a refusal cannot be refused.
    LeaveOut,
}

impl From<Full> for Misfit {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

/// Turns effects into changes, one call's after the other's.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    /// The chat before them.
    base: &'a Chat,
    /// The chat after those so far, if one changed it.
    after: Option<Chat>,
    changes: Vec<Change>,
    now_ms: u64,
    roster_max: usize,
}

impl<'a> Effects<'a> {
    pub(crate) fn on(base: &'a Chat, now_ms: u64, roster_max: usize) -> Self {
        Self { base, after: None, changes: Vec::new(), now_ms, roster_max }
    }

    /// What `plugin` asked for in one call.
    pub(crate) fn take(
        &mut self,
        plugin: &str,
        effects: Vec<Effect>,
        on_misfit: OnMisfit,
    ) -> Result<(), Misfit> {
        for effect in effects {
            match self.effect(plugin, effect) {
                Ok(()) => {}
                Err(_left_out) if on_misfit == OnMisfit::LeaveOut => {}
                Err(misfit) => return Err(misfit),
            }
        }
        Ok(())
    }

    /// The changes, and the chat after them if they changed more than its messages.
    pub(crate) fn done(self) -> (Vec<Change>, Option<Chat>) {
        (self.changes, self.after)
    }

    fn chat(&self) -> &Chat {
        self.after.as_ref().unwrap_or(self.base)
    }

    fn effect(&mut self, plugin: &str, effect: Effect) -> Result<(), Misfit> {
        match effect {
            // What has ended stays as it is to its readers.
            Effect::Post(_) if self.base.status == ChatStatus::Ended => {}
            Effect::Post(draft) => {
                let message = post(draft, self.now_ms);
                self.changes.push(Change::Message(Arc::new(message)));
            }
            Effect::Note { key, value } => {
                self.push(Change::Note { plugin: plugin.to_owned(), key, value });
            }
            Effect::ChatAttr { name, value } => {
                fits(&self.chat().attrs, &name, "the chat")?;
                self.push(Change::ChatAttr { name, value });
            }
            Effect::MemberAttr { member, name, value } => {
                if let Some(there) = self.chat().roster.get(&member) {
                    fits(&there.attrs, &name, "a participant")?;
                    let pair = Participant::pair_bytes;
                    let before = there.attrs.get(&name).map_or(0, |value| pair(&name, value));
                    has_bytes(self.chat(), before, pair(&name, &value))?;
                    self.push(Change::MemberAttr { id: member, name, value });
                }
            }
            Effect::MemberStatus { member, status } => self.status(member, status)?,
            Effect::StartChat => {
                if self.chat().status == ChatStatus::Pending {
                    self.push(Change::Start);
                }
            }
            Effect::EndChat { reason } => {
                if self.chat().status != ChatStatus::Ended {
                    ending(self.chat(), reason).into_iter().for_each(|change| self.push(change));
                }
            }
            Effect::Release { message } => self.release(plugin, message),
            Effect::DropHeld { message, reason } => {
                let dropped = Dropped { plugin: plugin.to_owned(), code: DROPPED.into(), reason };
                self.drop_held(message, dropped);
            }
            Effect::StartTimer { name, after_ms } => self.start_timer(plugin, name, after_ms)?,
            Effect::CancelTimer { name } => {
                let key = (plugin.to_owned(), name);
                if self.waiting().is_some_and(|waiting| waiting.timers.contains_key(&key)) {
                    let (plugin, name) = key;
                    self.push(Change::TimerEnd { plugin, name });
                }
            }
            Effect::Outcall { service, path, headers, body, correlation } => {
                let (plugin, queued_ms) = (plugin.to_owned(), self.now_ms);
                self.outcall(Outcall {
                    plugin,
                    service,
                    path,
                    headers,
                    body,
                    correlation,
                    queued_ms,
                })?;
            }
        }
        Ok(())
    }

    fn waiting(&self) -> Option<&Waiting> {
        self.chat().waiting.as_deref()
    }

    /// `plugin` lets a message go. It is stored when nobody else keeps it back.
    pub(crate) fn release(&mut self, plugin: &str, id: MessageId) {
        let Some(waiting) = self.waiting().filter(|waiting| waiting.holds(id, plugin)) else {
            return;
        };
        let Some(held) = waiting.held.get(&id) else { return };
        if held.holds.iter().any(|hold| hold.plugin != plugin) {
            self.push(Change::Lift { id, plugin: plugin.to_owned() });
            return;
        }
        let (sender, key) = (held.message.sender.clone(), held.key.clone());
        let message = Message { time_ms: self.now_ms, ..held.message.as_ref().clone() };
        self.push(Change::Settle { id, sender, key, dropped: None });
        self.changes.push(Change::Message(Arc::new(message)));
    }

    /// A message that the plugin named in `dropped` keeps back is stored nowhere.
    pub(crate) fn drop_held(&mut self, id: MessageId, dropped: Dropped) {
        let Some(waiting) = self.waiting().filter(|waiting| waiting.holds(id, &dropped.plugin))
        else {
            return;
        };
        let Some(held) = waiting.held.get(&id) else { return };
        let (sender, key) = (held.message.sender.clone(), held.key.clone());
        self.push(Change::Settle { id, sender, key, dropped: Some(dropped) });
    }

    fn start_timer(&mut self, plugin: &str, name: String, after_ms: u32) -> Result<(), Misfit> {
        if self.chat().status == ChatStatus::Ended {
            return Ok(());
        }
        if self.waiting().is_some_and(|waiting| !waiting.has_timer_for(plugin, &name)) {
            return Err(Misfit::Waiting("timers of one handler"));
        }
        self.push(Change::TimerStart { plugin: plugin.to_owned(), name, after_ms });
        Ok(())
    }

    fn outcall(&mut self, outcall: Outcall) -> Result<(), Misfit> {
        let bytes = outcall.bytes();
        if self.waiting().is_some_and(|waiting| !waiting.has_outcall_for(bytes)) {
            return Err(Misfit::Waiting("calls out"));
        }
        self.push(Change::Outcall(Arc::new(outcall)));
        Ok(())
    }

    /// A status of somebody who is not there makes them be there.
    fn status(&mut self, id: String, status: String) -> Result<(), Misfit> {
        if !self.chat().roster.contains_key(&id) {
            admits(self.chat(), &id, None, &Attrs::new(), self.roster_max)?;
            self.push(Change::Join { id: id.clone(), role: String::new(), attrs: Attrs::new() });
        }
        let before = self.chat().roster.get(&id).map_or(0, |there| there.status.len());
        has_bytes(self.chat(), before, status.len())?;
        self.push(Change::MemberStatus { id, status });
        Ok(())
    }

    fn push(&mut self, change: Change) {
        let now_ms = self.now_ms;
        self.after.get_or_insert_with(|| self.base.clone()).change(&change, now_ms);
        self.changes.push(change);
    }
}

/// The end of a chat: what it keeps back is dropped with it.
pub(crate) fn ending(chat: &Chat, reason: String) -> Vec<Change> {
    let held = chat.waiting.iter().flat_map(|waiting| &waiting.held);
    let settled = held.map(|(id, held)| {
        let plugin = held.holds.first().map(|hold| hold.plugin.clone()).unwrap_or_default();
        let reason = "the chat ended while the message was kept back".to_owned();
        Change::Settle {
            id: *id,
            sender: held.message.sender.clone(),
            key: held.key.clone(),
            dropped: Some(Dropped { plugin, code: "chat-ended".into(), reason }),
        }
    });
    settled.chain([Change::End { reason }]).collect()
}

/// Whether somebody may join, or join again as something else: by the chat's own limit, by the node's, and
/// by what all of them may take together.
pub(crate) fn admits(
    chat: &Chat,
    id: &str,
    role: Option<&str>,
    attrs: &Attrs,
    roster_max: usize,
) -> Result<(), Full> {
    let there = chat.roster.get(id);
    if there.is_none() && !(chat.has_room() && chat.roster.len() < roster_max) {
        return Err(Full::Places);
    }
    let (status, kept_role) = there.map_or((CONNECTED, ""), |there| (&there.status, &there.role));
    let after = Participant::bytes_of(id, role.unwrap_or(kept_role), status, attrs);
    has_bytes(chat, there.map_or(0, Participant::bytes), after)
}

/// Whether what took `before` bytes of the roster may take `after`. What shrinks always may, also in a chat that holds
/// too much.
fn has_bytes(chat: &Chat, before: usize, after: usize) -> Result<(), Full> {
    if after <= before {
        return Ok(());
    }
    let all = (chat.roster_bytes + after).saturating_sub(before);
    if all <= ROSTER_BYTES_MAX { Ok(()) } else { Err(Full::Bytes) }
}

fn fits(attrs: &Attrs, name: &str, on: &'static str) -> Result<(), Misfit> {
    if attrs.len() < ATTRS_MAX || attrs.contains_key(name) {
        Ok(())
    } else {
        Err(Misfit::Pairs(on))
    }
}

fn post(draft: Draft, now_ms: u64) -> Message {
    let Draft { id, kind, route, body, attrs } = draft;
    Message {
        id,
        sender: SYSTEM.to_owned(),
        kind,
        route,
        body,
        archive: None,
        attrs,
        time_ms: now_ms,
        sent_ms: None,
        stamps: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use model::{Change, Chat, ChatToken, Participant};
    use plugin::Effect;

    use super::{ATTRS_MAX, Effects, Full, Misfit, OnMisfit};

    fn chat(max_participants: Option<u32>) -> Chat {
        Chat { max_participants, ..Chat::new(ChatToken([1; 16])) }
    }

    fn status(member: &str) -> Effect {
        Effect::MemberStatus { member: member.into(), status: "unavailable".into() }
    }

    fn changes(chat: &Chat, effects: Vec<Effect>) -> Result<Vec<Change>, Misfit> {
        let mut taken = Effects::on(chat, 7, 100);
        taken.take("p", effects, OnMisfit::Stop)?;
        Ok(taken.done().0)
    }

    #[test]
    fn a_status_brings_somebody_in_once_and_while_there_is_room() {
        let two = changes(&chat(Some(1)), vec![status("bob"), status("bob")]).unwrap();
        assert!(matches!(
            &two[..],
            [Change::Join { .. }, Change::MemberStatus { .. }, Change::MemberStatus { .. }]
        ));
        assert_eq!(
            changes(&chat(Some(1)), vec![status("bob"), status("eve")]),
            Err(Misfit::Full(Full::Places))
        );
    }

    #[test]
    fn what_changes_nothing_is_left_out() {
        let nobody = Effect::MemberAttr { member: "x".into(), name: "a".into(), value: "b".into() };
        assert_eq!(changes(&chat(None), vec![nobody]), Ok(vec![]));
        let twice = vec![Effect::StartChat, Effect::StartChat];
        assert_eq!(changes(&chat(None), twice), Ok(vec![Change::Start]));
    }

    #[test]
    fn a_chat_has_only_so_many_pairs() {
        let pair = |n: usize| Effect::ChatAttr { name: n.to_string(), value: String::new() };
        let most: Vec<Effect> = (0..ATTRS_MAX).map(pair).collect();
        assert_eq!(changes(&chat(None), most.clone()).map(|all| all.len()), Ok(ATTRS_MAX));
        let more = [most, vec![pair(ATTRS_MAX)]].concat();
        assert_eq!(changes(&chat(None), more), Err(Misfit::Pairs("the chat")));
    }

    #[test]
    fn nobody_takes_more_bytes_than_are_counted() {
        for length in [0, 1, 200, 70_000] {
            let text = "x".repeat(length);
            let most = Participant {
                id: text.clone(),
                role: text.clone(),
                status: text.clone(),
                heard_ms: u64::MAX,
                ordinal: u32::MAX,
                attrs: (0..ATTRS_MAX).map(|n| (format!("{n}"), text.clone())).collect(),
            };
            let encoded = postcard::to_allocvec(&most).unwrap().len();
            let counted = most.bytes();
            assert!(encoded <= counted, "{encoded} bytes, {counted} counted");
        }
    }

    #[test]
    fn a_refusal_leaves_out_what_does_not_fit() {
        let full = chat(Some(0));
        let mut taken = Effects::on(&full, 7, 100);
        let end = Effect::EndChat { reason: "over".into() };
        assert_eq!(taken.take("p", vec![status("bob"), end], OnMisfit::LeaveOut), Ok(()));
        assert_eq!(taken.done().0, vec![Change::End { reason: "over".into() }]);
    }
}
