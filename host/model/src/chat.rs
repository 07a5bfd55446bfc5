//! A chat: the fold of its entries.
//!
//! [`Chat::apply`] is the only thing that changes one, and it never fails: an entry in the log has been
//! decided, and every node must make the same of it. What makes no sense in a state (a start of what has
//! ended, a pair on somebody who left) changes nothing. Whether a request is allowed is asked before it
//! becomes an entry, and not here.
//!
//! What is big is behind an `Arc`, so that a copy to try something on costs little, and is copied only
//! when it is changed while somebody still looks at it. The messages themselves are not kept: a chat
//! counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Attached, Attrs, Change, ChatStatus, ChatToken, Decisions, Entry, Held, Keeping, Kept, Message,
    MessageId, NOTICES_MAX, Notice, Participant, Roster, Standing, Timer, Waiting, attachment,
    decided,
};

/// What one plugin keeps in a chat.
pub type Notes = BTreeMap<String, Vec<u8>>;

/// The status of somebody who just joined.
const CONNECTED: &str = "connected";

/// The status of those who are silent for too long, or said to be.
const UNAVAILABLE: &str = "unavailable";

/// Who says, in messages of which kind, that somebody is unavailable for their silence: the node itself.
const SILENCE_SAID_BY: (&str, &str) = ("system", "user.status");

/// A chat after some of its entries. Snapshots hold it as it is here, with their own version: whoever changes
/// a field raises that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Its name.
    pub token: ChatToken,
    /// The turn that its next entry has.
    pub turn: u64,
    /// The chat's clock: the time of its last entry.
    pub clock_ms: u64,
    /// How many messages it has, hidden ones too.
    pub messages: u64,
    /// How far it has come.
    pub status: ChatStatus,
    /// When it was created.
    pub created_ms: u64,
    /// When it started.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How long it may last after it started, in seconds.
    pub max_duration_s: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// The ordinal given last.
    pub joined: u32,
    /// Free pairs.
    pub attrs: Arc<Attrs>,
    /// Who is in it.
    pub roster: Arc<Roster>,
    /// What all of them take in an answer, at most ([`Participant::bytes`]), so that nobody has to add it up for somebody more.
    /// No snapshot holds it: [`Chat::weigh`].
    #[serde(skip)]
    pub roster_bytes: usize,
    /// What each plugin keeps in it.
    pub notes: BTreeMap<String, Arc<Notes>>,
    /// The latest generation of the handlers that it was shown to: it is never shown to an earlier one.
    pub generation: u64,
    /// What each plugin decided last, of those who noted something or may be told of it.
    pub decisions: BTreeMap<String, Arc<Decisions>>,
    /// What it waits for; `None` when that is nothing.
    pub waiting: Option<Arc<Waiting>>,
    /// How many calls out were ever asked for.
    pub outcalls: u64,
    /// Nothing of it counts any more. No snapshot holds such a chat.
    #[serde(skip)]
    pub forgotten: bool,
    /// The [mark](crate::Lineup::mark) of the handlers that were recorded last; 0: none were.
    pub lineup: u64,
    /// Bytes of its messages' bodies.
    pub bytes: u64,
    /// When its last message was said; when it was created, if there is none.
    pub said_ms: u64,
    /// What is to become of it, once that was planned.
    pub keeping: Option<Keeping>,
    /// Who is unavailable because somebody said so, and not for their silence. Snapshots hold it beside the chat.
    #[serde(skip)]
    pub absent: BTreeSet<String>,
    /// What was planned for it while it goes on, if anything was. Snapshots hold it beside the chat.
    #[serde(skip)]
    pub standing: Option<Box<Standing>>,
    /// What its messages refer to that belongs to them. Snapshots hold it beside the chat.
    #[serde(skip)]
    pub attached: Attached,
}

impl Chat {
    /// A chat before its first entry.
    pub fn new(token: ChatToken) -> Self {
        Self {
            token,
            turn: 0,
            clock_ms: 0,
            messages: 0,
            status: ChatStatus::Pending,
            created_ms: 0,
            started_ms: None,
            ended_ms: None,
            max_duration_s: None,
            max_participants: None,
            joined: 0,
            attrs: Arc::default(),
            roster: Arc::default(),
            roster_bytes: 0,
            notes: BTreeMap::new(),
            generation: 0,
            decisions: BTreeMap::new(),
            waiting: None,
            outcalls: 0,
            forgotten: false,
            lineup: 0,
            bytes: 0,
            said_ms: 0,
            keeping: None,
            absent: BTreeSet::new(),
            standing: None,
            attached: Attached::default(),
        }
    }

    /// Goes one turn on.
    pub fn apply(&mut self, entry: &Entry) {
        self.turn = entry.turn;
        self.clock_ms = self.clock_ms.max(entry.time_ms);
        for change in &entry.changes {
            self.change(change, entry.time_ms);
        }
        self.stands(entry);
        self.turn += 1;
    }

    /// One change, made at `time_ms`. A turn that is being decided tries its changes on a copy with this.
    pub fn change(&mut self, change: &Change, time_ms: u64) {
        match change {
            Change::Create { max_duration_s, max_participants, attrs } => {
                self.created_ms = time_ms;
                self.said_ms = time_ms;
                self.max_duration_s = *max_duration_s;
                self.max_participants = *max_participants;
                self.attrs = Arc::new(attrs.clone());
            }
            Change::Message(message) => {
                self.messages += 1;
                attachment::follow(&mut self.attached, self.messages, message);
                let bytes = u64::try_from(message.body.len()).unwrap_or(u64::MAX);
                self.bytes = self.bytes.saturating_add(bytes);
                self.said_ms = time_ms;
                self.heard(&message.sender, time_ms);
            }
            Change::Join { id, role, attrs } => self.join(id, role, attrs, time_ms),
            Change::Leave { id } => {
                if self.roster.contains_key(id)
                    && let Some(gone) = Arc::make_mut(&mut self.roster).remove(id)
                {
                    self.roster_bytes = self.roster_bytes.saturating_sub(gone.bytes());
                }
            }
            Change::MemberStatus { id, status } => {
                self.with_member(id, |member| member.status.clone_from(status));
            }
            Change::MemberAttr { id, name, value } => self.with_member(id, |member| {
                member.attrs.insert(name.clone(), value.clone());
            }),
            Change::ChatAttr { name, value } => {
                Arc::make_mut(&mut self.attrs).insert(name.clone(), value.clone());
            }
            Change::Start => {
                if self.status == ChatStatus::Pending {
                    self.status = ChatStatus::Started;
                    self.started_ms = Some(time_ms);
                }
            }
            Change::End { .. } => {
                if self.status != ChatStatus::Ended {
                    self.status = ChatStatus::Ended;
                    self.ended_ms = Some(time_ms);
                }
                self.wait(|waiting| {
                    waiting.held.clear();
                    waiting.timers.clear();
                });
            }
            Change::Note { plugin, key, value } => self.note(plugin, key, value.as_deref()),
            Change::Generation(generation) => self.generation = self.generation.max(*generation),
            Change::Lineup(lineup) => {
                self.generation = self.generation.max(lineup.generation);
                self.lineup = lineup.mark();
            }
            later => self.later(later, time_ms),
        }
    }

    /// One change of what plugins decided and of what the chat waits for.
    fn later(&mut self, change: &Change, time_ms: u64) {
        match change {
            Change::Decided { plugin, decision } => {
                let decisions = self.decisions.entry(plugin.clone()).or_default();
                decided::remember(Arc::make_mut(decisions), decision.clone());
            }
            Change::Outcall(outcall) => {
                self.outcalls += 1;
                let number = self.outcalls;
                self.expect().outcalls.insert(number, Arc::clone(outcall));
            }
            Change::OutcallDone { number } => self.wait(|waiting| {
                waiting.outcalls.remove(number);
            }),
            Change::Hold { message, key, holds } => {
                let held =
                    Held { message: Arc::clone(message), key: key.clone(), holds: holds.clone() };
                self.expect().held.insert(message.id, held);
            }
            Change::Lift { id, plugin } => self.wait(|waiting| {
                if let Some(held) = waiting.held.get_mut(id) {
                    held.holds.retain(|hold| hold.plugin != *plugin);
                }
            }),
            Change::Settle { id, .. } => self.wait(|waiting| {
                waiting.held.remove(id);
            }),
            Change::TimerStart { plugin, name, after_ms } => {
                let timer = Timer { turn: self.turn, since_ms: time_ms, after_ms: *after_ms };
                self.expect().timers.insert((plugin.clone(), name.clone()), timer);
            }
            Change::TimerEnd { plugin, name } => self.wait(|waiting| {
                waiting.timers.remove(&(plugin.clone(), name.clone()));
            }),
            Change::Tell { what, depth } => {
                let notices = &mut self.expect().notices;
                if notices.len() < NOTICES_MAX {
                    notices.push_back(Notice { what: what.clone(), depth: *depth });
                }
            }
            Change::Told { count } => self.wait(|waiting| {
                let told = usize::try_from(*count).unwrap_or(usize::MAX);
                waiting.notices.drain(..told.min(waiting.notices.len()));
            }),
            Change::Forget => self.forgotten = true,
            // The first plan stays: nobody makes it weaker later.
            Change::Planned(plan) => {
                self.keeping.get_or_insert_with(|| Keeping { plan: Arc::clone(plan), kept: None });
            }
            Change::Kept { archive } => {
                if let Some(keeping) = &mut self.keeping {
                    keeping.kept.get_or_insert(Kept { archive: *archive });
                }
            }
            Change::Standing(plan) => {
                let said_ms = self.said_ms;
                self.standing.get_or_insert_default().take(plan, said_ms);
            }
            Change::Redact { id, number, .. } => self.redact(*id, *number),
            Change::Detach { key, version } => self.attached.go(*version, key.clone()),
            Change::Detached { version } => self.attached.gone(*version),
            _ => {}
        }
    }

    /// What message `number` said is taken back: nothing that was noted about it stays, and it names nothing.
    fn redact(&mut self, id: MessageId, number: u64) {
        self.attached.unname(number);
        for decisions in self.decisions.values_mut() {
            if decisions.iter().any(|decision| decision.message == id) {
                decided::redact(Arc::make_mut(decisions), id);
            }
        }
    }

    /// Follows who is unavailable because that was said. Of those who are silent the node says so itself, right after
    /// it is so.
    fn stands(&mut self, entry: &Entry) {
        for (next, change) in (1..).zip(&entry.changes) {
            match change {
                Change::MemberStatus { id, status } => {
                    let said = |message: &Message| {
                        (message.sender.as_str(), message.kind.as_str()) == SILENCE_SAID_BY
                    };
                    let is_silent = matches!(
                        entry.changes.get(next), Some(Change::Message(message)) if said(message)
                    );
                    if status == UNAVAILABLE && !is_silent && self.roster.contains_key(id) {
                        self.absent.insert(id.clone());
                    } else {
                        self.absent.remove(id);
                    }
                }
                Change::Leave { id } => _ = self.absent.remove(id),
                _ => {}
            }
        }
    }

    /// Whether a plugin or a clock has something to do for it.
    pub fn is_due(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| {
            !(waiting.held.is_empty() && waiting.timers.is_empty() && waiting.notices.is_empty())
        })
    }

    /// Whether somebody more may join.
    pub fn has_room(&self) -> bool {
        self.max_participants
            .is_none_or(|most| usize::try_from(most).is_ok_and(|most| self.roster.len() < most))
    }

    /// When its duration is past. A chat that never started, or has no duration, is never over by itself.
    pub fn lasts_until_ms(&self) -> Option<u64> {
        let lasts = self.max_duration_s.filter(|seconds| *seconds > 0)?.saturating_mul(1000);
        Some(self.started_ms?.saturating_add(lasts))
    }

    /// When it is over by itself: so long after its duration is past.
    pub fn expires_ms(&self, grace_ms: u64) -> Option<u64> {
        Some(self.lasts_until_ms()?.saturating_add(grace_ms))
    }

    /// When it was over, if it is at `now_ms`: ended, or expired.
    pub fn over_ms(&self, now_ms: u64, grace_ms: u64) -> Option<u64> {
        self.ended_ms.or_else(|| self.expires_ms(grace_ms).filter(|at| now_ms > *at))
    }

    /// Whether it may be forgotten at `now_ms`: it has ended as long ago as the node keeps chats (`forget_ms`, which
    /// is for ever if nothing is there) and its plan says, the plan is carried out, and nothing is still to be told or to go.
    /// Where a policy `plans`, a chat without a plan is not forgotten.
    pub fn may_be_forgotten(&self, now_ms: u64, forget_ms: Option<u64>, plans: bool) -> bool {
        let kept_for = match &self.keeping {
            Some(keeping) => keeping.kept_for_ms(forget_ms),
            None => forget_ms.filter(|_| !plans),
        };
        let (Some(ended), Some(kept_for)) = (self.ended_ms, kept_for) else { return false };
        now_ms >= ended.saturating_add(kept_for)
            && !self.is_due()
            && self.attached.going().next().is_none()
    }

    /// Whether there was a plan for it, and all of that is done.
    pub fn is_kept(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.kept.is_some())
    }

    /// What it waits for, to add something.
    fn expect(&mut self) -> &mut Waiting {
        Arc::make_mut(self.waiting.get_or_insert_default())
    }

    /// What it waits for, if that is anything, to take something away.
    fn wait(&mut self, change: impl FnOnce(&mut Waiting)) {
        let Some(waiting) = &mut self.waiting else { return };
        let waiting = Arc::make_mut(waiting);
        change(waiting);
        if waiting.is_empty() {
            self.waiting = None;
        }
    }

    fn join(&mut self, id: &str, role: &str, attrs: &Attrs, time_ms: u64) {
        let ordinal = self.joined + 1;
        let there = self.roster.get(id);
        let before = there.map_or(0, Participant::bytes);
        let mut member = there
            .cloned()
            .unwrap_or_else(|| Participant { id: id.to_owned(), ..Participant::default() });
        if member.ordinal == 0 {
            member.ordinal = ordinal;
            CONNECTED.clone_into(&mut member.status);
            self.joined = ordinal;
        }
        role.clone_into(&mut member.role);
        member.attrs.clone_from(attrs);
        member.heard_ms = time_ms;
        self.roster_bytes = (self.roster_bytes + member.bytes()).saturating_sub(before);
        Arc::make_mut(&mut self.roster).insert(member);
    }

    fn heard(&mut self, id: &str, time_ms: u64) {
        if let Some(member) = self.member(id) {
            member.heard_ms = time_ms;
        }
    }

    /// Changes somebody who is there, and what they take.
    fn with_member(&mut self, id: &str, change: impl FnOnce(&mut Participant)) {
        let Some(member) = self.member(id) else { return };
        let before = member.bytes();
        change(member);
        let after = member.bytes();
        self.roster_bytes = (self.roster_bytes + after).saturating_sub(before);
    }

    /// Adds up what is not in a snapshot.
    pub fn weigh(&mut self) {
        self.roster_bytes = self.roster.values().map(Participant::bytes).sum();
    }

    fn member(&mut self, id: &str) -> Option<&mut Participant> {
        // Looked up first: who is not there must not cost a copy of the roster.
        self.roster.contains_key(id).then_some(())?;
        Arc::make_mut(&mut self.roster).get_mut(id)
    }

    fn note(&mut self, plugin: &str, key: &str, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                let notes = match self.notes.get_mut(plugin) {
                    Some(notes) => notes,
                    None => self.notes.entry(plugin.to_owned()).or_default(),
                };
                Arc::make_mut(notes).insert(key.to_owned(), value.to_vec());
            }
            None => {
                if let Some(notes) = self.notes.get_mut(plugin) {
                    Arc::make_mut(notes).remove(key);
                    if notes.is_empty() {
                        self.notes.remove(plugin);
                    }
                }
            }
        }
    }
}
