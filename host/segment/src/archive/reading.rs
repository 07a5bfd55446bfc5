//! Reading an archive: first how many sequences there are, then each in order, verified.
//!
//! A sequence is given out whole and only after its records and both digests were verified; of a range,
//! every piece that it touches. What does not verify is an error and never a shorter success.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::fact::{Fact, Final, Sequence};
use crate::archive::index::Stored;
use crate::archive::name::{CollectionName, Key};
use crate::archive::run::{self, Broken};
use crate::archive::store::{Archive, Damaged, Shared};
use crate::archive::{Adler32, Event, Md5, ReadError, Standing, UnifiedId, Version, visibility};
use crate::ledger::Position;
use crate::record::Seed;

/// A file may be replaced while it is read: so often the new place is looked up.
const LOOKS_MAX: usize = 3;

/// A version of a key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Which version.
    pub version: UnifiedId,
    /// Its bytes.
    pub size: u64,
    /// The earliest time of its parts, in Unix milliseconds.
    pub time_ms: u64,
    /// Its parts in order; one, if it is not conjoined.
    pub parts: Vec<Final>,
}

/// What is known of a sequence without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// How many bytes.
    pub size: u32,
    /// Their MD5.
    pub md5: Md5,
    /// Their Adler-32.
    pub adler32: Adler32,
}

/// An archive being read.
#[derive(Debug)]
pub struct Reading {
    shared: Arc<Shared>,
    listed: Listed,
    /// Parts that are not begun yet.
    parts: VecDeque<Final>,
    /// The part that is read, and what is left of it.
    part: Option<(Final, VecDeque<(Sequence, Position)>)>,
    /// Sequences that are left.
    left: u64,
}

impl Archive {
    /// Begins to read the version that a key shows, or another one that can be seen.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        collection: &CollectionName,
        key: &Key,
        version: Option<UnifiedId>,
    ) -> Result<Reading, ReadError> {
        let shared = Arc::clone(self.shared());
        let listed = find(&shared, collection, key, version)?;
        let parts: VecDeque<Final> = listed.parts.iter().cloned().collect();
        let left = parts.iter().map(|part| u64::from(part.sequences)).sum();
        Ok(Reading { shared, listed, parts, part: None, left })
    }

    /// The versions of a key that can be seen, rising.
    ///
    /// # Errors
    /// [`ReadError::UnknownCollection`], or the index could not be read.
    pub fn versions(
        &self,
        collection: &CollectionName,
        key: &Key,
    ) -> Result<Vec<Listed>, ReadError> {
        let (stored, versions) = known(self.shared(), collection, key)?;
        let seen = versions.into_iter().filter(|found| found.standing == Standing::Visible);
        Ok(seen.map(|version| listed(key, &stored, &version)).collect())
    }

    /// Keys that begin with `prefix` and come after `marker`, in the order of their bytes, each with what
    /// it shows: at most `limit`, and whether there are more.
    ///
    /// # Errors
    /// [`ReadError::UnknownCollection`], or the index could not be read.
    pub fn list(
        &self,
        collection: &CollectionName,
        prefix: &str,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool), ReadError> {
        let mut found = Vec::new();
        // Right behind a key comes the key with a zero behind it.
        let mut from = marker.map_or_else(Vec::new, |marker| [marker.as_bytes(), &[0]].concat());
        from = from.max(prefix.as_bytes().to_vec());
        if self.shared().versioning(collection).is_none() {
            return Err(ReadError::UnknownCollection(collection.clone()));
        }
        loop {
            let wanted =
                u64::try_from(limit.saturating_sub(found.len())).unwrap_or(1).clamp(1, 1000);
            let keys = self.shared().index.keys(collection, &from, wanted)?;
            for key in &keys {
                if !key.as_str().starts_with(prefix) {
                    return Ok((found, false));
                }
                if let Some(newest) = self.versions(collection, key)?.pop() {
                    if found.len() >= limit {
                        return Ok((found, true));
                    }
                    found.push(newest);
                }
            }
            let Some(last) = keys.last() else { return Ok((found, false)) };
            from = [last.as_str().as_bytes(), &[0]].concat();
        }
    }
}

impl Archive {
    /// The sequences of a segment that are here, to be read in any order.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn part(&self, made: Final) -> Result<PartReading, ReadError> {
        let shared = Arc::clone(self.shared());
        let sequences = shared.index.sequences(&made)?;
        Ok(PartReading { shared, made, sequences })
    }
}

/// The sequences of a segment, to be read in any order.
#[derive(Debug)]
pub struct PartReading {
    shared: Arc<Shared>,
    made: Final,
    sequences: Vec<(Sequence, Position)>,
}

impl PartReading {
    /// What is known of the sequences, from the first on without a gap.
    pub fn table(&self) -> Vec<Told> {
        let whole = (0..).zip(&self.sequences).take_while(|(at, (found, _))| *at == found.number);
        let told = |sequence: &Sequence| Told {
            size: sequence.size,
            md5: sequence.md5,
            adler32: sequence.adler32,
        };
        whole.map(|(_, (sequence, _))| told(sequence)).collect()
    }

    /// Some bytes of a sequence; every piece that they touch is verified, and all digests if it is the
    /// whole.
    ///
    /// # Errors
    /// [`ReadError::Damaged`], also if it is not here, and those of the disk. What is broken is owed from
    /// then on.
    pub fn read(&self, number: u32, range: Range<u32>) -> Result<Bytes, ReadError> {
        let found = self.sequences.iter().find(|(sequence, _)| sequence.number == number);
        let Some((sequence, at)) = found else {
            let (version, what) = (self.made.at.version, "it is in no value file".to_owned());
            return Err(ReadError::Damaged { sequence: number, version, what });
        };
        let whole = range.start == 0 && range.end >= sequence.size;
        self.shared.sequence(&self.made, sequence, *at, (!whole).then_some(range))
    }

    /// Its pieces verify, and together they are not what was written.
    pub fn is_broken(&self, number: u32) {
        self.shared.owe(&self.made, number);
    }
}

impl Reading {
    /// What is read.
    pub fn listed(&self) -> &Listed {
        &self.listed
    }

    /// How many sequences are left; asked first, how many there are.
    pub fn count(&self) -> u64 {
        self.left
    }

    /// The next sequence; `None` behind the last.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] and those of the disk. Nothing of the sequence is given out.
    pub fn next_sequence(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some((part, sequence, at)) = self.advance()? else { return Ok(None) };
        let data = self.shared.sequence(&part, &sequence, at, None)?;
        Ok(Some(data))
    }

    /// The bytes of a range, sequence by sequence. What is before the range is not read.
    ///
    /// # Errors
    /// [`ReadError::Range`] if it begins behind the last byte, and those of
    /// [`Reading::next_sequence`].
    pub fn range(mut self, range: Range<u64>, mut out: impl FnMut(Bytes)) -> Result<(), ReadError> {
        let size = self.listed.size;
        if range.start >= size {
            return Err(ReadError::Range { from: range.start, size });
        }
        let mut first = 0_u64;
        while let Some((part, sequence, at)) = self.advance()? {
            let end = first.saturating_add(u64::from(sequence.size));
            if first >= range.end {
                return Ok(());
            }
            if end > range.start {
                let inside = |at: u64| u32::try_from(at.saturating_sub(first)).unwrap_or(u32::MAX);
                let wanted = inside(range.start)..inside(range.end.min(end));
                out(self.shared.sequence(&part, &sequence, at, Some(wanted))?);
            }
            first = end;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(Final, Sequence, Position)>, ReadError> {
        loop {
            if let Some((part, left)) = &mut self.part
                && let Some((sequence, at)) = left.pop_front()
            {
                self.left = self.left.saturating_sub(1);
                return Ok(Some((part.clone(), sequence, at)));
            }
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            let sequences = self.shared.sequences(&part)?;
            self.part = Some((part, sequences.into()));
        }
    }
}

impl Shared {
    /// The places of all sequences of a segment.
    pub(crate) fn sequences(&self, part: &Final) -> Result<Vec<(Sequence, Position)>, ReadError> {
        let found = self.index.sequences(part)?;
        let whole =
            (0..part.sequences).zip(&found).take_while(|(at, (found, _))| *at == found.number);
        let whole = whole.count();
        if whole == found.len() && u32::try_from(whole) == Ok(part.sequences) {
            return Ok(found);
        }
        let sequence = u32::try_from(whole).unwrap_or(u32::MAX);
        let what = "it is in no value file".to_owned();
        Err(ReadError::Damaged { sequence, version: part.at.version, what })
    }

    /// A sequence, or a range of it, verified.
    pub(crate) fn sequence(
        &self,
        part: &Final,
        sequence: &Sequence,
        mut at: Position,
        range: Option<Range<u32>>,
    ) -> Result<Bytes, ReadError> {
        let seed = |at: Position| Seed::of_archive(self.config.store, at.file);
        for _look in 0..LOOKS_MAX {
            let Some(file) = self.open(at.file)? else {
                // Compaction may have moved it meanwhile.
                let moved = self.index.sequences(part)?.into_iter();
                let moved = moved.filter(|(found, _)| found.number == sequence.number);
                match moved.map(|(_, at)| at).find(|found| *found != at) {
                    Some(found) => at = found,
                    None => break,
                }
                continue;
            };
            let read = match range {
                None => run::read(&file, seed(at), at.offset, sequence),
                Some(range) => run::read_range(&file, seed(at), at.offset, sequence, range),
            };
            return match read {
                Ok(data) => {
                    self.retrieved(data.len());
                    Ok(Bytes::from(data))
                }
                Err(broken) => {
                    // Bytes that flipped are one sequence's, and owed. A row that points elsewhere is another matter: a
                    // scan of the value files shows what is right.
                    let lost = matches!(broken, Broken::Record { .. });
                    if lost && !run::stands(&file, seed(at), at.offset, sequence) {
                        self.index.distrust();
                    }
                    Err(self.broken(part, sequence, at, broken))
                }
            };
        }
        let what = format!("value file {:08} is gone", at.file);
        let file = self.path(at.file).unwrap_or_default();
        self.damaged(Damaged { file, offset: at.offset, what: what.clone() });
        self.owe(part, sequence.number);
        let version = part.at.version;
        Err(ReadError::Damaged { sequence: sequence.number, version, what })
    }

    /// Reports what is wrong with a sequence.
    fn broken(&self, part: &Final, sequence: &Sequence, at: Position, broken: Broken) -> ReadError {
        let file = self.path(at.file).unwrap_or_default();
        let (offset, what) = match broken {
            Broken::Disk(source) => return ReadError::Disk { file, source },
            Broken::Record { offset } => {
                (offset, format!("{} at byte {offset} does not verify", file.display()))
            }
            Broken::Digest => {
                (at.offset, format!("{} at byte {}: other digests", file.display(), at.offset))
            }
        };
        self.owe(part, sequence.number);
        self.damaged(Damaged { file, offset, what: what.clone() });
        ReadError::Damaged { sequence: sequence.number, version: part.at.version, what }
    }

    /// A value file, opened; `None` if there is no such file.
    pub(crate) fn open(&self, number: u32) -> Result<Option<File>, ReadError> {
        let Some(path) = self.path(number) else { return Ok(None) };
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::Disk { file: path, source }),
        }
    }
}

/// All that is known of a key, and what it makes of its versions.
fn known(
    shared: &Shared,
    collection: &CollectionName,
    key: &Key,
) -> Result<(Vec<Stored>, Vec<Version>), ReadError> {
    let versioning = shared.versioning(collection);
    let versioning = versioning.ok_or_else(|| ReadError::UnknownCollection(collection.clone()))?;
    let mut stored = shared.index.of_key(collection, key)?;
    stored.retain(|stored| stored.fact.event().is_some());
    let events: Vec<Event> = stored.iter().filter_map(|stored| stored.fact.event()).collect();
    let versions = visibility::versions(versioning, &events);
    Ok((stored, versions))
}

fn find(
    shared: &Shared,
    collection: &CollectionName,
    key: &Key,
    wanted: Option<UnifiedId>,
) -> Result<Listed, ReadError> {
    let (stored, mut versions) = known(shared, collection, key)?;
    versions.retain(|found| wanted.is_none_or(|wanted| found.id == wanted));
    versions.retain(|found| matches!(found.standing, Standing::Visible | Standing::Incomplete));
    let none = || wanted.map_or(ReadError::NotFound, ReadError::UnknownVersion);
    let found = versions.pop().ok_or_else(none)?;
    if found.standing == Standing::Incomplete {
        let what = "parts of it are in no value file".to_owned();
        return Err(ReadError::Damaged { sequence: 0, version: found.id, what });
    }
    Ok(listed(key, &stored, &found))
}

fn listed(key: &Key, stored: &[Stored], version: &Version) -> Listed {
    let parts = version.parts.iter().filter_map(|at| match &stored.get(*at)?.fact {
        Fact::Final(made) => Some(made.clone()),
        _ => None,
    });
    Listed {
        key: key.clone(),
        version: version.id,
        size: version.size,
        time_ms: version.time_ms,
        parts: parts.collect(),
    }
}
