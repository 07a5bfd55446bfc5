//! The archive: what must outlive a chat, in value files of its own.
//!
//! An *archive* is the bytes of one version of a key in a collection. It arrives as *sequences* of at most
//! 10 MiB and exists once it is final; before that nobody sees it. Bulk data has files and a thread of its
//! own, so that no send ever waits for an upload.

mod unified_id;
mod visibility;

pub use unified_id::{InvalidVersion, UnifiedId, UnifiedIds};
pub use visibility::{Event, Standing, Version, Versioning, versions, visible};
