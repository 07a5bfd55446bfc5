//! How far a client has seen each chat, so that changing nodes never takes it back.
//!
//! Every request about a chat carries the furthest cursor that an answer has shown; a node that is not
//! there yet waits, or says that it is not ready, and another one is asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::ChatToken;

use crate::Cursor;

/// Chats that are remembered. When there are more, all are forgotten, and with them only the promise not
/// to go back in a chat that was not asked about since.
const CHATS_MAX: usize = 10_000;

/// The furthest cursor of each chat.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<ChatToken, Cursor>>);

impl Seen {
    /// The furthest cursor that an answer about this chat has shown.
    pub(crate) fn of(&self, chat: ChatToken) -> Option<Cursor> {
        self.lock().get(&chat).cloned()
    }

    /// An answer has shown this cursor. Answers may come in another order than they were given in.
    pub(crate) fn note(&self, chat: ChatToken, cursor: &Cursor) {
        let mut seen = self.lock();
        if seen.get(&chat).is_some_and(|before| is_behind(cursor, before)) {
            return;
        }
        if seen.len() >= CHATS_MAX && !seen.contains_key(&chat) {
            seen.clear();
        }
        seen.insert(chat, cursor.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChatToken, Cursor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a cursor is behind another. What cannot be read is taken for the newer one: it was made by a
/// node that this client does not know.
fn is_behind(cursor: &Cursor, before: &Cursor) -> bool {
    let place = |cursor: &Cursor| cursor.0.parse::<model::Cursor>();
    matches!((place(cursor), place(before)), (Ok(cursor), Ok(before)) if cursor <= before)
}

#[cfg(test)]
mod tests {
    use super::{CHATS_MAX, Seen};
    use crate::Cursor;
    use model::ChatToken;

    const CHAT: ChatToken = ChatToken([1; 16]);

    #[test]
    fn the_furthest_cursor_stays_in_whatever_order_answers_come() {
        let seen = Seen::default();
        assert_eq!(seen.of(CHAT), None);
        for (comes, stays) in [
            ("1-5", "1-5"),
            ("1-4", "1-5"),
            ("1-a", "1-a"),
            ("2-3", "2-3"),
            ("1-ff", "2-3"),
            ("new", "new"),
        ] {
            seen.note(CHAT, &Cursor(comes.to_owned()));
            assert_eq!(seen.of(CHAT), Some(Cursor(stays.to_owned())), "{comes}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let seen = Seen::default();
        for number in 0..=u128::try_from(CHATS_MAX).unwrap() {
            seen.note(ChatToken(number.to_le_bytes()), &Cursor("1-1".to_owned()));
        }
        assert_eq!(seen.lock().len(), 1);
    }
}
