//! A small file that is replaced as a whole and believed only as a whole.
//!
//! ```text
//! file = magic (8 bytes), version u32, length of the body u32, crc32c u32 of all before and the body, body
//! ```
//!
//! After a crash there is the one before or this one. Numbers are little-endian.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Magic, version, length, checksum.
const HEAD: usize = 20;

/// Where a file is, and what it must be to be read.
#[derive(Clone, Debug)]
pub struct KeptFile {
    path: PathBuf,
    magic: [u8; 8],
    version: u32,
    bytes_max: usize,
}

impl KeptFile {
    /// A file at `path` that begins with `magic`, of this version, with at most so many bytes of body.
    pub fn new(path: impl Into<PathBuf>, magic: [u8; 8], version: u32, bytes_max: usize) -> Self {
        Self { path: path.into(), magic, version, bytes_max }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its body; `None` if there is no file. Blocks.
    ///
    /// # Errors
    /// The system's; `InvalidData` if it is damaged, too long, or of another version or kind.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = self.bytes_max.saturating_add(HEAD + 1);
        let mut bytes = Vec::new();
        file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "damaged or of another version");
        self.body(&bytes).map(|body| Some(body.to_vec())).ok_or_else(damaged)
    }

    /// Replaces it; when this returns, it would survive a loss of power. Its folder is made if it is not
    /// there. Blocks.
    ///
    /// # Errors
    /// The system's, or `InvalidInput` if the body is too long; the file before it stays.
    pub fn replace(&self, body: &[u8]) -> io::Result<()> {
        if body.len() > self.bytes_max {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&self.head(body))?;
            file.write_all(body)?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| fs::rename(&new, &self.path));
        if renamed.is_err() {
            // The first error is the one to tell.
            drop(fs::remove_file(&new));
        }
        renamed?;
        File::open(folder)?.sync_all()
    }

    fn head(&self, body: &[u8]) -> Vec<u8> {
        let mut head = self.magic.to_vec();
        head.extend(self.version.to_le_bytes());
        head.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), body);
        head.extend(crc.to_le_bytes());
        head
    }

    fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (head, body) = bytes.split_at_checked(HEAD)?;
        (body.len() <= self.bytes_max && head == self.head(body)).then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(folder: &Path) -> KeptFile {
        KeptFile::new(folder.join("deep/kept"), *b"CRLNTEST", 2, 40)
    }

    #[test]
    fn it_comes_back_whole_and_cut_or_changed_anywhere_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        assert_eq!(kept.read().unwrap(), None);
        kept.replace(b"first").unwrap();
        kept.replace(b"second").unwrap();
        assert_eq!(kept.read().unwrap().as_deref(), Some(&b"second"[..]));
        let whole = fs::read(kept.path()).unwrap();
        for at in 0..whole.len() {
            fs::write(kept.path(), &whole[..at]).unwrap();
            assert_eq!(kept.read().unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            fs::write(kept.path(), &changed).unwrap();
            assert_eq!(kept.read().unwrap_err().kind(), io::ErrorKind::InvalidData, "at {at}");
        }
    }

    #[test]
    fn a_body_that_is_too_long_replaces_nothing_and_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        kept.replace(b"first").unwrap();
        assert!(kept.replace(&[1; 41]).is_err());
        assert_eq!(kept.read().unwrap().as_deref(), Some(&b"first"[..]));
        let wider = KeptFile { bytes_max: 100, ..kept.clone() };
        wider.replace(&[1; 41]).unwrap();
        assert!(kept.read().is_err());
        let later = KeptFile { version: 3, ..wider.clone() };
        later.replace(b"later").unwrap();
        assert!(wider.read().is_err(), "of another version");
    }

    /// The bytes of a real file.
    #[test]
    fn it_has_the_bytes_it_always_had() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept(folder.path());
        kept.replace(b"ab").unwrap();
        let expected = [&b"CRLNTEST"[..], &[2, 0, 0, 0, 2, 0, 0, 0]].concat();
        let crc = crc32c::crc32c(&[&expected[..], b"ab"].concat()).to_le_bytes();
        assert_eq!(fs::read(kept.path()).unwrap(), [&expected[..], &crc, b"ab"].concat());
    }
}
