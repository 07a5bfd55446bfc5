//! Objects on several nodes: uploads, what can be seen of them, reading, debts.
//!
//! An object's bytes go to all members of its key's partition while they arrive, by streams of their own, into
//! the archive that each node has ([`segment::archive`]). What makes them a version of a key is one small
//! entry in the partition's log, beside the entries of its chats: so an object exists on all members or on
//! none, and everything that is said of replication holds for it. Each member takes over what the log
//! decides; the primary says what can be seen, and any member that has the bytes gives them.
//!
//! ```text
//! below    ground
//! pure     place   entry   decide   question   compact   spoken   governor
//! leading  reign   leading (one request)   clearing (of a chat)   applying (the log into this node's archive)
//! asking   routing   listing
//! bytes    uploading   body   cutting   lane   holding   room   buffers   pace   performing      reading   serving   source
//! later    paying (what is owed)   undecided (uploads whose coordinator is gone)   unfinished (parts)
//!          left (what is held of partitions of others)
//! ```

#![forbid(unsafe_code)]

mod applying;
mod archive;
mod body;
mod buffers;
mod clearing;
mod compact;
mod comparing;
mod config;
mod cutting;
mod decide;
mod entry;
mod gather;
mod governor;
mod ground;
mod holding;
mod lane;
mod leading;
mod left;
mod listing;
mod meters;
mod pace;
mod paying;
mod performing;
mod place;
mod question;
mod reading;
mod refusal;
mod reign;
mod request;
mod room;
mod routing;
mod serving;
mod shared;
mod source;
mod spoken;
mod undecided;
mod unfinished;
mod uploading;
mod whole;

pub use archive::{Append, Archive};
pub use config::{Config, Sabotage};
pub use entry::{decided, without_bytes};
pub use ground::{Ground, Later};
pub use reading::Reading;
pub use refusal::{Code, Outcome, Refusal};
pub use request::{
    Body, BodyEnded, CHATS, Delete, Found, List, Listing, Name, Next, Part, Put, Stored, Whole,
    is_of_chats, is_whole_chat,
};
pub use segment::archive::{
    Adler32, CollectionName, Digesting, InvalidName, InvalidVersion, KEY_BYTES_MAX, Key,
    META_BYTES_MAX, Md5, PARTS_MAX, SEGMENT_BYTES_MAX, Table, UnifiedId, Upload, Usage, Versioning,
};
pub use spoken::is_question;
pub use uploading::ENTIRE_BYTES_MAX;
