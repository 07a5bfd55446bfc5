//! What must come to be of chats once everything is well: each is answered for by every node, and says
//! what is committed.

use std::collections::BTreeMap;

use chat::{Durability, Read, Response};
use model::ChatToken;

use super::book::{Heard, What};
use super::people::reading;
use crate::agenda::{Time, ms};
use crate::invariants::{Verdict, Violation, must};
use crate::world::World;

/// I16: within so long after the healing every chat takes messages.
const OPEN_MAX: Time = ms(10_000);
/// Whatever clients still wait for ends within so long.
const END_MAX: Time = ms(25_000);
const LOOK_EVERY: Time = ms(20);

impl World {
    /// Every chat takes a message that is sent from now on; who waits is answered.
    pub(crate) fn settle_chats(&mut self) -> Verdict {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        talk.people.busy = false;
        let chats = talk.people.chats.clone();
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
        What::Send { token, key: format!("probe {count}"), text: format!("say probe {count}"), acks: None }
    }

    /// Whether something asked was answered well, if it was.
    fn result(&self, number: u64) -> Option<bool> {
        let talk = self.talk.as_ref()?;
        let heard = talk.people.results.get(&number)?;
        Some(match heard {
            Heard::Answered(Response::Sent(sent)) => sent.durability == Durability::Quorum,
            Heard::Answered(_) => true,
            Heard::Refused(_) | Heard::Lost => false,
        })
    }

    /// Every node tells every chat the same: all that is committed.
    pub(crate) fn read_everything(&mut self) -> Verdict {
        let Some(talk) = &self.talk else { return Ok(()) };
        for token in talk.people.chats.clone() {
            for node in 0..self.nodes.len() {
                self.read_whole(token, node)?;
            }
        }
        let Some(talk) = &self.talk else { return Ok(()) };
        talk.people.book.check_end(&talk.oracle)?;
        if talk.people.habits.plain { talk.record.judge() } else { Ok(()) }
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
