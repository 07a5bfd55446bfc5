//! The 64 bytes with which every value file begins, of whatever kind.
//!
//! ```text
//!  0  8  magic
//!  8  4  version
//! 12 48  fields, which the kind of file knows
//! 60  4  crc32c of bytes 0 to 59
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::record::array;

/// How long a header is: records begin behind it.
pub(crate) const HEADER_BYTES: u64 = 64;
/// Before the checksum.
const FIELDS_BYTES: usize = 60;

/// Why a header could not be read.
#[derive(Debug)]
pub(crate) enum NoHeader {
    /// It does not verify.
    Broken,
    /// It verifies, and is of a version this one does not know.
    Newer,
    /// It could not be read.
    Disk(io::Error),
}

/// A whole header that begins with `bytes`: magic, version, fields.
pub(crate) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(FIELDS_BYTES, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The bytes before the checksum of a file's header, which is whole and of this magic and version.
pub(crate) fn read(
    file: &File,
    magic: &[u8; 8],
    version: u32,
) -> Result<[u8; FIELDS_BYTES], NoHeader> {
    let mut bytes = [0; FIELDS_BYTES + 4];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(NoHeader::Broken);
        }
        read => read.map_err(NoHeader::Disk)?,
    }
    let (fields, crc) = bytes.split_at(FIELDS_BYTES);
    if crc != crc32c::crc32c(fields).to_le_bytes() || !fields.starts_with(magic) {
        return Err(NoHeader::Broken);
    }
    if u32::from_le_bytes(array(fields, 8)) != version {
        return Err(NoHeader::Newer);
    }
    Ok(array(fields, 0))
}
