//! A decision of the past, made again.
//!
//! Handlers are functions of what they are told, and a [`Record`] has all of it: so the same handlers decide the
//! same, and others say what they would have decided. Nothing is stored and nobody is told.

use std::sync::Arc;

use model::{Answer, Body, Change, Stamp};
use plugin::{Effect, Failure, Kind, Reply, Said, Verdict};

use crate::chain::Chain;
use crate::effects::SYSTEM;
use crate::play::Scene;
use crate::record::{PastThen, Record};
use crate::turn::{Flow, Nothing, Stopped, Turn, Who};
use crate::{Chats, Code, Refusal};

/// What came of making a decision again.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Every call, in order.
    pub calls: Vec<CallAgain>,
    /// What was decided then.
    pub then: Outcome,
    /// What is decided now.
    pub now: Outcome,
    /// What differs, in words; empty: everything is the same.
    pub differences: Vec<String>,
}

/// One call of one handler.
#[derive(Clone, Debug, PartialEq)]
pub struct CallAgain {
    /// The kind of what it was shown: `member.join` before a first message.
    pub shown: String,
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What it answered.
    pub reply: Result<Reply, Failure>,
}

/// What a turn comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// `stored`, `held`, `refused`, `failed`: nothing is stored; `full`: the chat is.
    pub word: &'static str,
    /// Who refused or failed.
    pub plugin: Option<String>,
    /// The refusal's code.
    pub code: Option<String>,
    /// Its words.
    pub reason: Option<String>,
    /// What is stored or kept back.
    pub body: Option<Body>,
    /// What each handler's verdict was, of a message that is stored or kept back.
    pub stamps: Vec<Stamp>,
    /// What the entry changes beside.
    pub changes: Vec<String>,
    /// For whether it is exactly the same.
    exact: Vec<Change>,
    answer: Option<Answer>,
}

impl Chats {
    /// Makes the decision of `record` again, by `chain`.
    pub async fn again(&self, record: &Record, chain: &Chain) -> Again {
        let scene = Scene {
            chat: &record.chat,
            head: record.places.head(),
            partition: record.partition,
            epoch: record.epoch,
            now_ms: record.time_ms,
            config: &self.shared.config,
        };
        let Record { send, .. } = record;
        let nothing = model::Attrs::new();
        let joins = send.sender != SYSTEM && !record.chat.roster.contains_key(&send.sender);
        let mut turn = match joins {
            true => Turn::of_join(scene, &send.sender, None, &nothing),
            false => Turn::of_message(scene, send),
        };
        let mut calls = Vec::new();
        let mut stopped = self.ask_again(record, chain, &mut turn, &mut calls).await.err();
        if joins && stopped.is_none() {
            turn.show_message(send);
            stopped = self.ask_again(record, chain, &mut turn, &mut calls).await.err();
        }
        let now = match turn.settled(send, stopped) {
            Ok((changes, answer)) => {
                Outcome::of(&chain.marks(&record.chat, changes, 0).0, &answer, record)
            }
            Err(Nothing::Failed(refusal)) => Outcome::nothing("failed", &refusal),
            Err(Nothing::Full(full)) => Outcome::nothing("full", &crate::sending::chat_full(full)),
        };
        let then = match &record.entry.remembered {
            Some(kept) => Outcome::of(&record.entry.changes, &kept.answer, record),
            None => Outcome::nothing("failed", &Refusal::new(Code::Internal, "")),
        };
        let differences = differences(&then, &now);
        Again { calls, then, now, differences }
    }

    async fn ask_again(
        &self,
        record: &Record,
        chain: &Chain,
        turn: &mut Turn<'_>,
        calls: &mut Vec<CallAgain>,
    ) -> Result<(), Stopped> {
        for handler in chain.of_kind(Kind::Message) {
            let mut call = turn.call(handler.name());
            if handler.needs().history {
                call.past = Some(PastThen::of(&self.shared.ledger, record));
            }
            let said: Said = turn.said();
            let shown = said.message.kind.clone();
            let reply = handler.on_message(call, said).await;
            calls.push(CallAgain {
                shown,
                plugin: handler.name().to_owned(),
                version: handler.version().to_owned(),
                reply: reply.clone(),
            });
            if turn.hear(Who::of(handler), reply)? == Flow::Enough {
                break;
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn of(changes: &[Change], answer: &Answer, record: &Record) -> Self {
        let exact: Vec<Change> = changes.iter().filter_map(decided).collect();
        let own = changes.iter().find_map(|change| match change {
            Change::Message(message) | Change::Hold { message, .. }
                if message.id == record.message =>
            {
                Some(message)
            }
            _ => None,
        });
        let mut outcome = Self {
            body: own.map(|message| message.body.clone()),
            stamps: own.map(|message| message.stamps.clone()).unwrap_or_default(),
            changes: exact.iter().filter_map(|change| words(change, record)).collect(),
            answer: Some(answer.clone()),
            ..Self::default()
        };
        match answer {
            Answer::Stored { .. } => outcome.word = "stored",
            Answer::Held { .. } => outcome.word = "held",
            // No record of such a turn is given out.
            Answer::Twiml { .. } => outcome.word = "answered",
            Answer::Refused { plugin, reason_code, reason, .. } => {
                outcome.word = "refused";
                outcome.plugin = Some(plugin.clone());
                outcome.code = Some(reason_code.clone());
                outcome.reason = Some(reason.clone());
            }
        }
        outcome.exact = exact;
        outcome
    }

    fn nothing(word: &'static str, refusal: &Refusal) -> Self {
        Self {
            word,
            plugin: refusal.plugin.clone(),
            reason: Some(refusal.detail.clone()),
            ..Self::default()
        }
    }
}

/// A change, if it is what handlers decided and not what the record says of them. Without their versions: who
/// decides the same is the same here.
fn decided(change: &Change) -> Option<Change> {
    let mut change = change.clone();
    match &mut change {
        Change::Lineup(_) | Change::Generation(_) | Change::Asked(_) => return None,
        Change::Message(message) | Change::Hold { message, .. } => {
            for stamp in &mut Arc::make_mut(message).stamps {
                stamp.version.clear();
            }
        }
        Change::Decided { decision, .. } => decision.version.clear(),
        _ => {}
    }
    Some(change)
}

/// A change in words, if it is not the message itself or what was noted beside it.
fn words(change: &Change, record: &Record) -> Option<String> {
    let of = |plugin: &str, effect: Effect| Some(format!("{plugin}: {effect}"));
    match change {
        Change::Message(message) if message.id == record.message => None,
        Change::Hold { holds, .. } => {
            let holds = holds.iter().map(|hold| {
                let then = if hold.accept { "stored" } else { "dropped" };
                format!("{} holds it for {} ms, then it is {then}", hold.plugin, hold.deadline_ms)
            });
            Some(holds.collect::<Vec<_>>().join("; "))
        }
        Change::Message(message) => {
            Some(format!("message {} of kind {}", message.id, message.kind))
        }
        Change::Join { id, .. } => Some(format!("{id} joins")),
        Change::Leave { id } => Some(format!("{id} leaves")),
        Change::Note { plugin, key, value } => {
            of(plugin, Effect::Note { key: key.clone(), value: value.clone() })
        }
        Change::ChatAttr { name, value } => {
            Some(Effect::ChatAttr { name: name.clone(), value: value.clone() }.to_string())
        }
        Change::MemberAttr { id, name, value } => {
            let (member, name, value) = (id.clone(), name.clone(), value.clone());
            Some(Effect::MemberAttr { member, name, value }.to_string())
        }
        Change::MemberStatus { id, status } => {
            let (member, status) = (id.clone(), status.clone());
            Some(Effect::MemberStatus { member, status }.to_string())
        }
        Change::Start => Some(Effect::StartChat.to_string()),
        Change::End { reason } => Some(Effect::EndChat { reason: reason.clone() }.to_string()),
        Change::TimerStart { plugin, name, after_ms } => {
            of(plugin, Effect::StartTimer { name: name.clone(), after_ms: *after_ms })
        }
        Change::TimerEnd { plugin, name } => of(plugin, Effect::CancelTimer { name: name.clone() }),
        Change::Settle { id, dropped, .. } => Some(match dropped {
            Some(_) => format!("drop {id}"),
            None => format!("release {id}"),
        }),
        Change::Lift { id, plugin } => of(plugin, Effect::Release { message: *id }),
        Change::Outcall(outcall) => Some(format!(
            "{}: call {} {} with {} bytes",
            outcall.plugin,
            outcall.service,
            outcall.path,
            outcall.body.len()
        )),
        Change::Decided { plugin, decision } => {
            let notes = decision.notes.iter().map(|(name, value)| format!("{name} = {value}"));
            let notes: Vec<String> = notes.collect();
            (!notes.is_empty()).then(|| format!("{plugin}: note {}", notes.join(", ")))
        }
        Change::Create { .. }
        | Change::Generation(_)
        | Change::Lineup(_)
        | Change::Asked(_)
        | Change::Tell { .. }
        | Change::Told { .. }
        | Change::Forget
        | Change::OutcallDone { .. }
        | Change::Planned(_)
        | Change::Kept { .. }
        | Change::Redact { .. }
        | Change::Standing(_)
        | Change::Detach { .. }
        | Change::Detached { .. } => None,
    }
}

/// What differs between two outcomes, in words.
fn differences(then: &Outcome, now: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let told = |outcome: &Outcome| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (plugin, code) = (part(&outcome.plugin), part(&outcome.code));
        let told = format!("{} {plugin} {code} {}", outcome.word, part(&outcome.reason));
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    if told(then) != told(now) {
        found.push(format!("then: {}; now: {}", told(then), told(now)));
    }
    if then.body != now.body && then.body.is_some() && now.body.is_some() {
        found.push("what is stored reads otherwise".to_owned());
    }
    for stamp in &now.stamps {
        let before = then.stamps.iter().find(|other| other.plugin == stamp.plugin);
        match before {
            Some(before) if before.verdict != stamp.verdict => found.push(format!(
                "{} said {} then, and says {} now",
                stamp.plugin, before.verdict, stamp.verdict
            )),
            Some(_) => {}
            None if then.word == "refused" => {}
            None => found.push(format!("{} was not asked then", stamp.plugin)),
        }
    }
    for before in &then.stamps {
        if now.word != "refused" && !now.stamps.iter().any(|stamp| stamp.plugin == before.plugin) {
            found.push(format!("{} is not asked now", before.plugin));
        }
    }
    for change in then.changes.iter().filter(|change| !now.changes.contains(change)) {
        found.push(format!("only then: {change}"));
    }
    for change in now.changes.iter().filter(|change| !then.changes.contains(change)) {
        found.push(format!("only now: {change}"));
    }
    if found.is_empty() && (then.exact != now.exact || then.answer != now.answer) {
        found.push("the entries are not the same in every byte".to_owned());
    }
    found
}

impl CallAgain {
    /// One word: the verdict, or the failure.
    pub fn word(&self) -> &'static str {
        match &self.reply {
            Ok(reply) => reply.verdict.name(),
            Err(failure) => failure.name(),
        }
    }

    /// Why, in words, if it said so.
    pub fn reason(&self) -> Option<String> {
        match &self.reply {
            Ok(Reply { verdict: Verdict::Reject { code, reason, .. }, .. }) => {
                Some(format!("{code}: {reason}"))
            }
            Ok(Reply { verdict: Verdict::Hold { reason, .. }, .. }) => Some(reason.clone()),
            Ok(_) => None,
            Err(failure) => Some(failure.to_string()),
        }
    }
}
