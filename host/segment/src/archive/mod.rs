//! The archive: what must outlive a chat, in value files of its own.
//!
//! An *archive* is the bytes of one version of a key in a collection. They arrive as *sequences* of at most
//! 10 MiB and exist once they are final; before that nobody sees them. Bulk data has files and a thread of
//! its own, so that no send ever waits for an upload.
//!
//! ```text
//! pure     visibility   unified_id   name   digest   active
//! bytes    fact   footer   run   data_file   marker   spaces   numbering
//! rows     index
//! threads  inbox → writer (decide)   reading   catalogue   recovery   by_hand (none)
//! keeping  keeper (pace)   collectable (pure)   judge   compaction → relocation   scrub
//! ```

mod active;
mod adopting;
mod applied;
mod by_hand;
mod catalogue;
mod collectable;
mod compaction;
mod data_file;
mod debt;
mod decide;
mod digest;
mod error;
mod fact;
mod footer;
mod inbox;
mod index;
mod judge;
mod keeper;
mod left;
mod marker;
mod measure;
mod name;
mod numbering;
mod operation;
mod pace;
mod reading;
mod recovery;
mod relocation;
mod run;
mod scrub;
mod spaces;
mod store;
mod undecided;
mod unified_id;
mod visibility;
mod writer;

pub use applied::Applied;
pub use catalogue::Catalogue;
pub use compaction::{Compacted, KeepError};
pub use debt::Debt;
pub use digest::{Adler32, Digesting, Md5, Table};
pub use error::{OpenError, ReadError};
pub use fact::{At, Fact, Final, Held};
pub use index::Usage;
pub use keeper::Keeping;
pub use name::{COLLECTION_BYTES_MAX, CollectionName, InvalidName, KEY_BYTES_MAX, Key, Upload};
pub use numbering::Folders;
pub(crate) use numbering::outside;
pub use operation::{
    Adopted, Answer, Closing, Done, META_BYTES_MAX, Opening, Operation, PARTS_MAX, Refused,
    SEGMENT_BYTES_MAX, SEQUENCE_BYTES_MAX, Slice,
};
pub use reading::{Listed, PartReading, Reading, Told};
pub use scrub::Scrubbed;
pub use spaces::SpaceConfig;
pub use store::{Archive, ArchiveConfig, Damaged, Ended, Found};
pub use unified_id::{InvalidVersion, UnifiedId, UnifiedIds};
pub use visibility::{Event, Standing, Version, Versioning, versions, visible};
