//! The index of the archive, in SQLite: which facts there are, and where sequences stand.
//!
//! Every row is a record of a value file, with its place: the same files give the same rows, so the index
//! can be thrown away. It is written after the sync of what it points to and before anybody is answered;
//! what it says of bytes is verified against the bytes whenever they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use db::{Error, OpenError as DbError, Reader, Row, Schema, Transaction, Value, Writer, set_aside};
use hashring::NodeId;

use crate::archive::fact::{At, FINAL, Fact, Final, Held, Sequence};
use crate::archive::footer::Footer;
use crate::archive::name::{CollectionName, Key, Upload};
use crate::archive::{OpenError, Versioning};
use crate::ledger::Position;
use crate::record::array;

const SCHEMA: Schema = Schema {
    application_id: 0x4352_4c41,
    migrations: &[
        "
        CREATE TABLE store (id INTEGER PRIMARY KEY CHECK (id = 1), store INTEGER NOT NULL) STRICT;
        CREATE TABLE files (
            file INTEGER PRIMARY KEY, space INTEGER NOT NULL, size INTEGER NOT NULL,
            hash BLOB NOT NULL, records INTEGER NOT NULL) STRICT;
        CREATE TABLE facts (
            identity BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL,
            collection TEXT, key BLOB, version INTEGER, upload BLOB, size INTEGER,
            file INTEGER NOT NULL, offset INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
        CREATE INDEX facts_of_key ON facts (collection, key, version);
        CREATE INDEX facts_of_upload ON facts (upload) WHERE upload IS NOT NULL;
        CREATE INDEX facts_of_kind ON facts (kind) WHERE kind IN (0, 7);
        CREATE INDEX facts_in_file ON facts (file, offset);
        CREATE TABLE sequences (
            upload BLOB NOT NULL, sequence INTEGER NOT NULL,
            file INTEGER NOT NULL, offset INTEGER NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (upload, sequence)) STRICT, WITHOUT ROWID;
        CREATE INDEX sequences_in_file ON sequences (file, offset);
        CREATE TABLE scrub (
            id INTEGER PRIMARY KEY CHECK (id = 1), file INTEGER NOT NULL,
            offset INTEGER NOT NULL) STRICT;
    ",
        "
        CREATE TABLE applied (
            partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
            chain BLOB NOT NULL) STRICT;
        CREATE INDEX facts_of_shard ON facts ((version >> 10) & 8191, version)
            WHERE version IS NOT NULL;
        CREATE INDEX facts_held ON facts (kind) WHERE kind = 9;
    ",
        "
        CREATE INDEX facts_begun ON facts ((version >> 10) & 8191, version) WHERE kind = 4;
    ",
        "
        CREATE TABLE broken (
            upload BLOB NOT NULL, sequence INTEGER NOT NULL,
            PRIMARY KEY (upload, sequence)) STRICT, WITHOUT ROWID;
    ",
    ],
};

const FILE: &str = "index.sqlite";
/// Its presence asks the next start to build the index anew.
const DISTRUSTED: &str = "index.distrusted";

/// Answers questions, from any thread.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) reader: Reader,
    distrusted: PathBuf,
}

/// A fact and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) at: Position,
    pub(crate) fact: Fact,
}

/// A closed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub(crate) file: u32,
    pub(crate) space: u32,
    /// How far its records reach, without the footer.
    pub(crate) size: u64,
    pub(crate) hash: [u8; 16],
    pub(crate) records: u64,
}

/// What a collection holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segments that are final and not yet collected, whether anybody can see them or not.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Opens the index in a folder, and makes it if there is none or none that can be used. Whether it is new
/// is told: then everything must be read from the value files.
pub(crate) fn open(home: &Path, store: u64) -> Result<(Index, Writer), OpenError> {
    let path = home.join(FILE);
    let distrusted = home.join(DISTRUSTED);
    let disk = |source| OpenError::Disk { file: path.clone(), source };
    if distrusted.exists() {
        tracing::warn!("a row of the archive's index did not match its record: it is built anew");
        set_aside(&path).and_then(|()| fs::remove_file(&distrusted)).map_err(disk)?;
    }
    let writer = match attempt(&path, store) {
        Ok(writer) => writer,
        Err(error @ DbError::Refused { .. }) => return Err(OpenError::Index { source: error }),
        Err(error) => {
            tracing::warn!(%error, "the archive's index is built anew");
            set_aside(&path).map_err(disk)?;
            attempt(&path, store).map_err(|source| OpenError::Index { source })?
        }
    };
    Ok((Index { reader: Reader::new(&path), distrusted }, writer))
}

fn attempt(path: &Path, store: u64) -> Result<Writer, DbError> {
    let mut writer = Writer::open(path, &SCHEMA)?;
    let found = writer.transaction(|tx| {
        tx.execute("INSERT OR IGNORE INTO store VALUES (1, ?1)", &[Value::Integer(store)])?;
        let found = tx.query("SELECT store FROM store", &[], |row| row.integer(0))?;
        Ok((found == [store], verify(tx)?))
    });
    let path = path.to_owned();
    match found {
        Ok((false, _)) => Err(DbError::Foreign { path }),
        Ok((true, None)) => Ok(writer),
        Ok((true, Some(what))) => Err(DbError::Damaged { path, what }),
        Err(source) => Err(DbError::Damaged { path, what: source.to_string() }),
    }
}

/// What is wrong with the index. Bytes are verified when they are read; a fact is only looked for, and one
/// that is not found would be believed not to be: a flipped bit could bring back what was deleted. So all
/// facts are gone through at every start, and what SQLite keeps beside them.
fn verify(tx: &Transaction<'_>) -> Result<Option<String>, Error> {
    let found = tx.query("PRAGMA integrity_check(1)", &[], |row| row.optional_text(0))?;
    if let Some(what) = found.into_iter().flatten().find(|what| what != "ok") {
        return Ok(Some(what));
    }
    let mut wrong = 0_u64;
    let sql = "SELECT identity, kind, collection, key, version, upload, size, body FROM facts";
    tx.query(sql, &[], |row| {
        let body = row.bytes(7)?;
        wrong += u64::from(!is_row_of(row, &body)?);
        Ok(())
    })?;
    Ok((wrong > 0).then(|| format!("{wrong} facts are not what they were")))
}

/// Whether a row is the one that its body makes.
fn is_row_of(row: &Row<'_>, body: &[u8]) -> Result<bool, Error> {
    let Some(fact) = Fact::decode(body) else { return Ok(false) };
    let columns = Columns::of(&fact);
    let upload = columns.upload.as_ref().map(|upload| &upload[..]);
    Ok(row.bytes(0)? == Fact::identity(body)
        && row.integer(1)? == fact.kind()
        && row.optional_text(2)?.as_deref() == columns.collection
        && row.optional_bytes(3)?.as_deref() == columns.key
        && row.optional_integer(4)? == columns.version
        && row.optional_bytes(5)?.as_deref() == upload
        && row.optional_integer(6)? == columns.size)
}

/// What of a fact can be looked for.
struct Columns<'a> {
    collection: Option<&'a str>,
    key: Option<&'a [u8]>,
    version: Option<u64>,
    upload: Option<[u8; 16]>,
    size: Option<u64>,
}

impl<'a> Columns<'a> {
    fn of(fact: &'a Fact) -> Self {
        let at = fact.at();
        let name = match fact {
            Fact::Collection { name, .. } => Some(name),
            _ => at.map(|at| &at.collection),
        };
        Self {
            collection: name.map(CollectionName::as_str),
            key: at.map(|at| at.key.as_str().as_bytes()),
            version: at.map(|at| at.version.0),
            upload: fact.upload().map(Upload::fingerprint),
            size: match fact {
                Fact::Final(made) => Some(made.size),
                _ => None,
            },
        }
    }
}

impl Index {
    /// Remembers that the index is wrong, so that the next start builds it anew.
    pub(crate) fn distrust(&self) {
        tracing::error!(
            "the archive's index does not fit its value files; the next start builds it anew"
        );
        if let Err(error) = fs::write(&self.distrusted, []) {
            tracing::warn!(%error, "could not remember that the index is wrong");
        }
    }

    pub(crate) fn collections(&self) -> Result<BTreeMap<CollectionName, Versioning>, Error> {
        let facts = self.facts("WHERE kind = 0", &[])?;
        Ok(facts
            .into_iter()
            .filter_map(|stored| match stored.fact {
                Fact::Collection { name, versioning, .. } => Some((name, versioning)),
                _ => None,
            })
            .collect())
    }

    /// The life of each writer that began last.
    pub(crate) fn fences(&self) -> Result<BTreeMap<NodeId, u64>, Error> {
        let mut fences = BTreeMap::new();
        for stored in self.facts("WHERE kind = 7", &[])? {
            if let Fact::WriterStarted { node, boot, .. } = stored.fact {
                let known = fences.entry(node).or_insert(boot);
                *known = boot.max(*known);
            }
        }
        Ok(fences)
    }

    /// Everything about a key.
    pub(crate) fn of_key(&self, name: &CollectionName, key: &Key) -> Result<Vec<Stored>, Error> {
        let values = [Value::Text(name.as_str()), Value::Bytes(key.as_str().as_bytes())];
        self.facts("WHERE collection = ?1 AND key = ?2", &values)
    }

    /// Everything about a version of a key.
    pub(crate) fn of_version(&self, at: &At) -> Result<Vec<Stored>, Error> {
        let (name, key) = (at.collection.as_str(), at.key.as_str().as_bytes());
        let values = [Value::Text(name), Value::Bytes(key), Value::Integer(at.version.0)];
        self.facts("WHERE collection = ?1 AND key = ?2 AND version = ?3", &values)
    }

    /// What became of an upload.
    pub(crate) fn of_upload(&self, upload: &Upload) -> Result<Vec<Stored>, Error> {
        let fingerprint = upload.fingerprint();
        let mut found = self.facts("WHERE upload = ?1", &[Value::Bytes(&fingerprint)])?;
        found.retain(|stored| stored.fact.upload() == Some(upload));
        Ok(found)
    }

    /// The sequences of a segment that are here, in order, and where they stand. An upload of its name that a start gave
    /// up may have had more.
    pub(crate) fn sequences(&self, made: &Final) -> Result<Vec<(Sequence, Position)>, Error> {
        let fingerprint = made.upload.fingerprint();
        let sql = "SELECT file, offset, body FROM sequences WHERE upload = ?1 AND sequence < ?2
            ORDER BY sequence";
        let values = [Value::Bytes(&fingerprint), Value::Integer(u64::from(made.sequences))];
        let found = self.reader.query(sql, &values, |row| {
            Ok(Sequence::decode(&row.bytes(2)?).zip(Some(position(row, 0)?)))
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Keys of a collection from `from` on, in the order of their bytes.
    pub(crate) fn keys(
        &self,
        name: &CollectionName,
        from: &[u8],
        keys_max: u64,
    ) -> Result<Vec<Key>, Error> {
        let sql = "SELECT DISTINCT key FROM facts WHERE collection = ?1 AND key >= ?2
            ORDER BY key LIMIT ?3";
        let values = [Value::Text(name.as_str()), Value::Bytes(from), Value::Integer(keys_max)];
        let found = self.reader.query(sql, &values, |row| row.bytes(0))?;
        let keys = found.into_iter().filter_map(|key| String::from_utf8(key).ok()?.parse().ok());
        Ok(keys.collect())
    }

    /// The closed files.
    pub(crate) fn files(&self) -> Result<Vec<FileRow>, Error> {
        let sql = "SELECT file, space, size, hash, records FROM files ORDER BY file";
        self.reader.query(sql, &[], |row| {
            Ok(FileRow {
                file: number(row.integer(0)?),
                space: number(row.integer(1)?),
                size: row.integer(2)?,
                hash: array(&row.bytes(3)?, 0),
                records: row.integer(4)?,
            })
        })
    }

    /// Facts in a file from a place on, in order.
    pub(crate) fn facts_in(&self, from: Position, rows: u64) -> Result<Vec<Stored>, Error> {
        let values = [u64::from(from.file), from.offset, rows].map(Value::Integer);
        self.facts("WHERE file = ?1 AND offset >= ?2 ORDER BY offset LIMIT ?3", &values)
    }

    /// Sequences in a file from a place on, in order.
    pub(crate) fn sequences_in(
        &self,
        from: Position,
        rows: u64,
    ) -> Result<Vec<(Sequence, Position)>, Error> {
        let sql = "SELECT file, offset, body FROM sequences WHERE file = ?1 AND offset >= ?2
            ORDER BY offset LIMIT ?3";
        let values = [u64::from(from.file), from.offset, rows].map(Value::Integer);
        let found = self.reader.query(sql, &values, |row| {
            Ok(Sequence::decode(&row.bytes(2)?).zip(Some(position(row, 0)?)))
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The last sequence of a file that begins before a place, and where.
    pub(crate) fn sequence_before(&self, at: Position) -> Result<Option<(Sequence, u64)>, Error> {
        let sql = "SELECT body, offset FROM sequences WHERE file = ?1 AND offset < ?2
            ORDER BY offset DESC LIMIT 1";
        let values = [u64::from(at.file), at.offset].map(Value::Integer);
        let found = self.reader.query(sql, &values, |row| {
            Ok(Sequence::decode(&row.bytes(0)?).zip(Some(row.integer(1)?)))
        })?;
        Ok(found.into_iter().flatten().next())
    }

    /// Which sequences of an upload were found broken and are not mended yet.
    pub(crate) fn broken(&self, upload: &Upload) -> Result<BTreeSet<u32>, Error> {
        let sql = "SELECT sequence FROM broken WHERE upload = ?1";
        let fingerprint = upload.fingerprint();
        let found = self.reader.query(sql, &[Value::Bytes(&fingerprint)], |row| row.integer(0))?;
        Ok(found.into_iter().map(number).collect())
    }

    /// Uploads of which nobody has said what becomes of them, but for fences.
    pub(crate) fn undecided(&self) -> Result<Vec<Held>, Error> {
        let clause = "AS held WHERE held.kind = 9 AND NOT EXISTS (SELECT 1 FROM facts AS decided
            WHERE decided.upload = held.upload AND decided.kind IN (1, 2))";
        let found = self.facts(clause, &[])?;
        Ok(found
            .into_iter()
            .filter_map(|stored| match stored.fact {
                Fact::Held(held) => Some(held),
                _ => None,
            })
            .collect())
    }

    /// What each collection holds.
    pub(crate) fn usage(&self) -> Result<BTreeMap<CollectionName, Usage>, Error> {
        let sql = "SELECT collection, count(*), sum(size) FROM facts WHERE kind = ?1
            GROUP BY collection";
        let found = self.reader.query(sql, &[Value::Integer(FINAL)], |row| {
            let usage = Usage { segments: row.integer(1)?, bytes: row.integer(2)? };
            Ok((row.optional_text(0)?, usage))
        })?;
        let named = |(name, usage): (Option<String>, Usage)| Some((name?.parse().ok()?, usage));
        Ok(found.into_iter().filter_map(named).collect())
    }

    /// How far a file is known to reach: a record that the index has was synced.
    pub(crate) fn reach(&self, file: u32) -> Result<u64, Error> {
        let sql = "SELECT max(coalesce((SELECT max(offset) + 1 FROM facts WHERE file = ?1), 0),
            coalesce((SELECT max(offset) + 1 FROM sequences WHERE file = ?1), 0))";
        let found =
            self.reader.query(sql, &[Value::Integer(u64::from(file))], |row| row.integer(0))?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// Uploads with sequences in a file of which nothing else is known: neither that they are final or held, nor that they
    /// were given up.
    pub(crate) fn unfinished_in(&self, file: u32) -> Result<Vec<Vec<u8>>, Error> {
        let sql = "SELECT DISTINCT s.upload FROM sequences s WHERE s.file = ?1 AND NOT EXISTS
            (SELECT 1 FROM facts f WHERE f.upload = s.upload AND f.kind IN (1, 2, 9))";
        self.reader.query(sql, &[Value::Integer(u64::from(file))], |row| row.bytes(0))
    }

    /// How far the last scrub came.
    pub(crate) fn scrubbed(&self) -> Result<Option<Position>, Error> {
        let sql = "SELECT file, offset FROM scrub";
        let found = self.reader.query(sql, &[], |row| position(row, 0))?;
        Ok(found.first().copied())
    }

    pub(crate) fn facts(&self, clause: &str, values: &[Value<'_>]) -> Result<Vec<Stored>, Error> {
        let sql = format!("SELECT file, offset, body FROM facts {clause}");
        let found = self.reader.query(&sql, values, |row| {
            let at = position(row, 0)?;
            Ok(Fact::decode(&row.bytes(2)?).map(|fact| Stored { at, fact }))
        })?;
        if found.iter().any(Option::is_none) {
            self.distrust();
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// Adds a fact, or moves it to where a copy of it stands.
pub(crate) fn put_fact(tx: &Transaction<'_>, at: Position, fact: &Fact) -> Result<(), Error> {
    let body = fact.encode();
    let identity = Fact::identity(&body);
    let Columns { collection, key, version, upload, size } = Columns::of(fact);
    let values = [
        Value::Bytes(&identity),
        Value::Integer(fact.kind()),
        collection.map_or(Value::Null, Value::Text),
        key.map_or(Value::Null, Value::Bytes),
        version.map_or(Value::Null, Value::Integer),
        upload.as_ref().map_or(Value::Null, |upload| Value::Bytes(upload)),
        size.map_or(Value::Null, Value::Integer),
        Value::Integer(u64::from(at.file)),
        Value::Integer(at.offset),
        Value::Bytes(&body),
    ];
    let sql = "INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    tx.execute(sql, &values)
}

/// Adds a sequence, or moves it to where a copy of it stands.
pub(crate) fn put_sequence(
    tx: &Transaction<'_>,
    at: Position,
    sequence: &Sequence,
) -> Result<(), Error> {
    let (body, fingerprint) = (sequence.encode(), sequence.upload.fingerprint());
    let values = [
        Value::Bytes(&fingerprint),
        Value::Integer(u64::from(sequence.number)),
        Value::Integer(u64::from(at.file)),
        Value::Integer(at.offset),
        Value::Bytes(&body),
    ];
    tx.execute("INSERT OR REPLACE INTO sequences VALUES (?1, ?2, ?3, ?4, ?5)", &values)?;
    // What stands there now was verified when it was written, or copied.
    let [upload, sequence, ..] = values;
    tx.execute("DELETE FROM broken WHERE upload = ?1 AND sequence = ?2", &[upload, sequence])
}

/// Keeps that a sequence was found broken, until it is put somewhere else.
pub(crate) fn put_broken(tx: &Transaction<'_>, upload: &Upload, number: u32) -> Result<(), Error> {
    let fingerprint = upload.fingerprint();
    let values = [Value::Bytes(&fingerprint), Value::Integer(u64::from(number))];
    tx.execute("INSERT OR IGNORE INTO broken VALUES (?1, ?2)", &values)
}

/// A file was closed.
pub(crate) fn put_file(
    tx: &Transaction<'_>,
    file: u32,
    space: u32,
    footer: &Footer,
) -> Result<(), Error> {
    let values = [
        Value::Integer(u64::from(file)),
        Value::Integer(u64::from(space)),
        Value::Integer(footer.end),
        Value::Bytes(&footer.hash),
        Value::Integer(footer.records),
    ];
    tx.execute("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5)", &values)
}

/// A file is gone, and with it all that was only in it.
pub(crate) fn forget_file(tx: &Transaction<'_>, file: u32) -> Result<(), Error> {
    let value = [Value::Integer(u64::from(file))];
    let gone = "DELETE FROM broken WHERE (upload, sequence) IN
        (SELECT upload, sequence FROM sequences WHERE file = ?1)";
    tx.execute(gone, &value)?;
    tx.execute("DELETE FROM facts WHERE file = ?1", &value)?;
    tx.execute("DELETE FROM sequences WHERE file = ?1", &value)?;
    tx.execute("DELETE FROM files WHERE file = ?1", &value)
}

/// Keeps how far a scrub came.
pub(crate) fn put_scrubbed(tx: &Transaction<'_>, at: Position) -> Result<(), Error> {
    let values = [u64::from(at.file), at.offset].map(Value::Integer);
    tx.execute("INSERT OR REPLACE INTO scrub VALUES (1, ?1, ?2)", &values)
}

fn position(row: &Row<'_>, column: usize) -> Result<Position, Error> {
    Ok(Position { file: number(row.integer(column)?), offset: row.integer(column + 1)? })
}

fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
