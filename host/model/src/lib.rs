//! Chats, messages and entries, and the fold from entries to a chat. Pure: no I/O, no clock.

mod chat;
mod chat_token;
mod cursor;
pub mod encode;
mod entry;
mod keys;
mod message;
mod participant;

pub use chat::{Chat, GRACE_MS, Notes, Roster};
pub use chat_token::{ChatToken, InvalidToken};
pub use cursor::{Cursor, InvalidCursor};
pub use entry::{Answer, Change, Entry, Remembered};
pub use keys::{KEYS_MAX, KeyHash, Keys, Known};
pub use message::{Attrs, Body, Message, MessageId, Route, Stamp};
pub use participant::{ChatStatus, Participant};
