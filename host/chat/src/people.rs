//! A chat's [`Ephemera`] as requests meet them: who is heard, who types, how far somebody has read, and the wait
//! for any of that to change.
//!
//! Most chats have none: nothing is set aside for a chat before somebody is heard in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Chat, ChatStatus, ChatToken, Cursor, Entry, Roster};
use plugin::Kind;
use runtime::Instant;
use tokio::sync::Notify;

use crate::chats::{Asked, Shared};
use crate::conversation::Conversation;
use crate::ephemera::{Ephemera, Look, PEOPLE_MAX, Place, places};
use crate::lock::locked;
use crate::ran::Ran;
use crate::reign::Reign;
use crate::sending::chat_ended;
use crate::{Code, People, Person, Pulse, PulseAt, Read, Refusal, Response};

/// A reader who follows is told at most so often of what is not written: somebody who types fast, or many who
/// come at once, cost one answer.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// So long after the last of them the marks of a chat are kept.
pub(crate) const MARKS_FOR: Duration = Duration::from_secs(3600);

/// The people of one chat, behind a lock of their own.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    inner: Mutex<Option<Box<Ephemera>>>,
    /// Who was there when that was told last, for all who are told of it.
    shown: Mutex<Option<Box<Shown>>>,
    /// Something is to be told.
    moved: Notify,
}

/// Who was there.
#[derive(Clone, Debug)]
struct Shown {
    /// Since which change.
    since: u64,
    /// As of when.
    at: Instant,
    people: Arc<People>,
}

impl Crowd {
    /// Who has been there since the change `since`, if that was put together a moment ago. However many follow a chat,
    /// each change costs that once.
    fn shown(&self, since: u64, now: Instant) -> Option<Arc<People>> {
        let shown = locked(&self.shown);
        let shown = shown.as_ref()?;
        let fresh = shown.since == since && now.duration_since(shown.at) < TOLD_EVERY;
        fresh.then(|| Arc::clone(&shown.people))
    }

    /// Looks at it, or changes it; whoever follows wakes if something is to be told.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Ephemera) -> T) -> T {
        let mut inner = locked(&self.inner);
        let people = inner.get_or_insert_default();
        let before = people.count();
        let done = change(people);
        let moved = people.count() != before;
        drop(inner);
        if moved {
            self.moved.notify_waiters();
        }
        done
    }

    /// The same, if there is anything.
    pub(crate) fn with_any<T>(&self, change: impl FnOnce(&mut Ephemera) -> T) -> Option<T> {
        let any = locked(&self.inner).is_some();
        any.then(|| self.with(change))
    }

    /// An entry is committed. When the chat is to be looked at, if that was not said before.
    pub(crate) fn follow(
        &self,
        chat: &Chat,
        entry: &Entry,
        idle: Option<Duration>,
    ) -> Option<Instant> {
        let follow = |people: &mut Ephemera| people.follow(chat, entry, runtime::now(), idle);
        match idle {
            // Where nobody is, nobody can fall silent.
            Some(_) if !chat.roster.is_empty() => self.with(follow),
            _ => self.with_any(follow).flatten(),
        }
    }

    /// When the chat is to be looked at.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        locked(&self.inner).as_ref().and_then(|people| people.look_at())
    }

    /// See [`Ephemera::look`].
    pub(crate) fn look(
        &self,
        roster: &Roster,
        began: Instant,
        idle: Option<Duration>,
        most: usize,
    ) -> Look {
        self.with(|people| people.look(roster, runtime::now(), began, idle, most))
    }

    /// Waits until something is to be told that `known` has not. Cancel-safe.
    async fn until_moved(&self, known: u64) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let (count, next) = self.with(|people| {
                let next = people.settle(runtime::now()).1;
                (people.count(), next)
            });
            if count != known {
                return;
            }
            match next {
                Some(next) => tokio::select! {
                    biased;
                    () = moved => {}
                    () = runtime::sleep_until(next) => {}
                },
                None => moved.await,
            }
        }
    }
}

/// A reader while they wait.
#[derive(Debug)]
pub(crate) struct Attending<'a> {
    crowd: &'a Crowd,
    reader: &'a str,
}

impl<'a> Attending<'a> {
    /// `None` for somebody without a name.
    pub(crate) fn begin(conversation: &'a Conversation, read: &'a Read) -> Option<Self> {
        let reader = read.reader.as_deref()?;
        conversation.people.with(|people| people.attend(reader));
        Some(Self { crowd: &conversation.people, reader })
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        self.crowd.with(|people| people.turn_away(self.reader, runtime::now()));
    }
}

impl Shared {
    /// Somebody shows that they are there.
    pub(crate) fn hear(&self, reign: &Reign, conversation: &Conversation, id: &str) {
        if conversation.hear(id, self.config.idle) {
            self.agenda.wake(reign.partition, conversation.token, runtime::now());
        }
    }

    /// A reader shows that they are there; those who listen are told now and then.
    pub(crate) fn hear_reader(&self, reign: &Reign, conversation: &Conversation, id: &str) {
        self.hear(reign, conversation, id);
        let chain = self.chain.now();
        if chain.is_some_and(|chain| chain.of_kind(Kind::Events).next().is_some())
            && conversation.people.with_any(|people| people.polls(id, runtime::now())) == Some(true)
        {
            self.agenda.wake(reign.partition, conversation.token, runtime::now());
        }
    }

    /// Somebody types, or does not any more.
    pub(crate) async fn types(
        &self,
        reign: &Reign,
        (token, who, on): (ChatToken, &str, bool),
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        self.hear(reign, &conversation, who);
        if !on {
            conversation.people.with_any(|people| people.rests(who));
            return Ok(Response::Noted);
        }
        if conversation.over_ms(self.ledger.wall_ms(), self.config.grace_ms()).is_some() {
            return Err(chat_ended().into());
        }
        let place = || self.place(who);
        let typing = conversation.people.with(|people| {
            people.settle(runtime::now());
            people.types(who, runtime::now(), place)
        });
        typing.map(|_news| Response::Noted).ok_or_else(|| crowded().into())
    }

    /// Somebody has read up to a message.
    pub(crate) async fn mark(
        &self,
        reign: &Reign,
        (token, who, upto): (ChatToken, &str, Cursor),
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        self.caught_up(reign, &conversation, Some(upto), asked).await?;
        self.hear(reign, &conversation, who);
        let upto = conversation.cursor(conversation.resolve(upto));
        let place = || self.place(who);
        let (_, roster) = conversation.roster(usize::MAX).unwrap_or_default();
        let marked = conversation
            .people
            .with(|people| people.mark((who, upto), &roster, runtime::now(), place));
        marked.map(|_news| Response::Noted).ok_or_else(|| crowded().into())
    }

    /// Room for a name that is not written anywhere.
    fn place(&self, who: &str) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_many_owned(places(who)).ok()
    }

    /// What changed in a chat after `known`, of what is not written or changes no messages.
    pub(crate) fn pulse(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        known: PulseAt,
    ) -> Option<Box<Pulse>> {
        let of_this_reign = known.epoch == reign.epoch;
        let moved = conversation.people.with(|people| {
            people.settle(runtime::now());
            people.moved(of_this_reign.then_some(known.count))
        });
        if of_this_reign && moved.count == known.count {
            return None;
        }
        let wall_ms = self.ledger.wall_ms();
        let people = moved.people.and_then(|since| conversation.present(since, wall_ms));
        let at = PulseAt { epoch: reign.epoch, count: moved.count };
        Some(Box::new(Pulse { at, typing: moved.typing, read: moved.marks, people }))
    }
}

/// Waits until somebody who asked at `began` and knows `known` is to be told of something: of what is `there`,
/// or of the next thing. Cancel-safe.
pub(crate) async fn until_pulse(
    conversation: &Conversation,
    known: PulseAt,
    there: bool,
    began: Instant,
) {
    if !there {
        conversation.people.until_moved(known.count).await;
    }
    runtime::sleep_until(began + TOLD_EVERY).await;
}

/// Whether somebody who asked at `began` can be told of what is not written.
pub(crate) fn may_tell(began: Instant) -> bool {
    runtime::now() >= began + TOLD_EVERY
}

impl Conversation {
    /// Who has been in the chat since the change `since` and how they stand; nothing of a chat of many.
    fn present(&self, since: u64, wall_ms: u64) -> Option<Arc<People>> {
        let now = runtime::now();
        if let Some(people) = self.people.shown(since, now) {
            return Some(people);
        }
        let (status, roster) = self.roster(PEOPLE_MAX)?;
        let people = Arc::new(self.people_of(status, &roster, wall_ms));
        let shown = Shown { since, at: now, people: Arc::clone(&people) };
        *locked(&self.people.shown) = Some(Box::new(shown));
        Some(people)
    }

    fn people_of(&self, status: ChatStatus, roster: &Roster, wall_ms: u64) -> People {
        let heard = self.heard_ms(wall_ms);
        let person = |member: &model::Participant| Person {
            id: member.id.clone(),
            role: member.role.clone(),
            status: member.status.clone(),
            heard_ms: member.heard_ms.max(heard.get(&member.id).copied().unwrap_or_default()),
            ordinal: member.ordinal,
        };
        let mut participants: Vec<Person> = roster.values().map(person).collect();
        participants.sort_by_key(|person| person.ordinal);
        People { status, participants }
    }

    /// When members were heard, by this node's wall clock, as far as it was not by a message.
    pub(crate) fn heard_ms(&self, wall_ms: u64) -> BTreeMap<String, u64> {
        let now = runtime::now();
        let heard = |at: Instant| {
            let ago = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX);
            wall_ms.saturating_sub(ago)
        };
        let heard = self.people.with_any(|people| {
            people.heard(now).map(|(id, at)| (id.to_owned(), heard(at))).collect()
        });
        heard.unwrap_or_default()
    }
}

/// No more can be told of.
fn crowded() -> Refusal {
    let detail =
        "more people type or read than are told of: nothing is lost if this is not said again";
    Refusal::new(Code::Overloaded, detail)
}
