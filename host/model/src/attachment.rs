//! What messages refer to in the archive, and which of that goes with them.
//!
//! A reference names one version of one key, and pins nothing. Only what lies in [`ATTACHMENTS`] under the chat's own
//! token belongs to the chat: it was there when the message was sent, and goes with the last message that names it. The
//! chat remembers by number which messages do, and what is to go, until that is gone: so whoever leads it next goes
//! on with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ChatToken, Message};

/// The collection of what belongs to messages.
pub const ATTACHMENTS: &str = "attachments";

/// Messages of one chat that have attachments and were not taken back: who leads it remembers each of them.
pub const ATTACHED_MAX: usize = 10_000;

/// A version of a key in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The version.
    pub version: u64,
}

impl Reference {
    /// Whether it is of something that belongs to the message.
    pub fn is_attachment(&self) -> bool {
        self.collection == ATTACHMENTS
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        self.collection.len() + self.key.len() + size_of::<u64>()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} version {}", self.collection, self.key, self.version)
    }
}

/// Whether a key of [`ATTACHMENTS`] is one of this chat.
pub fn is_key_of(chat: ChatToken, key: &str) -> bool {
    let rest = key.split_once('/').filter(|(token, _)| token.parse() == Ok(chat));
    rest.is_some_and(|(_, rest)| !rest.is_empty())
}

/// The attachments of a chat. Nearly all chats have none, and set nothing aside for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached(Option<Arc<All>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct All {
    /// The version that a message names, by its number in the chat.
    named: BTreeMap<u64, u64>,
    /// What nobody names any more and is to go: keys by version.
    going: BTreeMap<u64, String>,
}

impl Attached {
    /// Message `number` names a version. Beyond the bound it is not remembered, and goes with the chat.
    pub fn name(&mut self, number: u64, version: u64) {
        if self.has_room_for(1) {
            self.all().named.insert(number, version);
        }
    }

    /// Message `number` names nothing any more.
    pub(crate) fn unname(&mut self, number: u64) {
        self.less(|all| _ = all.named.remove(&number));
    }

    /// A version is to go.
    pub fn go(&mut self, version: u64, key: String) {
        self.all().going.insert(version, key);
    }

    /// It is gone.
    pub(crate) fn gone(&mut self, version: u64) {
        self.less(|all| _ = all.going.remove(&version));
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether so many more messages can name something.
    pub fn has_room_for(&self, more: usize) -> bool {
        let named = self.0.as_ref().map_or(0, |all| all.named.len());
        named.saturating_add(more) <= ATTACHED_MAX
    }

    /// Whether another message than `number` names a version.
    pub fn is_named_beside(&self, number: u64, version: u64) -> bool {
        self.named().any(|(of, named)| of != number && named == version)
    }

    /// Whether a version is to go.
    pub fn is_going(&self, version: u64) -> bool {
        self.0.as_ref().is_some_and(|all| all.going.contains_key(&version))
    }

    /// The versions that messages name, by number.
    pub fn named(&self) -> impl Iterator<Item = (u64, u64)> {
        let named = self.0.iter().flat_map(|all| &all.named);
        named.map(|(number, version)| (*number, *version))
    }

    /// What is to go: version and key.
    pub fn going(&self) -> impl Iterator<Item = (u64, &str)> {
        let going = self.0.iter().flat_map(|all| &all.going);
        going.map(|(version, key)| (*version, key.as_str()))
    }

    fn all(&mut self) -> &mut All {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Something is less, if there is anything.
    fn less(&mut self, change: impl FnOnce(&mut All)) {
        let Some(all) = &mut self.0 else { return };
        change(Arc::make_mut(all));
        if all.named.is_empty() && all.going.is_empty() {
            self.0 = None;
        }
    }
}

/// Follows what a message that is stored as `number` names.
pub(crate) fn follow(attached: &mut Attached, number: u64, message: &Message) {
    let archive = message.archive.as_deref().filter(|archive| archive.is_attachment());
    if let Some(archive) = archive {
        attached.name(number, archive.version);
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTACHED_MAX, Attached, is_key_of};
    use crate::ChatToken;

    #[test]
    fn a_key_is_its_chats_if_it_begins_with_all_of_the_token() {
        let chat = ChatToken([0xab; 16]);
        let token = chat.to_string();
        assert!(is_key_of(chat, &format!("{token}/photo.jpg")));
        assert!(is_key_of(chat, &format!("{token}/a/b")));
        let other = ChatToken([0xcd; 16]);
        for key in [
            token.clone(),
            format!("{token}/"),
            format!("{token}x/photo.jpg"),
            format!("x/{token}/photo.jpg"),
            format!("{other}/photo.jpg"),
            format!("{}/photo.jpg", &token[1..]),
            String::new(),
        ] {
            assert!(!is_key_of(chat, &key), "{key}");
        }
    }

    #[test]
    fn only_so_many_messages_are_remembered() {
        let mut attached = Attached::default();
        for number in 0..=u64::try_from(ATTACHED_MAX).unwrap() {
            attached.name(number, 7);
        }
        assert_eq!(attached.named().count(), ATTACHED_MAX);
        assert!(!attached.has_room_for(1) && attached.has_room_for(0));
        attached.unname(1);
        assert!(attached.has_room_for(1) && !attached.has_room_for(2));
    }
}
