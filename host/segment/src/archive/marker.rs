//! What is written down of spaces: in each whose it is, and beside the index which there are.
//!
//! Both are small, replaced as a whole, and checked by themselves: magic, version, checksum, contents.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hashring::NodeId;

use crate::archive::OpenError;
use crate::disk::sync_folder;
use crate::record::array;

const MARKER: &str = "space";
const MARKER_MAGIC: [u8; 8] = *b"CRLNSPAC";
const MARKER_VERSION: u32 = 1;
const LIST: &str = "spaces";
const LIST_MAGIC: [u8; 8] = *b"CRLNSPCS";
/// The first version says which there are, and not where.
const LIST_VERSION: u32 = 2;

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) store: u64,
    pub(crate) space: u32,
    pub(crate) node: NodeId,
}

impl Mark {
    /// The marker in the folder of a space, if it has one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let marker = folder.join(MARKER);
        let bytes = match fs::read(&marker) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(disk(&marker, source)),
        };
        let (version, body) = unframed(&marker, MARKER_MAGIC, &bytes)?;
        if version != MARKER_VERSION {
            return Err(OpenError::Newer { file: marker, offset: 0 });
        }
        Self::decode(body).map(Some).ok_or(OpenError::Damaged { file: marker })
    }

    /// Marks a folder.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        replace(&folder.join(MARKER), &framed(MARKER_MAGIC, MARKER_VERSION, &self.encode()))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = self.store.to_le_bytes().to_vec();
        body.extend_from_slice(&self.space.to_le_bytes());
        body.extend_from_slice(self.node.as_str().as_bytes());
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let node = std::str::from_utf8(body.get(12..)?).ok()?.parse().ok()?;
        let (store, space) = (array(body, 0), array(body, 8));
        Some(Self { store: u64::from_le_bytes(store), space: u32::from_le_bytes(space), node })
    }
}

/// Which spaces an archive has, as its list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of the next one; 0 if there never was any.
    pub(crate) next: u32,
    /// Where each was when the archive was opened last, if that was kept.
    pub(crate) spaces: BTreeMap<u32, Option<PathBuf>>,
}

impl Known {
    /// The list in an archive's own folder; an empty one if there is none.
    pub(crate) fn read(home: &Path) -> Result<Self, OpenError> {
        let list = home.join(LIST);
        let bytes = match fs::read(&list) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(disk(&list, source)),
        };
        let (version, body) = unframed(&list, LIST_MAGIC, &bytes)?;
        let known = match version {
            1 => Some(Self::decode_first(body)),
            LIST_VERSION => Self::decode(body),
            _ => return Err(OpenError::Newer { file: list, offset: 0 }),
        };
        known.ok_or(OpenError::Damaged { file: list })
    }

    /// Writes the list.
    pub(crate) fn write(&self, home: &Path) -> Result<(), OpenError> {
        let list = home.join(LIST);
        let bytes = framed(LIST_MAGIC, LIST_VERSION, &self.encode());
        replace(&list, &bytes).map_err(|source| disk(&list, source))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = self.next.to_le_bytes().to_vec();
        for (id, root) in &self.spaces {
            let root = root.as_deref().unwrap_or_else(|| Path::new("")).as_os_str().as_bytes();
            body.extend_from_slice(&id.to_le_bytes());
            body.extend_from_slice(&u32::try_from(root.len()).unwrap_or(0).to_le_bytes());
            body.extend_from_slice(root);
        }
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (next, mut rest) = body.split_first_chunk::<4>()?;
        let mut spaces = BTreeMap::new();
        while !rest.is_empty() {
            let (id, behind) = rest.split_first_chunk::<4>()?;
            let (length, behind) = behind.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (root, behind) = behind.split_at_checked(length)?;
            let root = (!root.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(root)));
            spaces.insert(u32::from_le_bytes(*id), root);
            rest = behind;
        }
        Some(Self { next: u32::from_le_bytes(*next), spaces })
    }

    fn decode_first(body: &[u8]) -> Self {
        let ids = body.chunks_exact(4).map(|id| u32::from_le_bytes(array(id, 0)));
        let spaces: BTreeMap<_, _> = ids.map(|id| (id, None)).collect();
        let next = spaces.keys().next_back().map_or(0, |last| last.saturating_add(1));
        Self { next, spaces }
    }
}

/// Magic, version, checksum of everything else, contents.
fn framed(magic: [u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The version and the contents.
fn unframed<'a>(
    file: &Path,
    magic: [u8; 8],
    bytes: &'a [u8],
) -> Result<(u32, &'a [u8]), OpenError> {
    let damaged = || OpenError::Damaged { file: file.to_owned() };
    let (head, rest) = bytes.split_first_chunk::<12>().ok_or_else(damaged)?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let whole = crc32c::crc32c_append(crc32c::crc32c(head), body).to_le_bytes() == *crc;
    if !whole || !head.starts_with(&magic) {
        return Err(damaged());
    }
    Ok((u32::from_le_bytes(array(head, 8)), body))
}

/// Replaces a small file as a whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn disk(file: &Path, source: io::Error) -> OpenError {
    OpenError::Disk { file: file.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When this breaks, folders that were written before cannot be opened any more.
    #[test]
    fn a_list_has_the_bytes_it_always_had_and_the_first_version_is_read() {
        let root = PathBuf::from("/a");
        let known = Known { next: 4, spaces: [(1, None), (3, Some(root))].into() };
        let bytes = known.encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0400000001000000000000000300000002000000".to_owned() + "2f61");
        assert_eq!(Known::decode(&bytes), Some(known));
        assert_eq!(Known::decode(&bytes[..bytes.len() - 1]), None);
        let first = Known::decode_first(&[3, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(first, Known { next: 8, spaces: [(3, None), (7, None)].into() });
    }
}
