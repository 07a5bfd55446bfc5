//! What is known of a chat's people while this node leads it, and is never written: when they were heard, who
//! of them waits for messages, who types, how far each has read.
//!
//! Pure: it is told what happened and when, and says what follows. A node that takes over begins with nothing, so
//! nothing here may be a claim about the past: who was not heard yet is not gone, they are given the whole time
//! from the beginning of the reign. What changed is numbered, so that whoever follows is told each part once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::{Change, Chat, Cursor, Entry, Participant, Roster};
use runtime::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// In a chat of more people nobody becomes unavailable by silence, and who is there is not told as it changes:
/// what a change costs grows with who is told and with what they are told, so in larger chats it would be most
/// of what a node does.
pub(crate) const PEOPLE_MAX: usize = 200;

/// Who types at once in one chat, as far as it is told.
const TYPING_MAX: usize = 16;

/// So long somebody types who does not say so again.
const TYPING_FOR: Duration = Duration::from_secs(6);

/// So long after it was told that somebody polls it is not told again.
const POLLED_EVERY: Duration = Duration::from_secs(10);

/// Bytes that one place stands for.
const PLACE_BYTES: usize = 64;

/// Places for names of those who type and have read, for the whole node: 32 MiB.
pub(crate) const PLACES_MAX: usize = 1 << 19;

/// The status of those who are heard.
pub(crate) const CONNECTED: &str = "connected";

/// The status of those who are silent for too long.
pub(crate) const UNAVAILABLE: &str = "unavailable";

/// Room for one name.
pub(crate) type Place = OwnedSemaphorePermit;

/// The people of one chat.
#[derive(Debug, Default)]
pub(crate) struct Ephemera {
    /// Members, by id.
    heard: Vec<Heard>,
    /// Whose polls are to be told.
    polled: Vec<Box<str>>,
    /// Readers that wait, and how often each does.
    attending: HashMap<Box<str>, u32>,
    /// Who was unavailable and was heard.
    back: Vec<Box<str>>,
    /// When the chat is to be looked at for silence.
    look_at: Option<Instant>,
    typing: Vec<Named<Instant>>,
    /// Who has read last stands last.
    marks: Vec<Named<Cursor>>,
    /// When a mark was set last.
    marked: Option<Instant>,
    /// Rises with everything that is told.
    count: u64,
    typing_at: u64,
    marks_at: u64,
    people_at: u64,
}

#[derive(Debug)]
struct Heard {
    who: Box<str>,
    at: Instant,
    /// When it was told last that they poll.
    told: Option<Instant>,
}

#[derive(Debug)]
struct Named<T> {
    who: Box<str>,
    what: T,
    _place: Place,
}

/// What a look at a chat finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Who was silent for too long.
    pub(crate) gone: Vec<String>,
    /// Who was heard again.
    pub(crate) back: Vec<String>,
    /// Who polls.
    pub(crate) polled: Vec<String>,
}

/// The parts that changed after some number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) count: u64,
    pub(crate) typing: Option<Vec<String>>,
    pub(crate) marks: Option<BTreeMap<String, Cursor>>,
    /// Who is there is another, or stands otherwise: since then.
    pub(crate) people: Option<u64>,
}

/// How many places a name takes.
pub(crate) fn places(name: &str) -> u32 {
    u32::try_from(1 + name.len().div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX)
}

impl Ephemera {
    /// A member of the chat was heard. Whether the chat is to be looked at for it.
    pub(crate) fn hear(
        &mut self,
        chat: &Chat,
        member: &Participant,
        now: Instant,
        idle: Option<Duration>,
    ) -> bool {
        let (id, status) = (member.id.as_str(), member.status.as_str());
        let before = match self.place(id) {
            Ok(at) => self.heard.get_mut(at).map(|heard| std::mem::replace(&mut heard.at, now)),
            Err(at) => {
                if self.heard.len() < PEOPLE_MAX {
                    // Most chats have few people, for long.
                    self.heard.reserve_exact(1);
                    self.heard.insert(at, Heard { who: id.into(), at: now, told: None });
                }
                None
            }
        };
        let Some(idle) = idle.filter(|_| status == UNAVAILABLE) else { return false };
        // Who says that they are unavailable, and is heard all the time, means it. Whether they were is not known of who
        // is heard for the first time; but whether it was their silence is in the chat.
        let was_silent = match before {
            Some(before) => now.duration_since(before) >= idle,
            None => !chat.absent.contains(id),
        };
        if !was_silent || self.back.iter().any(|of| **of == *id) || self.back.len() >= PEOPLE_MAX {
            return false;
        }
        self.back.push(id.into());
        self.look_at = Some(now);
        true
    }

    /// A member who was heard polls. Whether that is to be told: not more often than once in so long.
    pub(crate) fn polls(&mut self, id: &str, now: Instant) -> bool {
        let Ok(at) = self.place(id) else { return false };
        let Some(heard) = self.heard.get_mut(at) else { return false };
        if heard.told.is_some_and(|told| now.duration_since(told) < POLLED_EVERY) {
            return false;
        }
        heard.told = Some(now);
        self.polled.push(id.into());
        self.look_at = Some(now);
        true
    }

    /// Where somebody is, or would be.
    fn place(&self, id: &str) -> Result<usize, usize> {
        self.heard.binary_search_by(|heard| (*heard.who).cmp(id))
    }

    /// Somebody waits for messages: as long as they do they are not silent.
    pub(crate) fn attend(&mut self, id: &str) {
        match self.attending.get_mut(id) {
            Some(count) => *count += 1,
            None => _ = self.attending.insert(id.into(), 1),
        }
    }

    /// They wait no more.
    pub(crate) fn turn_away(&mut self, id: &str, now: Instant) {
        let Some(count) = self.attending.get_mut(id) else { return };
        *count -= 1;
        if *count == 0 {
            self.attending.remove(id);
            // A crowd that has gone leaves no room behind that nobody needs.
            if self.attending.capacity() > 4 * self.attending.len().max(8) {
                self.attending.shrink_to_fit();
            }
        }
        if let Ok(at) = self.place(id)
            && let Some(heard) = self.heard.get_mut(at)
        {
            heard.at = now;
        }
    }

    /// When a member was heard, if they were.
    pub(crate) fn heard_at(&self, id: &str, now: Instant) -> Option<Instant> {
        if self.attends(id) {
            return Some(now);
        }
        self.heard.get(self.place(id).ok()?).map(|heard| heard.at)
    }

    /// When each member was heard who was.
    pub(crate) fn heard(&self, now: Instant) -> impl Iterator<Item = (&str, Instant)> {
        let at = move |id: &str, at: Instant| if self.attends(id) { now } else { at };
        self.heard.iter().map(move |heard| (&*heard.who, at(&heard.who, heard.at)))
    }

    /// Whether somebody waits, or was heard less than `within` ago.
    pub(crate) fn was_anybody_heard(&self, now: Instant, within: Duration) -> bool {
        let recently = |heard: &Heard| now.duration_since(heard.at) < within;
        !self.attending.is_empty() || self.heard.iter().any(recently)
    }

    fn attends(&self, id: &str) -> bool {
        self.attending.contains_key(id)
    }

    /// Somebody types, or goes on typing. Whether that is news; `None`: there is no room for one more.
    pub(crate) fn types(
        &mut self,
        who: &str,
        now: Instant,
        place: impl FnOnce() -> Option<Place>,
    ) -> Option<bool> {
        let until = now + TYPING_FOR;
        if let Some(typing) = self.typing.iter_mut().find(|typing| *typing.who == *who) {
            typing.what = until;
            return Some(false);
        }
        if self.typing.len() >= TYPING_MAX {
            return None;
        }
        self.typing.push(Named { who: who.into(), what: until, _place: place()? });
        self.typing_at = self.next();
        Some(true)
    }

    /// Somebody types no more. Whether that is news.
    pub(crate) fn rests(&mut self, who: &str) -> bool {
        let before = self.typing.len();
        self.typing.retain(|typing| *typing.who != *who);
        let moved = self.typing.len() < before;
        if moved {
            self.typing_at = self.next();
        }
        moved
    }

    /// Somebody has read up to a message; only what is later counts. Whether that is news; `None`: there is no
    /// room for one more. Whoever said so longest ago makes room, and members only for members.
    pub(crate) fn mark(
        &mut self,
        (who, upto): (&str, Cursor),
        roster: &Roster,
        now: Instant,
        place: impl FnOnce() -> Option<Place>,
    ) -> Option<bool> {
        let at = self.marks.iter().position(|mark| *mark.who == *who);
        let goes = match at {
            None if self.marks.len() >= PEOPLE_MAX => Some(self.makes_room(who, roster)?),
            _ => None,
        };
        let mut mark = match at {
            Some(at) if self.marks.get(at).is_some_and(|mark| mark.what >= upto) => {
                return Some(false);
            }
            Some(at) => self.marks.remove(at),
            None => Named { who: who.into(), what: upto, _place: place()? },
        };
        mark.what = upto;
        if let Some(goes) = goes {
            self.marks.remove(goes);
        }
        self.marks.push(mark);
        self.marked = Some(now);
        self.marks_at = self.next();
        Some(true)
    }

    /// Whose mark goes for that of `who`.
    fn makes_room(&self, who: &str, roster: &Roster) -> Option<usize> {
        let stranger = self.marks.iter().position(|mark| !roster.contains_key(&mark.who));
        stranger.or_else(|| roster.contains_key(who).then_some(0))
    }

    /// Forgets how far everybody has read, if nobody said so for `keep`.
    pub(crate) fn unmark(&mut self, now: Instant, keep: Duration) {
        if self.marked.is_some_and(|marked| now.duration_since(marked) >= keep) {
            self.marks.clear();
            self.marked = None;
            self.marks_at = self.next();
        }
    }

    /// Ends the typing of those who have said nothing for too long. Whether that is news, and when to ask
    /// again.
    pub(crate) fn settle(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let before = self.typing.len();
        self.typing.retain(|typing| typing.what > now);
        let moved = self.typing.len() < before;
        if moved {
            self.typing_at = self.next();
        }
        (moved, self.typing.iter().map(|typing| typing.what).min())
    }

    /// An entry is committed, and the chat is this now. When it is to be looked at for silence, if that was
    /// not said before.
    pub(crate) fn follow(
        &mut self,
        chat: &Chat,
        entry: &Entry,
        now: Instant,
        idle: Option<Duration>,
    ) -> Option<Instant> {
        let (before, count, mut stirs) = (self.look_at, self.count, false);
        for change in &entry.changes {
            match change {
                Change::Message(message) => {
                    if let Some(member) = chat.roster.get(&message.sender) {
                        stirs = true;
                        self.hear(chat, member, now, idle);
                    }
                    self.rests(&message.sender);
                }
                Change::Join { id, .. } => {
                    stirs = true;
                    if let Some(member) = chat.roster.get(id) {
                        self.hear(chat, member, now, idle);
                    }
                    self.people_at = count + 1;
                }
                Change::MemberStatus { id, status } => {
                    stirs |= status != UNAVAILABLE;
                    self.back.retain(|of| **of != **id);
                    self.people_at = count + 1;
                }
                Change::Leave { id } => {
                    self.leaves(id);
                    self.people_at = count + 1;
                }
                Change::Start => self.people_at = count + 1,
                Change::End { .. } => {
                    self.typing.clear();
                    self.typing_at = count + 1;
                    self.people_at = count + 1;
                }
                _ => {}
            }
        }
        self.count = self.count.max(self.people_at).max(self.typing_at);
        if let Some(idle) = idle
            && stirs
            && self.look_at.is_none()
            && chat.roster.len() <= PEOPLE_MAX
        {
            self.look_at = Some(due(now, idle));
        }
        self.look_at.filter(|_| self.look_at != before)
    }

    fn leaves(&mut self, id: &str) {
        self.heard.retain(|heard| *heard.who != *id);
        self.polled.retain(|of| **of != *id);
        self.back.retain(|of| **of != *id);
        self.rests(id);
        let before = self.marks.len();
        self.marks.retain(|mark| *mark.who != *id);
        if self.marks.len() < before {
            self.marks_at = self.next();
        }
    }

    /// Looks for those who are silent for longer than `idle`, in a reign that began at `began`, and for those who
    /// are not any more, or poll; at most `most` of each.
    pub(crate) fn look(
        &mut self,
        roster: &Roster,
        now: Instant,
        began: Instant,
        idle: Option<Duration>,
        most: usize,
    ) -> Look {
        let mut look = Look::default();
        let polled = self.polled.drain(..self.polled.len().min(most));
        look.polled.extend(polled.map(String::from));
        self.look_at = (!self.polled.is_empty()).then_some(now);
        let Some(idle) = idle.filter(|_| roster.len() <= PEOPLE_MAX) else {
            self.back.clear();
            return look;
        };
        let mut next: Option<Instant> = None;
        for member in roster.values() {
            if member.status == UNAVAILABLE {
                if self.back.iter().any(|of| **of == *member.id) {
                    look.back.push(member.id.clone());
                }
                continue;
            }
            let heard = self.heard_at(&member.id, now).map_or(began, |heard| heard.max(began));
            let at = due(heard, idle);
            if at <= now {
                look.gone.push(member.id.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.back.retain(|of| look.back.iter().any(|back| **back == **of));
        let more = look.gone.len() > most || look.back.len() > most;
        look.gone.truncate(most);
        look.back.truncate(most);
        self.look_at = self.look_at.or(if more { Some(now) } else { next });
        look
    }

    /// When the chat is to be looked at for silence.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// The number of what was told last.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Every part that changed after `known`; all parts if it is nothing.
    pub(crate) fn moved(&self, known: Option<u64>) -> Moved {
        let is_news = |at: u64| known.is_none_or(|known| at > known);
        let names = || self.typing.iter().map(|typing| String::from(&*typing.who)).collect();
        let marks =
            || self.marks.iter().map(|mark| (String::from(&*mark.who), mark.what)).collect();
        Moved {
            count: self.count,
            typing: is_news(self.typing_at).then(names),
            marks: is_news(self.marks_at).then(marks),
            people: is_news(self.people_at).then_some(self.people_at),
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// When somebody is silent for too long who was heard at `heard`: after more than `idle`.
fn due(heard: Instant, idle: Duration) -> Instant {
    heard + idle + Duration::from_millis(1)
}

#[cfg(test)]
#[path = "ephemera_tests.rs"]
mod tests;
