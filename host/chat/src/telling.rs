//! What has happened to a chat, for those who listen.
//!
//! Listeners are told what is committed: an entry that brings somebody in says that this is to be told, and
//! whoever leads the chat tells it afterwards, in a turn of its own. What a listener asks for is part of the
//! entry that says that it was told, so that it exists once, whoever leads by then; the call itself can
//! happen again if the first one's entry never came to be. Nothing is told where nobody listens.

use model::{Change, Chat, ChatStatus, Happened, NOTICES_MAX, Participant};
use plugin::Event;

use crate::turn::participant;

/// How many events may lead to each other, each by what a listener asked for. What comes after that
/// happens and is not told, so that two listeners cannot keep each other busy for ever.
const DEPTH_MAX: u8 = 3;

/// What of `changes`, made to `before`, is to be told.
pub(crate) fn notices(before: &Chat, changes: &[Change], depth: u8) -> Vec<Change> {
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    let mut news = News { before, came: Vec::new(), status: before.status };
    let happened = changes.iter().filter_map(|change| news.of(change));
    happened.map(|what| Change::Tell { what, depth }).collect()
}

/// How many more events may wait in a chat, after these changes: what is told by them makes room.
pub(crate) fn room(before: &Chat, changes: &[Change]) -> usize {
    let told = changes.iter().map(|change| match change {
        Change::Told { count } => usize::try_from(*count).unwrap_or(usize::MAX),
        _ => 0,
    });
    let wait = before.waiting.as_ref().map_or(0, |waiting| waiting.notices.len());
    NOTICES_MAX.saturating_sub(wait.saturating_sub(told.sum()))
}

/// The chat as far as its events depend on it.
struct News<'a> {
    before: &'a Chat,
    /// Who came or went since, and whether they are there.
    came: Vec<(&'a str, bool)>,
    status: ChatStatus,
}

impl<'a> News<'a> {
    fn of(&mut self, change: &'a Change) -> Option<Happened> {
        match change {
            Change::Join { id, .. } if !self.is_there(id) => {
                self.came.push((id, true));
                Some(Happened::Joined { id: id.clone() })
            }
            Change::Leave { id } if self.is_there(id) => {
                self.came.push((id, false));
                let member = self.before.roster.get(id);
                let role = member.map(|member| member.role.clone()).unwrap_or_default();
                Some(Happened::Left { id: id.clone(), role })
            }
            Change::Start if self.status == ChatStatus::Pending => {
                self.status = ChatStatus::Started;
                Some(Happened::Started)
            }
            Change::End { reason } if self.status != ChatStatus::Ended => {
                self.status = ChatStatus::Ended;
                Some(Happened::Ended { reason: reason.clone() })
            }
            _ => None,
        }
    }

    fn is_there(&self, id: &str) -> bool {
        let since = self.came.iter().rev().find(|(who, _)| *who == id);
        since.map_or_else(|| self.before.roster.contains_key(id), |(_, there)| *there)
    }
}

/// What a listener is told of it, in the chat as it is by then.
pub(crate) fn event(chat: &Chat, what: &Happened) -> Event {
    let about = |name, subject| Event { name, subject, attrs: Vec::new() };
    match what {
        Happened::Started => about("chat.started", None),
        Happened::Ended { reason } => {
            let attrs = vec![("reason".to_owned(), reason.clone())];
            Event { attrs, ..about("chat.ended", None) }
        }
        Happened::Joined { id } => about("member.joined", Some(participant(chat, id))),
        Happened::Left { id, role } => {
            let (id, role, status) = (id.clone(), role.clone(), "disconnected".to_owned());
            let subject = Participant { id, role, status, ..Participant::default() };
            about("member.left", Some(subject))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Attrs, Change, Chat, ChatToken, Happened, NOTICES_MAX};

    use super::{event, notices, room};

    fn join(id: &str) -> Change {
        Change::Join { id: id.into(), role: "guest".into(), attrs: Attrs::new() }
    }

    fn leave(id: &str) -> Change {
        Change::Leave { id: id.into() }
    }

    fn chat() -> Chat {
        let mut chat = Chat::new(ChatToken([1; 16]));
        chat.change(&join("alice"), 1);
        chat
    }

    fn told(changes: &[Change]) -> Vec<&'static str> {
        let told = notices(&chat(), changes, 0);
        let name = |change: &Change| match change {
            Change::Tell { what, depth: 0 } => event(&chat(), what).name,
            other => panic!("{other:?}"),
        };
        told.iter().map(name).collect()
    }

    #[test]
    fn what_changes_somebodys_being_there_is_told_and_nothing_else() {
        assert_eq!(told(&[join("alice"), leave("bob")]), [""; 0]);
        assert_eq!(told(&[join("bob"), join("bob")]), ["member.joined"]);
        let to_and_fro = [leave("alice"), join("alice"), leave("alice")];
        assert_eq!(told(&to_and_fro), ["member.left", "member.joined", "member.left"]);
    }

    #[test]
    fn a_chat_starts_and_ends_once() {
        let end = || Change::End { reason: "over".into() };
        assert_eq!(
            told(&[Change::Start, Change::Start, end(), end()]),
            ["chat.started", "chat.ended"]
        );
        let ended = event(&chat(), &Happened::Ended { reason: "over".into() });
        assert_eq!(ended.attrs, [("reason".to_owned(), "over".to_owned())]);
        let left = event(&chat(), &Happened::Left { id: "alice".into(), role: "guest".into() });
        assert_eq!(left.subject.unwrap().status, "disconnected");
    }

    #[test]
    fn no_more_wait_than_a_chat_holds_and_what_is_told_makes_room() {
        let mut chat = chat();
        assert_eq!(room(&chat, &[]), NOTICES_MAX);
        for number in 0..NOTICES_MAX {
            let what = Happened::Joined { id: number.to_string() };
            chat.change(&Change::Tell { what, depth: 0 }, 1);
        }
        assert_eq!(room(&chat, &[join("bob")]), 0);
        assert_eq!(room(&chat, &[Change::Told { count: 1 }, Change::Told { count: 1 }]), 2);
    }

    #[test]
    fn events_that_lead_to_each_other_come_to_an_end() {
        assert_eq!(notices(&chat(), &[join("bob")], 3).len(), 1);
        assert_eq!(notices(&chat(), &[join("bob")], 4), []);
    }
}
