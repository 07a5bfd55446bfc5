//! Why the archive cannot be opened, or bytes not be read.

use std::io;
use std::path::PathBuf;

use hashring::NodeId;

use crate::archive::UnifiedId;
use crate::archive::name::CollectionName;

/// Why the archive could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No space is configured. Nothing was changed; name at least one.
    #[error("the archive has no space: configure one")]
    NoSpaces,
    /// Two folders are the same space. Nothing was changed; one is a copy, remove it.
    #[error("{folder} is space {space}, and so is another folder: remove the one that is a copy")]
    SpaceTwice {
        /// Its number.
        space: u32,
        /// One of the folders.
        folder: PathBuf,
    },
    /// One folder was named twice, by two paths. Nothing was changed; name it once, and remove nothing.
    #[error("{folder} and {other} are two names of one folder: name it once")]
    FolderTwice {
        /// The one.
        folder: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A space that was used is not configured any more, and holds value files or is not there to be looked into.
    /// Nothing was changed; configure it again, what it holds is in no other.
    #[error(
        "space {space}, which was in {folder}, is not configured any more, and holds value files or cannot be \
         looked into: configure its folder again"
    )]
    SpaceNotConfigured {
        /// Its number.
        space: u32,
        /// Where it was.
        folder: PathBuf,
    },
    /// A space has no marker: its disk is not mounted, or the folder is not a space. Nothing was changed;
    /// mount it, or name an empty folder for a new space.
    #[error(
        "{folder} has no marker of a space: mount its disk, or name an empty folder for a new one"
    )]
    SpaceMissing {
        /// The space's folder.
        folder: PathBuf,
    },
    /// A space belongs to another node, or is another space. Nothing was changed; put the right folder
    /// there.
    #[error("{folder} is space {space} of node {node}")]
    ForeignSpace {
        /// The space's folder.
        folder: PathBuf,
        /// Which space it is.
        space: u32,
        /// Whose.
        node: NodeId,
    },
    /// A space cannot be written. Nothing was changed; give the node the right to, or mount the disk for
    /// writing.
    #[error("{folder} cannot be written")]
    ReadOnly {
        /// The space's folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A small file does not verify. Nothing was changed; restore it.
    #[error("{file} is damaged")]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// Two value files have the same number. Nothing was changed; one was copied, remove the copy.
    #[error("value file {file} stands in {folder} and in another space as well")]
    FileTwice {
        /// The number.
        file: u32,
        /// One of the folders.
        folder: PathBuf,
    },
    /// A value file belongs to another data directory. Nothing was changed; put the files back where they
    /// came from.
    #[error("{file} belongs to another data directory, or has another name there")]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A newer version wrote this. Nothing was changed; start that version again.
    #[error("{file} holds, at byte {offset}, what a newer version wrote")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// The disk refused. Nothing was lost; see the cause.
    #[error("{file}")]
    Disk {
        /// The file or folder.
        file: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The index could not be opened or written. Nothing was lost; it is only an index, see the cause.
    #[error("the archive's index")]
    Index {
        /// The cause.
        #[source]
        source: db::OpenError,
    },
    /// The index could not be read or filled. Nothing was lost; start again, or remove it.
    #[error("filling the archive's index")]
    Filling {
        /// The cause.
        #[source]
        source: db::Error,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such collection. Nothing was read; make it, or name another.
    #[error("there is no collection {0}")]
    UnknownCollection(CollectionName),
    /// The key has no version that can be seen. Nothing was read; it was never archived, or was deleted.
    #[error("there is no such key")]
    NotFound,
    /// The key has no such version that can be seen. Nothing was read; list its versions.
    #[error("the key has no version {0}")]
    UnknownVersion(UnifiedId),
    /// The range begins behind the last byte. Nothing was read; ask for bytes that there are.
    #[error("the range begins at {from}, and there are {size} bytes")]
    Range {
        /// Where it begins.
        from: u64,
        /// How many there are.
        size: u64,
    },
    /// What stands there is not what was written, or is not there any more. Nothing of the sequence was
    /// given out; another copy has it.
    #[error("sequence {sequence} of version {version} is damaged: {what}")]
    Damaged {
        /// Which sequence, counted in its part.
        sequence: u32,
        /// Of which version.
        version: UnifiedId,
        /// What is wrong, with the file.
        what: String,
    },
    /// The disk refused. It may be read again.
    #[error("{file}")]
    Disk {
        /// The value file.
        file: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The index could not be read. It may be read again; if it is damaged, the next start builds it anew.
    #[error("the archive's index")]
    Index(#[from] db::Error),
}
