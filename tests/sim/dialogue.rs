//! What schedules with chats say often: a calm world with a chat, what clients ask of which node, and what
//! they hear.

use chat::{Code, Durability, Page, Read, Refusal, RequestOutcome, Response, Sabotage, Sent};
use model::{ChatToken, Cursor};

use crate::agenda::ms;
use crate::chats::ChatSetup;
use crate::chats::book::{Heard, What};
use crate::chats::people::{Habits, reading};
use crate::invariants::{Verdict, Violation, must};
use crate::setup::Setup;
use crate::stage::P;
use crate::world::World;

/// The longest a schedule waits for anything.
const LONGEST: u64 = 16_000;

/// A calm world with one chat.
#[derive(Debug)]
pub(crate) struct Dialogue {
    pub(crate) world: World,
    pub(crate) token: ChatToken,
}

/// What a schedule comes to; a violation of a rule named `schedule` says that it did not go as planned.
pub(crate) type Told<T> = Result<T, Violation>;

/// A calm world with chats and nobody in it who does anything unasked.
pub(crate) fn calm(nodes: usize, sabotage: Sabotage) -> Setup {
    let habits = Habits {
        persons: 4,
        chats: 1,
        pause: (ms(1), ms(1)),
        ends: false,
        ends_per_mille: 0,
        plain: true,
        swaps: false,
    };
    let config = chat::Config { sabotage, ..chat::Config::default() };
    let chats = ChatSetup { config, habits, busy_per_mille: 0, lost_per_mille: 0 };
    Setup { chats: Some(chats), ..Setup::calm(nodes, 2) }
}

impl Dialogue {
    /// Three nodes, led.
    pub(crate) fn new(sabotage: Sabotage) -> Told<Self> {
        Self::of(calm(3, sabotage))
    }

    pub(crate) fn of(setup: Setup) -> Told<Self> {
        let mut world = World::new(setup);
        if let Some(talk) = &mut world.talk {
            talk.people.busy = false;
        }
        let mut dialogue = Self { world, token: ChatToken([0; 16]) };
        dialogue.until("a beginning", |world| world.is_equal(P))?;
        let leader = dialogue.leader()?;
        let created = dialogue.ask(leader, What::Create)?;
        match dialogue.heard(created)? {
            Heard::Answered(Response::Created(created)) => dialogue.token = created.token,
            other => return planned(false, &format!("created: {other:?}")).map(|()| dialogue),
        }
        dialogue.until("equal logs", |world| world.is_equal(P))?;
        Ok(dialogue)
    }

    pub(crate) fn leader(&mut self) -> Told<usize> {
        self.until("a leader", |world| world.leader(P).is_some())?;
        Ok(self.world.leader(P).unwrap_or_default())
    }

    pub(crate) fn leader_but(&mut self, not: usize) -> Told<usize> {
        let found = |world: &World| world.leader(P).filter(|leader| *leader != not);
        self.until("another leader", |world| found(world).is_some())?;
        Ok(found(&self.world).unwrap_or_default())
    }

    /// Lets time pass until something is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl FnMut(&World) -> bool) -> Verdict {
        let so = self.world.run_until(ms(LONGEST), is_so)?;
        planned(so, &format!("waited in vain for {what}"))
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) -> Verdict {
        self.world.run_for(ms(milliseconds))
    }

    /// Client 0 asks a node.
    pub(crate) fn ask(&mut self, node: usize, what: What) -> Told<u64> {
        self.ask_as((0, None), node, what)
    }

    pub(crate) fn ask_as(
        &mut self,
        who: (usize, Option<Cursor>),
        node: usize,
        what: What,
    ) -> Told<u64> {
        let number = self.world.ask_node(who, node, what);
        number.ok_or_else(|| Violation { rule: "schedule", text: "the node is gone".to_owned() })
    }

    /// What the answer is.
    pub(crate) fn heard(&mut self, number: u64) -> Told<Heard> {
        self.until("an answer", |world| now(world, number).is_some())?;
        Ok(now(&self.world, number).unwrap_or(Heard::Lost))
    }

    /// The answer, if there is one yet.
    pub(crate) fn heard_now(&self, number: u64) -> Option<Heard> {
        now(&self.world, number)
    }

    /// Client 0 sends, and does not wait.
    pub(crate) fn sends(&mut self, node: usize, key: &str, text: &str) -> Told<u64> {
        let what = self.send(key, text);
        self.ask(node, what)
    }

    /// A message of client 0.
    pub(crate) fn send(&self, key: &str, text: &str) -> What {
        What::Send { token: self.token, key: key.to_owned(), text: text.to_owned(), acks: None }
    }

    /// Client 0 sends, and is told that it is stored.
    pub(crate) fn says(&mut self, node: usize, key: &str, text: &str) -> Told<Sent> {
        let number = self.sends(node, key, text)?;
        match self.heard(number)? {
            Heard::Answered(Response::Sent(sent)) if sent.durability == Durability::Quorum => {
                Ok(sent)
            }
            other => Err(unplanned(&format!("{text} is answered {other:?}"))),
        }
    }

    /// Reads from a cursor on.
    pub(crate) fn reads(&self, after: Option<Cursor>) -> What {
        let read = Read { after, ..reading(self.token) };
        What::Read { read, follows: None, local: None }
    }

    /// Everything heals; the chat and its partition come to rest.
    pub(crate) fn settle(&mut self) -> Verdict {
        self.world.heal()?;
        self.world.settle()
    }
}

pub(crate) fn page(heard: Heard) -> Told<Page> {
    match heard {
        Heard::Answered(Response::Page(page)) => Ok(page),
        other => Err(unplanned(&format!("no page: {other:?}"))),
    }
}

fn now(world: &World, number: u64) -> Option<Heard> {
    world.talk.as_ref()?.people.results.get(&number).cloned()
}

/// The schedule went as planned.
pub(crate) fn planned(so: bool, what: &str) -> Verdict {
    must(so, "schedule", || what.to_owned())
}

pub(crate) fn unplanned(what: &str) -> Violation {
    Violation { rule: "schedule", text: what.to_owned() }
}

/// The refusal, if it is one.
pub(crate) fn refusal(heard: &Heard) -> Option<(Code, Option<RequestOutcome>)> {
    match heard {
        Heard::Refused(Refusal { code, outcome, .. }) => Some((*code, *outcome)),
        Heard::Answered(_) | Heard::Lost => None,
    }
}
