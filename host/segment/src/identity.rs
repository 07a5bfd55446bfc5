//! The identity file: who the data directory belongs to.
//!
//! ```text
//!  0  8  magic "CRLNNODE"
//!  8  4  version, 1
//! 12  4  length of the body
//! 16  4  crc32c of bytes 0 to 15 and of the body
//! 20     body:
//!        8  store
//!        8  boot
//!        2  partitions
//!        1  whether the cluster is known
//!        8  cluster, or zeros
//!        1  length of the node's name
//!        n  the node's name
//!        4  number of positions
//!       16  each position
//! ```
//!
//! It is replaced as a whole: written beside, synced, renamed, the folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use hashring::{NodeId, Position};

use crate::disk::sync_folder;

const NAME: &str = "identity";
const MAGIC: [u8; 8] = *b"CRLNNODE";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 20;

/// What the identity file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) store: u64,
    pub(crate) boot: u64,
    pub(crate) partitions: u16,
    pub(crate) cluster: Option<u64>,
    pub(crate) positions: Vec<Position>,
}

/// Why there is no identity.
#[derive(Debug)]
pub(crate) enum NoIdentity {
    /// There is no file.
    Missing,
    /// It does not verify.
    Broken,
    /// A newer version wrote it.
    Newer,
    /// It could not be read.
    Disk(io::Error),
}

impl Identity {
    /// Replaces the file; when this returns, it would survive a loss of power.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join("identity.new");
        let mut file = File::create(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&new, folder.join(NAME))?;
        sync_folder(folder)
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, NoIdentity> {
        match fs::read(folder.join(NAME)) {
            Ok(bytes) => Self::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoIdentity::Missing),
            Err(error) => Err(NoIdentity::Disk(error)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.store.to_le_bytes());
        body.extend_from_slice(&self.boot.to_le_bytes());
        body.extend_from_slice(&self.partitions.to_le_bytes());
        body.push(u8::from(self.cluster.is_some()));
        body.extend_from_slice(&self.cluster.unwrap_or(0).to_le_bytes());
        let name = self.node.as_str().as_bytes();
        // A node's name is a DNS label: at most 63 bytes.
        body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        body.extend_from_slice(name);
        let positions = u32::try_from(self.positions.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&positions.to_le_bytes());
        for position in &self.positions {
            body.extend_from_slice(&position.0.to_le_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &body);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, NoIdentity> {
        let (head, body) = bytes.split_at_checked(HEAD_BYTES).ok_or(NoIdentity::Broken)?;
        let (fields, crc) = head.split_at_checked(16).ok_or(NoIdentity::Broken)?;
        let found = crc32c::crc32c_append(crc32c::crc32c(fields), body).to_le_bytes();
        if !fields.starts_with(&MAGIC) || crc != found {
            return Err(NoIdentity::Broken);
        }
        let mut fields = Fields(fields.get(8..).unwrap_or_default());
        if fields.array().map(u32::from_le_bytes) != Some(VERSION) {
            return Err(NoIdentity::Newer);
        }
        Self::decode_body(&mut Fields(body)).ok_or(NoIdentity::Broken)
    }

    fn decode_body(body: &mut Fields<'_>) -> Option<Self> {
        let store = u64::from_le_bytes(body.array()?);
        let boot = u64::from_le_bytes(body.array()?);
        let partitions = u16::from_le_bytes(body.array()?);
        let [known] = body.array()?;
        let cluster = u64::from_le_bytes(body.array()?);
        let [length] = body.array()?;
        let name = body.bytes(usize::from(length))?;
        let node = std::str::from_utf8(name).ok()?.parse().ok()?;
        let count = u32::from_le_bytes(body.array()?);
        let mut positions = Vec::new();
        for _ in 0..count {
            positions.push(Position(u128::from_le_bytes(body.array()?)));
        }
        let cluster = (known == 1).then_some(cluster);
        body.0.is_empty().then_some(Self { node, store, boot, partitions, cluster, positions })
    }
}

/// A number that nobody had before.
pub(crate) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

/// Bytes still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            node: "n1".parse().unwrap(),
            store: 7,
            boot: 3,
            partitions: 256,
            cluster: Some(9),
            positions: vec![Position(1), Position(u128::MAX)],
        }
    }

    #[test]
    fn an_identity_is_read_back() {
        for cluster in [None, Some(9)] {
            let identity = Identity { cluster, ..identity() };
            assert_eq!(Identity::decode(&identity.encode()).unwrap(), identity);
        }
    }

    #[test]
    fn no_flipped_bit_and_no_missing_byte_goes_unseen() {
        let whole = identity().encode();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(Identity::decode(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}
