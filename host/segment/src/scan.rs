//! Going through one value file, record by record.
//!
//! Where a record should be and none is, the file ends, or its last batch was torn, or something was
//! damaged. What stands behind tells which: a whole record vouches for everything before its batch, so a
//! break that a later record vouches for is damage, and a break that nothing vouches for lies in the last
//! batch, which was never confirmed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::record::{ALIGN, HEAD_BYTES, Head, NoRecord, Seed};
use crate::value_file::MARK_BYTES;

/// A window is read at least so large.
const WINDOW_BYTES: usize = 1 << 20;

/// What stands at a place.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record.
    Record(Head),
    /// A break that is vouched for. The next record is at `next`, if there is one.
    Damage {
        /// What the broken record says of itself, if that much is whole.
        head: Option<Head>,
        /// Where to go on.
        next: Option<u64>,
    },
    /// Nothing more. What stands behind it up to `stale` was never confirmed.
    End {
        /// Where there are only zeros.
        stale: u64,
    },
    /// A record of a newer version.
    Newer,
}

/// A value file being read from front to back.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a File,
    seed: Seed,
    bytes: u64,
    last: bool,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Scan<'a> {
    /// Only the last file has room behind its records; the others were cut to them.
    pub(crate) fn new(file: &'a File, seed: Seed, last: bool) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, seed, bytes, last, window: Vec::new(), window_at: 0 })
    }

    /// What stands at `at`. `vouched` is how far the file's records are known to reach.
    pub(crate) fn at(&mut self, at: u64, vouched: u64) -> io::Result<Found> {
        let head = match self.head(at)? {
            Ok(head) if self.whole(at, &head)? => return Ok(Found::Record(head)),
            Ok(head) => Some(head),
            Err(NoRecord::Newer) => return Ok(Found::Newer),
            Err(NoRecord::Broken) => None,
        };
        self.judge(at, vouched, head)
    }

    /// The body of a record that is whole.
    pub(crate) fn body(&mut self, at: u64, head: &Head) -> io::Result<&[u8]> {
        self.bytes_at(at.saturating_add(56), head.body_bytes())
    }

    /// There is no record at `at`: why?
    fn judge(&mut self, at: u64, vouched: u64, head: Option<Head>) -> io::Result<Found> {
        let mut first = None;
        let mut stale = at;
        let mut later = at.saturating_add(ALIGN);
        // A head that verifies but reaches over the end, or no room for a mark, shows that the file was
        // longer: nothing is written where the file does not yet reach.
        let reach = at.saturating_add(head.map_or(MARK_BYTES, |head| head.size()));
        let short = reach > self.bytes && (self.last || at < self.bytes);
        let mut known = vouched > at || short;
        if !self.is_zero(at)? {
            stale = later;
        }
        while let Some(place) = self.next_data(later)? {
            later = place.saturating_add(ALIGN);
            stale = later;
            let Ok(found) = self.head(place)? else { continue };
            if !self.whole(place, &found)? {
                continue;
            }
            first.get_or_insert(place);
            known |= place.saturating_sub(u64::from(found.since)) > at;
            if known {
                break;
            }
            later = place.saturating_add(found.size());
            stale = later;
        }
        Ok(if known {
            Found::Damage { head, next: first }
        } else {
            Found::End { stale: stale.min(self.bytes) }
        })
    }

    /// The first place from `from` on that is not zeros.
    fn next_data(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.bytes {
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            let step = left.min(WINDOW_BYTES);
            let window = self.bytes_at(at, step)?;
            let words = window.chunks(8).position(|word| word.iter().any(|byte| *byte != 0));
            if let Some(words) = words {
                return Ok(Some(at.saturating_add(u64::try_from(words).unwrap_or(0) * ALIGN)));
            }
            at = at.saturating_add(u64::try_from(step).unwrap_or(ALIGN));
            at = self.skip_hole(at);
        }
        Ok(None)
    }

    /// The end of the hole at `at`, as far as the file system tells; room taken ahead is one.
    fn skip_hole(&self, at: u64) -> u64 {
        match rustix::fs::seek(self.file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data.max(at) / ALIGN * ALIGN,
            Err(rustix::io::Errno::NXIO) => self.bytes,
            Err(_) => at,
        }
    }

    fn is_zero(&mut self, at: u64) -> io::Result<bool> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let bytes = self.bytes_at(at, left.min(8))?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    fn head(&mut self, at: u64) -> io::Result<Result<Head, NoRecord>> {
        if at.saturating_add(MARK_BYTES) > self.bytes {
            return Ok(Err(NoRecord::Broken));
        }
        let seed = self.seed;
        Ok(Head::read(self.bytes_at(at, HEAD_BYTES)?, seed, at))
    }

    fn whole(&mut self, at: u64, head: &Head) -> io::Result<bool> {
        // Before any memory is asked for: a length is only as good as the file is long.
        if at.saturating_add(head.size()) > self.bytes {
            return Ok(false);
        }
        Ok(head.vouches(self.body(at, head)?))
    }

    /// `length` bytes at `at`, which the file has.
    fn bytes_at(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let inside = at.checked_sub(self.window_at).and_then(|start| usize::try_from(start).ok());
        let inside = inside.filter(|start| start.saturating_add(length) <= self.window.len());
        let start = match inside {
            Some(start) => start,
            None => {
                let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
                self.window.resize(length.max(WINDOW_BYTES).min(left), 0);
                self.file.read_exact_at(&mut self.window, at)?;
                self.window_at = at;
                0
            }
        };
        let bytes = self.window.get(start..start.saturating_add(length));
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
