//! What must come to be of chats once everything is well: each is answered for by every node, and says
//! what is committed.

use std::collections::BTreeMap;

use chat::{Code, Durability, Read, Response};
use model::ChatToken;

use replication::core::Event;

use super::book::{Heard, What};
use super::handlers::text;
use super::people::reading;
use crate::agenda::{Time, ms};
use crate::invariants::{Verdict, Violation, must};
use crate::node::Came;
use crate::world::World;

/// I16: within so long after the healing every chat takes messages.
const OPEN_MAX: Time = ms(10_000);
/// A hand-over comes to something within this, or to nothing.
const HAND_OVER_MAX: Time = ms(3_000);
/// Whatever clients still wait for ends within so long.
const END_MAX: Time = ms(25_000);
const LOOK_EVERY: Time = ms(20);
/// Keys of a chat that are asked about again.
const AGAIN_MAX: usize = 12;

impl World {
    /// Every chat takes a message that is sent from now on; who waits is answered.
    pub(crate) fn settle_chats(&mut self) -> Verdict {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        talk.people.busy = false;
        let chats = talk.people.chats.clone();
        for node in 0..self.nodes.len() {
            self.learn(node);
        }
        let until = self.agenda.now() + OPEN_MAX;
        let mut left: BTreeMap<ChatToken, Option<u64>> =
            chats.iter().map(|token| (*token, None)).collect();
        let mut node = 0;
        while !left.is_empty() {
            let late = self.agenda.now() >= until;
            must(!late, "I16", || format!("{left:?} take nothing: {}", self.describe()))?;
            for token in &chats {
                if left.get(token) != Some(&None) {
                    continue;
                }
                node = (node + 1) % self.nodes.len();
                let probe = self.probe(*token);
                left.insert(*token, self.ask_node((0, None), node, probe));
            }
            self.run_for(LOOK_EVERY)?;
            left.retain(|_, number| match number.map(|number| self.result(number)) {
                Some(Some(good)) if good => false,
                Some(Some(_)) => {
                    *number = None;
                    true
                }
                _ => true,
            });
        }
        let until = self.agenda.now() + END_MAX;
        while self.talk.as_ref().is_some_and(|talk| !talk.people.open.is_empty()) {
            must(self.agenda.now() < until, "I15", || "clients wait for ever".to_owned())?;
            self.run_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Something that a chat must answer once all is well.
    fn probe(&mut self, token: ChatToken) -> What {
        let Some(talk) = &mut self.talk else { return What::Create };
        let count = talk.number();
        if talk.oracle.is_over(token) {
            return What::Show { token, confirmed: true };
        }
        What::Send {
            token,
            key: format!("probe {count}"),
            text: format!("say probe {count}"),
            acks: None,
        }
    }

    /// Whether something asked was answered well, if it was.
    fn result(&self, number: u64) -> Option<bool> {
        let talk = self.talk.as_ref()?;
        let heard = talk.people.results.get(&number)?;
        Some(match heard {
            Heard::Answered(Response::Sent(sent)) => sent.durability == Durability::Quorum,
            Heard::Answered(_) => true,
            // Only of one that is forgotten: the book has seen to that.
            Heard::Refused(refusal) => refusal.code == Code::UnknownChat,
            Heard::Lost => false,
        })
    }

    /// Whether it was said that there is no such chat.
    fn is_unknown(&self, number: u64) -> bool {
        let talk = self.talk.as_ref();
        let heard = talk.and_then(|talk| talk.people.results.get(&number));
        matches!(heard, Some(Heard::Refused(refusal)) if refusal.code == Code::UnknownChat)
    }

    /// Every node tells every chat the same: all that is committed; and so does who leads next, who folds
    /// the log anew.
    pub(crate) fn read_everything(&mut self) -> Verdict {
        if self.talk.is_none() {
            return Ok(());
        }
        let rests = |world: &Self| world.talk.as_ref().is_none_or(|talk| talk.oracle.rests());
        let in_time = self.run_until(OPEN_MAX, rests)?;
        must(in_time, "I14", || format!("something never ends: {}", self.describe()))?;
        if let Some(talk) = &self.talk {
            talk.oracle.all_ended()?;
        }
        self.read_all()?;
        if !self.setup.ring {
            self.pass_on()?;
            self.read_all()?;
        }
        self.ask_again()?;
        let Some(talk) = &self.talk else { return Ok(()) };
        talk.people.book.check_end(&talk.oracle)?;
        if talk.people.habits.plain { talk.record.judge(&talk.oracle) } else { Ok(()) }
    }

    fn read_all(&mut self) -> Verdict {
        let Some(talk) = &self.talk else { return Ok(()) };
        for token in talk.people.chats.clone() {
            for node in 0..self.nodes.len() {
                self.read_whole(token, node)?;
            }
        }
        Ok(())
    }

    /// Every partition is given to another member.
    fn pass_on(&mut self) -> Verdict {
        for partition in self.partitions() {
            let Some(before) = self.leader(partition) else { continue };
            let other = |world: &Self| world.leader(partition).is_some_and(|it| it != before);
            self.tell(before, Came::Event(Event::HandOver { partition }));
            let mut in_time = self.run_until(HAND_OVER_MAX, other)?;
            if !in_time {
                // It was under way already, and came to nothing.
                self.tell(before, Came::Event(Event::HandOver { partition }));
                in_time = self.run_until(OPEN_MAX, other)?;
            }
            must(in_time, "I16", || format!("not handed over: {}", self.describe()))?;
        }
        Ok(())
    }

    /// I9, P5: what was stored under a key is answered again as it was.
    fn ask_again(&mut self) -> Verdict {
        let Some(talk) = &self.talk else { return Ok(()) };
        let mut again = Vec::new();
        let known = |token: &ChatToken| !talk.oracle.is_forgotten(*token);
        for (token, of) in talk.oracle.chats.iter().filter(|(token, _)| known(token)) {
            for ((sender, key), kept) in of.keys.iter().take(AGAIN_MAX) {
                let person = sender.strip_prefix('p').and_then(|number| number.parse().ok());
                if let (Some(person), Some(said)) = (person, &kept.said) {
                    let text = text(&said.message.body).to_owned();
                    let (token, key, cursor) = (*token, key.clone(), said.cursor);
                    again.push((person, What::Send { token, key, text, acks: None }, cursor));
                }
            }
        }
        for (count, (person, what, cursor)) in again.into_iter().enumerate() {
            let node = count % self.nodes.len();
            let number = self.ask_node((person, None), node, what).unwrap_or_default();
            let in_time = self.run_until(OPEN_MAX, |world| world.result(number).is_some())?;
            must(in_time, "I16", || "a repeat is not answered".to_owned())?;
            if self.is_unknown(number) {
                continue;
            }
            let heard = self.talk.as_ref().and_then(|talk| talk.people.results.get(&number));
            let same = matches!(heard, Some(Heard::Answered(Response::Sent(sent)))
                if sent.replay && sent.cursor == cursor);
            must(same, "P5", || format!("it stands at {cursor:?}, and is answered {heard:?}"))?;
        }
        Ok(())
    }

    fn read_whole(&mut self, token: ChatToken, node: usize) -> Verdict {
        let mut after = None;
        let mut messages = Vec::new();
        loop {
            let read = Read { confirmed: true, after, ..reading(token) };
            let what = What::Read { read, follows: None, local: None };
            let Some(number) = self.ask_node((0, None), node, what) else {
                return must(false, "I16", || format!("n{} is not there", node + 1));
            };
            let answered = |world: &Self| world.result(number).is_some();
            let in_time: Result<bool, Violation> = self.run_until(OPEN_MAX, answered);
            must(in_time?, "I16", || format!("{token:?} is not read at n{}", node + 1))?;
            if self.is_unknown(number) {
                return Ok(());
            }
            let now = self.agenda.now();
            let Some(talk) = &mut self.talk else { return Ok(()) };
            let Some(Heard::Answered(Response::Page(page))) = talk.people.results.get(&number)
            else {
                let heard = talk.people.results.get(&number);
                return must(false, "I16", || format!("n{} tells {heard:?}", node + 1));
            };
            messages.extend(page.messages.iter().cloned());
            after = Some(page.cursor);
            if !page.more {
                let count = messages.len() as u64;
                talk.record.survey(format!("n{}", node + 1), token, messages, now);
                let all = talk.oracle.count(token);
                return must(count == all, "P15", || {
                    format!("n{} tells {count} messages of {token:?}, there are {all}", node + 1)
                });
            }
        }
    }
}
