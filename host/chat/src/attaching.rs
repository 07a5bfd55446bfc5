//! What messages refer to in the archive: whether it is there when they are sent, and that it goes when they do.
//!
//! A message may refer to anything; such a reference is stored as it was said, pins nothing and is looked at by nobody here. Only what
//! lies among the attachments under the chat's own token belongs to the chat: it must be there when the handlers are
//! asked, and is deleted when the last message that names it was taken back, or was kept back and is dropped, or when the
//! chat is forgotten. Both lie in one log, so who leads the chat decides about both. That something is to go is in the entry
//! that takes the message back or drops it, and that it is gone in a later one: in between, whoever leads deletes it, as
//! often as it takes, which is the same as once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{ATTACHED_MAX, ATTACHMENTS, Change, Chat, ChatToken, Message, Reference, is_key_of};

use crate::archives::NotArchived;
use crate::chats::{Asked, Shared};
use crate::conversation::{Appended, Conversation};
use crate::keeping::{Keeper, NotKept};
use crate::ran::{Interrupt, not_committed};
use crate::reign::Reign;
use crate::storing::entry;
use crate::{CallContext, Code, Naming, Refusal, Send};

/// Attachments of one chat that are deleted before that is stored.
const GOING_MAX: usize = 64;

/// Clearing a chat may take so long: what is left then is cleared the next time that somebody looks.
const CLEAR_MAX: Duration = Duration::from_secs(60);

impl Shared {
    /// The message with the version that it means, if it did not say it. What it refers to is there.
    pub(crate) async fn refer(
        &self,
        seen: &Appended,
        send: &Send,
        naming: &Naming,
        asked: &Asked<'_>,
    ) -> Result<Option<Box<Send>>, Interrupt> {
        if !is_looked_for(send.token, naming)? {
            return Ok(None);
        }
        let Some(keeper) = self.keeper.get() else {
            return Err(not_committed(Code::NotReady, "this node has no archive yet").into());
        };
        let looked = keeper.archives.look(&naming.key, naming.version, asked.deadline).await;
        let found = looked.map_err(|why| {
            let detail = format!("archive: whether it is there is not known at the moment: {why}");
            not_committed(Code::NotReady, detail)
        })?;
        // What is about to go is not there for anybody who comes now.
        let found = found.filter(|version| !seen.chat.attached.is_going(*version));
        let version = found.ok_or_else(|| absent(naming))?;
        let archive = Some(Box::new(Naming { version: Some(version), ..naming.clone() }));
        Ok(Some(Box::new(Send { archive, ..send.clone() })))
    }

    /// Deletes what is to go of a chat, and stores that it is gone. Whether there was anything.
    pub(crate) async fn detach(
        &self,
        keeper: &Keeper,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        chat: &Chat,
    ) -> Result<bool, NotKept> {
        let going: Vec<(u64, &str)> = chat.attached.going().take(GOING_MAX).collect();
        if going.is_empty() {
            return Ok(false);
        }
        for (version, key) in &going {
            let until = runtime::now() + self.config.timeout;
            let removed = keeper.archives.remove(key, *version, until).await;
            removed.map_err(NotKept::NotRemoved)?;
        }
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let still = going.iter().filter(|(version, _)| seen.chat.attached.is_going(*version));
        let changes: Vec<Change> =
            still.map(|(version, _)| Change::Detached { version: *version }).collect();
        if changes.is_empty() {
            drop(guard);
            self.barrier(reign, conversation, &seen, &asked).await?;
            return Ok(true);
        }
        let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        let entry = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        self.meters.detached.increment(count);
        Ok(true)
    }

    /// Deletes the attachments of a chat that is about to be forgotten, or just was. Of one that is archived they stay, with the archive.
    pub(crate) async fn clear(&self, token: ChatToken) -> Result<(), Interrupt> {
        let Some(keeper) = self.keeper.get() else { return Ok(()) };
        let cleared = keeper.archives.clear(token, runtime::now() + CLEAR_MAX).await;
        cleared.map_err(|why: NotArchived| {
            let detail = format!("the chat's attachments are not deleted yet: {why}");
            not_committed(Code::NotReady, detail).into()
        })
    }
}

/// Whether a reference is of something that must be there.
fn is_looked_for(chat: ChatToken, naming: &Naming) -> Result<bool, Refusal> {
    let invalid = |detail: String| Err(not_committed(Code::InvalidRequest, detail));
    if naming.collection != ATTACHMENTS {
        return match naming.version {
            Some(_) => Ok(false),
            None => invalid(format!(
                "archive.version: missing; only in {ATTACHMENTS} it may be left out"
            )),
        };
    }
    if !is_key_of(chat, &naming.key) {
        return invalid(format!(
            "archive.key: an attachment of this chat is {chat}/NAME: put it there first"
        ));
    }
    Ok(true)
}

/// What is named cannot be seen.
fn absent(naming: &Naming) -> Refusal {
    let Naming { collection, key, version } = naming;
    let what = match version {
        Some(version) => format!("{collection}/{key} has no version {version} that can be seen"),
        None => format!("there is no {collection}/{key}"),
    };
    let fix =
        "store it first, with PUT /v1/archive/attachments/…, and name the version that is answered";
    not_committed(Code::InvalidRequest, format!("archive: {what}: {fix}"))
}

/// Why a chat takes no more messages with attachments, if that is so. Those that are kept back have their place.
pub(crate) fn is_full(chat: &Chat, send: &Send) -> Option<Refusal> {
    send.archive.as_ref().filter(|naming| naming.collection == ATTACHMENTS)?;
    let held = held(chat).filter(|message| version_of(message).is_some()).count();
    let full = !chat.attached.has_room_for(held + 1);
    full.then(|| {
        let detail = format!(
            "{ATTACHED_MAX} messages of this chat have attachments, and it remembers no more of them"
        );
        not_committed(Code::ChatFull, detail)
    })
}

/// What goes when message `number` is taken back: what it names, if nobody else does.
pub(crate) fn detaches(chat: &Chat, number: u64, message: &Message) -> Option<Change> {
    let archive = attachment(message)?;
    let version = archive.version;
    let stays = chat.attached.is_named_beside(number, version)
        || held(chat).any(|message| version_of(message) == Some(version));
    (!stays).then(|| Change::Detach { key: archive.key.clone(), version })
}

/// What goes when these changes are made: what messages name that were kept back and are dropped by them, if nobody else
/// does after them. That a message was never stored is no reason to keep what came with it.
pub(crate) fn let_go(chat: &Chat, changes: &[Change], time_ms: u64) -> Vec<Change> {
    let is_dropped = |message: &Message| {
        changes.iter().any(|change| {
            matches!(change, Change::Settle { id, dropped: Some(_), .. } if *id == message.id)
        })
    };
    let named = held(chat).filter(|message| is_dropped(message)).filter_map(attachment);
    let named: BTreeMap<u64, &Reference> =
        named.map(|archive| (archive.version, archive)).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let mut after = chat.clone();
    for change in changes {
        after.change(change, time_ms);
    }
    let stays = |version| {
        // Messages have numbers from 1.
        after.attached.is_named_beside(0, version)
            || after.attached.is_going(version)
            || held(&after).any(|message| version_of(message) == Some(version))
    };
    let going = named.into_iter().filter(|(version, _)| !stays(*version));
    going.map(|(version, of)| Change::Detach { key: of.key.clone(), version }).collect()
}

/// The messages that are kept back.
fn held(chat: &Chat) -> impl Iterator<Item = &Message> {
    let held = chat.waiting.iter().flat_map(|waiting| waiting.held.values());
    held.map(|held| held.message.as_ref())
}

/// The attachment that a message names.
fn attachment(message: &Message) -> Option<&Reference> {
    message.archive.as_deref().filter(|archive| archive.is_attachment())
}

/// Its version.
fn version_of(message: &Message) -> Option<u64> {
    attachment(message).map(|archive| archive.version)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{
        ATTACHED_MAX, Attrs, Body, Change, Chat, ChatToken, Dropped, Held, Message, MessageId,
        Reference, Route, Waiting,
    };

    use super::{detaches, is_full, is_looked_for, let_go};
    use crate::{Code, Naming, Send};

    const TOKEN: ChatToken = ChatToken([1; 16]);

    fn message(collection: &str, version: u64) -> Message {
        let (collection, key) = (collection.to_owned(), format!("{TOKEN}/bell"));
        Message {
            id: MessageId([1; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("look".into()),
            archive: Some(Arc::new(Reference { collection, key, version })),
            attrs: Attrs::new(),
            time_ms: 1,
            sent_ms: None,
            stamps: Vec::new(),
        }
    }

    fn naming(collection: &str, key: &str, version: Option<u64>) -> Naming {
        Naming { collection: collection.into(), key: key.into(), version }
    }

    fn chat_of(versions: &[u64]) -> Chat {
        let mut chat = Chat::new(TOKEN);
        for version in versions {
            chat.change(&Change::Message(Arc::new(message("attachments", *version))), 1);
        }
        chat
    }

    /// A chat with messages that name these versions, and others that are kept back.
    fn kept_back(stored: &[u64], kept_back: &[(u8, u64)]) -> Chat {
        let held = kept_back.iter().map(|(id, version)| {
            let id = MessageId([*id; 16]);
            let message = Arc::new(Message { id, ..message("attachments", *version) });
            (id, Held { message, key: format!("k{id}"), holds: Vec::new() })
        });
        let waiting = Waiting { held: held.collect(), ..Waiting::default() };
        Chat { waiting: Some(Arc::new(waiting)), ..chat_of(stored) }
    }

    #[test]
    fn an_attachment_is_looked_for_and_anything_else_is_taken_at_its_word() {
        let key = format!("{TOKEN}/bell");
        let looked = |naming: Naming| {
            is_looked_for(TOKEN, &naming).map_err(|refusal| (refusal.code, refusal.detail))
        };
        assert_eq!(looked(naming("attachments", &key, None)), Ok(true));
        assert_eq!(looked(naming("attachments", &key, Some(7))), Ok(true));
        assert_eq!(looked(naming("photos", "bell", Some(7))), Ok(false));
        let (code, detail) = looked(naming("photos", "bell", None)).unwrap_err();
        assert!(code == Code::InvalidRequest && detail.starts_with("archive.version: missing"));
        for key in [TOKEN.to_string(), format!("{}/bell", ChatToken([2; 16])), "bell".to_owned()] {
            let (code, detail) = looked(naming("attachments", &key, Some(7))).unwrap_err();
            assert!(code == Code::InvalidRequest && detail.starts_with("archive.key: "), "{key}");
        }
    }

    #[test]
    fn an_attachment_goes_with_the_last_message_that_names_it() {
        let chat = chat_of(&[7, 7, 8]);
        let of = |chat: &Chat, number, version| {
            detaches(chat, number, &message("attachments", version)).is_some()
        };
        assert!(!of(&chat, 1, 7), "the second names it too");
        assert!(of(&chat, 3, 8));
        let mut later = chat.clone();
        let (reason, by) = (String::new(), String::new());
        let redact = Change::Redact { id: MessageId([1; 16]), number: 2, reason, by };
        later.change(&redact, 2);
        assert!(of(&later, 1, 7));
        assert_eq!(detaches(&chat, 3, &message("photos", 8)), None, "nobody's");
        let kept_back = kept_back(&[9], &[(2, 9)]);
        assert!(!of(&kept_back, 1, 9), "one that is kept back names it");
    }

    #[test]
    fn what_is_dropped_takes_along_what_nobody_else_names() {
        let chat = kept_back(&[9], &[(2, 7), (3, 7), (4, 8), (5, 9)]);
        let settle = |id, dropped: bool| {
            let (plugin, code, reason) = ("p".to_owned(), "dropped".to_owned(), String::new());
            let dropped = dropped.then_some(Dropped { plugin, code, reason });
            let (id, sender, key) = (MessageId([id; 16]), "alice".to_owned(), "k".to_owned());
            Change::Settle { id, sender, key, dropped }
        };
        let going = |changes: &[Change]| {
            let version = |change| match change {
                Change::Detach { version, .. } => version,
                other => panic!("{other:?}"),
            };
            let_go(&chat, changes, 2).into_iter().map(version).collect::<Vec<_>>()
        };
        let nothing = [0_u64; 0];
        assert_eq!(going(&[Change::Start]), nothing);
        assert_eq!(going(&[settle(2, true)]), nothing, "the other is still kept back");
        let all = [settle(2, true), settle(3, true), settle(4, true), settle(5, true)];
        assert_eq!(going(&all), [7, 8], "each once, and a stored message names the third");
        let stored = Change::Message(Arc::new(message("attachments", 7)));
        assert_eq!(going(&[settle(2, false), stored, settle(3, true)]), nothing, "one is stored");
        let (id, reason, by) = (MessageId([1; 16]), String::new(), String::new());
        let redact = Change::Redact { id, number: 1, reason, by };
        assert_eq!(going(&[redact.clone(), settle(5, true)]), [9], "and the other taken back");
        let detach = Change::Detach { key: format!("{TOKEN}/bell"), version: 9 };
        assert_eq!(going(&[redact, settle(5, true), detach]), nothing, "it goes already");
        let hold = Change::Hold {
            message: Arc::new(Message { id: MessageId([6; 16]), ..message("attachments", 8) }),
            key: "k6".into(),
            holds: Vec::new(),
        };
        assert_eq!(going(&[settle(4, true), hold]), nothing, "another is kept back");
    }

    #[test]
    fn a_chat_remembers_only_so_many() {
        let send = |archive| Send {
            token: TOKEN,
            key: "k".into(),
            acks: None,
            copies: None,
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("look".into()),
            archive,
            attrs: Attrs::new(),
            sent_ms: None,
        };
        let one = |collection| send(Some(Box::new(naming(collection, "k", Some(1)))));
        let mut chat = chat_of(&vec![7; ATTACHED_MAX - 1]);
        assert_eq!(is_full(&chat, &one("attachments")), None);
        chat.change(&Change::Message(Arc::new(message("attachments", 8))), 1);
        let full = is_full(&chat, &one("attachments")).map(|refusal| refusal.code);
        assert_eq!(full, Some(Code::ChatFull));
        assert_eq!((is_full(&chat, &one("photos")), is_full(&chat, &send(None))), (None, None));
    }
}
