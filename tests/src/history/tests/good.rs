//! Histories of a correct cluster, drawn at random; and the same with one thing broken.

use std::collections::BTreeMap;

use model::Cursor;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::story::{Story, at, id, ok, refused, seen, stored, unknown};
use crate::history::{
    Act, Durability, Operation, Outcome, Page, Reading, Seen, Survey, Verdict, check,
};

/// Microseconds between the moments at which things take effect.
const STEP: u64 = 100;

/// What happens at one moment, and how long before and after it the client asked and knew.
#[derive(Clone, Debug)]
struct Happening {
    kind: u8,
    client: u32,
    before: u64,
    after: u64,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = (0..12u8, 0..4u32, 1..400u64, 1..400u64)
        .prop_map(|(kind, client, before, after)| Happening { kind, client, before, after });
    vec(one, 1..60)
}

/// A correct chat, and what its clients saw.
#[derive(Default)]
struct Chat {
    story: Story,
    log: Vec<Seen>,
    epoch: u64,
    /// The furthest a client has seen, with the moment when it knew.
    seen: BTreeMap<u32, Vec<(u64, Cursor)>>,
}

impl Chat {
    fn happen(&mut self, number: usize, happening: &Happening) {
        let moment = 1_000 + number as u64 * STEP;
        let times = (moment - happening.before, moment + happening.after);
        let name = format!("m{number}");
        let next = self.log.len() as u64 + 1;
        match happening.kind {
            0..=3 => {
                self.append(&name);
                self.story.send(times, &name, ok(&name, self.epoch, next));
                self.saw(happening.client, times.1, at(self.epoch, next));
            }
            4 => {
                // The first try's answer is lost, the second is told what became of it.
                self.append(&name);
                self.story.send(times, &name, unknown());
                let answer = stored(&name, self.epoch, next, Durability::Quorum, true);
                self.story.send((times.1 + 1, times.1 + 9), &name, answer);
            }
            5 => {
                self.append(&name);
                self.story.send(times, &name, unknown());
            }
            6 => self.story.send(times, &name, unknown()),
            7 => self.story.send(times, &name, refused()),
            8 => {
                // Only the primary had it, and then there is another.
                let answer = stored(&name, self.epoch, next, Durability::Local, false);
                self.story.send(times, &name, answer);
                self.epoch += 1;
            }
            9 => self.epoch += 1,
            _ => self.read(times, happening),
        }
        let client = happening.client;
        if let Some(operation) = self.story.0.last_mut() {
            operation.client = client;
        }
    }

    fn append(&mut self, name: &str) {
        self.log.push(seen(name, self.epoch, self.log.len() as u64 + 1));
    }

    fn saw(&mut self, client: u32, when: u64, cursor: Cursor) {
        self.seen.entry(client).or_default().push((when, cursor));
    }

    fn read(&mut self, times: (u64, u64), happening: &Happening) {
        let known = self.seen.get(&happening.client).into_iter().flatten();
        let seen = known.filter(|(when, _)| *when < times.0).map(|(_, cursor)| *cursor).max();
        let after = seen.filter(|_| happening.before.is_multiple_of(2));
        let from = after.map_or(0, |after| usize::try_from(after.seq).unwrap());
        let head = self.log.last().map(|seen| seen.cursor).unwrap_or_default();
        let until = if happening.after.is_multiple_of(3) {
            self.log.len().min(from + 2)
        } else {
            self.log.len()
        };
        let messages = self.log[from..until].to_vec();
        if let Some(last) = messages.last() {
            self.saw(happening.client, times.1, last.cursor);
        }
        let confirmed = happening.kind == 11;
        let page = Some(Page { head, messages });
        self.story.push(times, Act::Read(Reading { after, seen, confirmed, page }));
    }
}

fn told(happenings: &[Happening]) -> Chat {
    let mut chat = Chat { epoch: 1, ..Chat::default() };
    for (number, happening) in happenings.iter().enumerate() {
        chat.happen(number, happening);
    }
    let log = chat.log.clone();
    chat.story.ends(&log);
    chat
}

/// Breaks one thing; what it must be called, if there was such a thing to break.
fn breaks(story: &mut Story, how: u8, pick: usize) -> Option<Verdict> {
    let acked: Vec<usize> = indices(&story.0, |operation| {
        let Act::Send(sending) = &operation.act else { return false };
        matches!(&sending.outcome, Outcome::Ok(stored) if stored.durability == Durability::Quorum)
    });
    let chosen = acked.get(pick.checked_rem(acked.len())?).copied()?;
    let Act::Send(sending) = &story.0[chosen].act else { return None };
    let (content, name) = (sending.content, sending.key.clone());
    match how {
        0 => {
            surveys(story, |messages| messages.retain(|seen| seen.content != content));
            Some(Verdict::Lost)
        }
        1 => {
            surveys(story, |messages| {
                let last = messages.last().map(|seen| seen.cursor).unwrap_or_default();
                let twin = Seen { id: id("twin"), ..seen(&name, last.epoch, last.seq + 1) };
                messages.push(twin);
            });
            Some(Verdict::Duplicate)
        }
        2 => {
            let mut first = true;
            surveys(story, |messages| {
                if std::mem::take(&mut first) {
                    messages.pop();
                }
            });
            Some(Verdict::Diverged)
        }
        3 => {
            let Act::Send(sending) = &mut story.0[chosen].act else { return None };
            sending.outcome = refused();
            let tries = indices(
                &story.0,
                |operation| matches!(&operation.act, Act::Send(sending) if sending.content == content),
            );
            (tries.len() == 1).then_some(Verdict::RefusedRead)
        }
        4 => {
            // Long before anything else was done, everything was there already.
            let log = story.0.iter().find_map(|operation| match &operation.act {
                Act::Final(survey) => Some(survey.messages.clone()),
                Act::Send(_) | Act::Read(_) => None,
            });
            story.read((1, 2), None, &log?);
            Some(Verdict::Phantom)
        }
        _ => {
            story.confirmed((1_000_000, 1_000_001), &[]);
            Some(Verdict::Stale)
        }
    }
}

fn indices(operations: &[Operation], wanted: impl Fn(&Operation) -> bool) -> Vec<usize> {
    (0..operations.len()).filter(|index| wanted(&operations[*index])).collect()
}

fn surveys(story: &mut Story, mut change: impl FnMut(&mut Vec<Seen>)) {
    for operation in &mut story.0 {
        if let Act::Final(Survey { messages, .. }) = &mut operation.act {
            change(messages);
        }
    }
}

proptest! {
    #[test]
    fn histories_of_a_correct_chat_are_not_flagged(happenings in happenings()) {
        let chat = told(&happenings);
        let report = chat.story.judged();
        prop_assert!(report.is_zero(), "{}", report);
        prop_assert_eq!(report.counts.messages, chat.log.len() as u64);
        let mut backwards = chat.story.0;
        backwards.reverse();
        prop_assert_eq!(check(&backwards).found, report.found);
    }

    #[test]
    fn one_broken_thing_is_flagged(
        happenings in happenings(), how in 0..6u8, pick in any::<usize>(),
    ) {
        let mut chat = told(&happenings);
        if let Some(verdict) = breaks(&mut chat.story, how, pick) {
            let report = chat.story.judged();
            prop_assert!(report.count(verdict) > 0, "{:?}: {}", verdict, report);
        }
    }
}
