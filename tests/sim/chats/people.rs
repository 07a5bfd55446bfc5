//! The clients of a world: they send with keys and send again, read on by cursors, wait for messages,
//! change nodes as they like, and end chats.
//!
//! A client does one thing at a time. What it asks next follows from the seed and from what it was told.

use std::collections::BTreeMap;

use chat::{Durability, Page, Read, Request, RequestOutcome, Response, Send};
use model::{Attrs, Body, ChatToken, Cursor, MessageId, Route};
use rand::RngExt;
use rand::rngs::StdRng;

use super::book::{Book, Heard, Operation, What};
use crate::agenda::{Time, ms};

/// How often one message is tried.
const TRIES_MAX: u32 = 8;

/// Chats of a world in which they come and go.
const CHATS_MAX: usize = 24;

/// How much clients do in a world with chats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) persons: usize,
    pub(crate) chats: usize,
    /// The shortest and the longest time between two things that one of them does.
    pub(crate) pause: (Time, Time),
    /// Chats are ended now and then.
    pub(crate) ends: bool,
    /// How many of a thousand things that clients do end one, beside that: then there are always new ones.
    pub(crate) ends_per_mille: u32,
    /// Nobody asks for what adds messages that no client sent, or keeps back what one did.
    pub(crate) plain: bool,
    /// Other generations of the handlers become live now and then.
    pub(crate) swaps: bool,
}

/// A message that is sent until its fate is known.
#[derive(Clone, Debug)]
struct Plan {
    token: ChatToken,
    key: String,
    text: String,
    acks: Option<u8>,
    tries: u32,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    after: Option<Cursor>,
    last: u64,
}

/// One client.
#[derive(Debug)]
struct Person {
    name: String,
    doing: Option<u64>,
    keys: u64,
    plan: Option<Plan>,
    sent: Vec<Plan>,
    /// The session token of each chat.
    seen: BTreeMap<ChatToken, Cursor>,
    places: BTreeMap<ChatToken, Place>,
    /// A message of their own that few nodes held.
    local: Option<(ChatToken, Cursor, MessageId)>,
}

/// All clients of a world.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) habits: Habits,
    /// They go on.
    pub(crate) busy: bool,
    pub(crate) chats: Vec<ChatToken>,
    pub(crate) book: Book,
    persons: Vec<Person>,
    /// Those that were not answered.
    pub(crate) open: BTreeMap<u64, (Operation, usize)>,
    /// What was heard since clients do nothing by themselves any more.
    pub(crate) results: BTreeMap<u64, Heard>,
    count: u64,
}

impl People {
    pub(crate) fn new(habits: Habits) -> Self {
        let person = |index| Person {
            name: format!("p{index}"),
            doing: None,
            keys: 0,
            plan: None,
            sent: Vec::new(),
            seen: BTreeMap::new(),
            places: BTreeMap::new(),
            local: None,
        };
        Self {
            busy: true,
            chats: Vec::new(),
            book: Book::default(),
            persons: (0..habits.persons).map(person).collect(),
            open: BTreeMap::new(),
            results: BTreeMap::new(),
            count: 0,
            habits,
        }
    }

    /// What one of them wants next, if they do not wait for an answer.
    pub(crate) fn next(&mut self, person: usize, random: &mut StdRng) -> Option<What> {
        let habits = self.habits;
        let it = &mut self.persons[person];
        if it.doing.is_some() || !self.busy {
            return None;
        }
        if let Some(plan) = &it.plan {
            return Some(plan.what());
        }
        let often = habits.ends_per_mille;
        let most = if often > 0 { CHATS_MAX } else { habits.chats };
        let grows = self.chats.len() < most && random.random_bool(0.1);
        if self.chats.is_empty() || grows {
            return Some(What::Create);
        }
        let token = self.chats[random.random_range(0..self.chats.len())];
        if often > 0 && random.random_ratio(often, 1000) {
            return Some(What::End { token });
        }
        if let Some((token, cursor, id)) = it.local.take()
            && random.random_bool(0.5)
        {
            let read = Read { after: Some(cursor), ..reading(token) };
            return Some(What::Read { read, follows: None, local: Some(id) });
        }
        Some(match random.random_range(0..100) {
            0..50 => it.sends(token, habits.plain, random),
            50..58 => {
                it.sends_again(random).unwrap_or_else(|| it.sends(token, habits.plain, random))
            }
            58..80 => it.reads_on(token, random),
            80..85 => read(reading(token)),
            85..92 => {
                let wait_ms = if random.random_bool(0.3) { 500 } else { 0 };
                read(Read { confirmed: true, wait_ms, ..reading(token) })
            }
            92..96 => What::Show { token, confirmed: random.random_bool(0.4) },
            96..98 => What::Join { token },
            98 => What::Leave { token },
            _ if habits.ends && random.random_bool(0.3) => What::End { token },
            _ => it.sends(token, habits.plain, random),
        })
    }

    /// One of them asks. Gives the number of the question, and the request.
    pub(crate) fn asks(
        &mut self,
        person: usize,
        what: What,
        (node, boot): (usize, u64),
        asked: Time,
        seen: Option<Cursor>,
    ) -> (u64, Request) {
        let it = &mut self.persons[person];
        let name = it.name.clone();
        let token = what.token();
        let request = what.request(&name);
        let floor = token.map_or(0, |token| self.book.told(token));
        let over = token.is_some_and(|token| self.book.over(token));
        let operation =
            Operation { person, name, node, boot, asked, what, seen, floor, over, answered: None };
        self.count += 1;
        it.doing = Some(self.count);
        let attempt = self.book.asked(&operation);
        self.open.insert(self.count, (operation, attempt));
        (self.count, request)
    }

    /// What one of them has seen of a chat.
    pub(crate) fn seen(&self, person: usize, what: &What) -> Option<Cursor> {
        self.persons[person].seen.get(&what.token()?).copied()
    }

    /// One of them was told, and goes on.
    pub(crate) fn told(&mut self, number: u64, operation: &Operation, heard: &Heard) {
        if !self.busy {
            self.results.insert(number, heard.clone());
        }
        let it = &mut self.persons[operation.person];
        if it.doing == Some(number) {
            it.doing = None;
        }
        match (&operation.what, heard) {
            (What::Create, Heard::Answered(Response::Created(created))) => {
                self.chats.push(created.token);
            }
            (What::Send { token, .. }, Heard::Answered(Response::Sent(sent))) => {
                if sent.durability == Durability::Quorum {
                    it.saw(*token, sent.cursor);
                } else {
                    it.local = Some((*token, sent.cursor, sent.message.id));
                }
                it.sent.extend(it.plan.take());
            }
            (What::Send { .. }, Heard::Answered(Response::Held { .. })) => {
                it.sent.extend(it.plan.take());
            }
            (What::Send { .. }, Heard::Refused(refusal)) => {
                let again = refusal.retryable || refusal.outcome == Some(RequestOutcome::Unknown);
                it.tries_again(again);
            }
            (What::Send { .. }, Heard::Lost) => it.tries_again(true),
            (What::Read { read, follows, .. }, Heard::Answered(Response::Page(page))) => {
                it.read(read.token, *follows, page);
            }
            (What::Show { token, .. }, Heard::Answered(Response::Chat(view))) => {
                it.saw(*token, view.cursor);
            }
            _ => {}
        }
    }
}

impl Person {
    fn sends(&mut self, token: ChatToken, plain: bool, random: &mut StdRng) -> What {
        self.keys += 1;
        let kind = match random.random_range(0..20) {
            0 | 1 => "bad",
            2 => "no",
            3 | 4 if !plain => "help",
            5 | 6 => "slow",
            7 if !plain => "hold",
            8 if !plain => "hold no",
            9 | 10 if !plain => "wait",
            11 if !plain => "free",
            _ => "say",
        };
        let text = format!("{kind} {} {}", self.name, self.keys);
        let acks = match random.random_range(0..10) {
            0 | 1 => Some(1),
            2 => Some(3),
            3 => Some(2),
            _ => None,
        };
        let plan = Plan { token, key: self.keys.to_string(), text, acks, tries: 0 };
        let what = plan.what();
        self.plan = Some(plan);
        what
    }

    /// A message again whose fate is known, sometimes as another one.
    fn sends_again(&self, random: &mut StdRng) -> Option<What> {
        if self.sent.is_empty() {
            return None;
        }
        let again = self.sent[random.random_range(0..self.sent.len())].clone();
        let mut what = again.what();
        if let What::Send { text, acks, .. } = &mut what {
            if random.random_bool(0.2) {
                text.push_str(" other");
            }
            *acks = random.random_bool(0.2).then_some(3);
        }
        Some(what)
    }

    fn reads_on(&self, token: ChatToken, random: &mut StdRng) -> What {
        let place = self.places.get(&token).copied().unwrap_or_default();
        let wait_ms = match random.random_range(0..4) {
            0 => 0,
            1 => random.random_range(1..300),
            _ => random.random_range(300..6_000),
        };
        let limit = random.random_range(1..30);
        let read = Read { after: place.after, wait_ms, limit, ..reading(token) };
        What::Read { read, follows: Some(place.last), local: None }
    }

    fn tries_again(&mut self, may: bool) {
        let Some(mut plan) = self.plan.take() else { return };
        plan.tries += 1;
        if may && plan.tries < TRIES_MAX {
            self.plan = Some(plan);
        } else {
            self.sent.push(plan);
        }
    }

    fn saw(&mut self, token: ChatToken, cursor: Cursor) {
        let seen = self.seen.entry(token).or_default();
        *seen = (*seen).max(cursor);
    }

    fn read(&mut self, token: ChatToken, follows: Option<u64>, page: &Page) {
        if let Some(last) = page.messages.last() {
            self.saw(token, last.cursor);
            if follows.is_some() {
                let place = Place { after: Some(page.cursor), last: last.cursor.seq };
                self.places.insert(token, place);
            }
        }
    }
}

impl Plan {
    fn what(&self) -> What {
        let Self { token, key, text, acks, .. } = self.clone();
        What::Send { token, key, text, acks }
    }
}

impl What {
    /// As somebody asks it.
    pub(crate) fn request(&self, name: &str) -> Request {
        match self.clone() {
            Self::Create => Request::Create {
                max_duration_s: None,
                max_participants: None,
                attrs: Attrs::new(),
            },
            Self::Send { token, key, text, acks } => Request::Send(Send {
                token,
                key,
                acks,
                copies: None,
                sender: name.to_owned(),
                kind: "text".to_owned(),
                route: Route::Everyone,
                body: Body::Text(text),
                archive: None,
                attrs: Attrs::new(),
                sent_ms: None,
            }),
            Self::Read { read, .. } => Request::Read(read),
            Self::Show { token, confirmed } => Request::Show { token, confirmed },
            Self::Join { token } => {
                Request::Join { token, id: name.to_owned(), role: None, attrs: Attrs::new() }
            }
            Self::Leave { token } => Request::Leave { token, id: name.to_owned() },
            Self::End { token } => Request::End { token, sender: Some(name.to_owned()) },
        }
    }

    /// How long the client is willing to wait for a message.
    pub(crate) fn waits(&self) -> Time {
        match self {
            Self::Read { read, .. } => ms(read.wait_ms.into()),
            _ => 0,
        }
    }
}

fn read(read: Read) -> What {
    What::Read { read, follows: None, local: None }
}

/// Everything from the start, now.
pub(crate) fn reading(token: ChatToken) -> Read {
    Read {
        token,
        after: None,
        before: None,
        limit: 1000,
        wait_ms: 0,
        reader: None,
        confirmed: false,
        pulse: None,
    }
}
