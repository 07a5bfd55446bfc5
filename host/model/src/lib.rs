//! Chats, messages and entries, and the fold from entries to a chat. Pure: no I/O, no clock.

mod attachment;
mod chat;
mod chat_token;
mod cursor;
mod decided;
pub mod encode;
mod entry;
mod keeping;
mod keys;
mod lineup;
mod message;
mod outbox;
mod participant;
mod redaction;
mod roster;
mod waiting;
mod written;

pub use attachment::{ATTACHED_MAX, ATTACHMENTS, Attached, Reference, is_key_of};
pub use chat::{Chat, Notes};
pub use chat_token::{ChatToken, InvalidToken};
pub use cursor::{Cursor, InvalidCursor};
pub use decided::{DECISION_BYTES_MAX, DECISIONS_MAX, Decision, Decisions};
pub use entry::{Answer, Change, Dropped, Entry, Remembered};
pub use keeping::{COMMITTED, Durability, ERASE, IDLE, Keeping, Kept, Plan, Standing};
pub use keys::{KEYS_MAX, KeyHash, Keys, Known, TOLD_FOR_MS, TOLD_MAX};
pub use lineup::{Lineup, Link};
pub use message::{Attrs, Body, Message, MessageId, Route, Stamp};
pub use outbox::{
    Booked, Dead, Dialect, EventPlace, Frozen, FrozenId, InvalidDialect, Lane, OUTBOX, Outbox,
    OutboxChange, OutboxEntry, Part, ServiceRecord, StrangeOutbox, is_outbox,
};
pub use participant::{ChatStatus, Participant};
pub use redaction::{REDACTED_MAX, Redaction};
pub use roster::Roster;
pub use waiting::{
    HELD_BYTES_MAX, HELD_MAX, Happened, Held, Hold, NOTICES_MAX, Notice, OUTCALL_BYTES_MAX,
    OUTCALLS_MAX, Outcall, TIMERS_MAX, Timer, Waiting,
};
