//! Reads keys out of TOML and keeps going: every fault is noted, none ends the reading.
//!
//! Serde stops at the first fault; an operator with three typing errors would start the node three
//! times. So each key is asked for by name, with its default already in place, and what nobody asked
//! for is unknown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::Spoiled;
use super::fault::{Fault, line_of};
use super::units::{Idle, Reserve, Size, Span};

/// A value that can be read from one key.
pub(super) trait FromKey: Sized {
    /// The value, or what was wanted instead.
    fn from_key(value: &DeValue<'_>) -> Result<Self, String>;
}

/// The reading of one file: faults so far, and where each key stood.
pub(super) struct Reading<'t> {
    text: &'t str,
    pub(super) lines: BTreeMap<String, usize>,
    pub(super) known: Vec<String>,
    pub(super) spoiled: Spoiled,
    pub(super) faults: Vec<Fault>,
}

/// One table of the file. Ask for its keys, then [`Section::done`].
pub(super) struct Section<'t> {
    path: String,
    table: Option<&'t DeTable<'t>>,
    asked: Vec<String>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            lines: BTreeMap::new(),
            known: Vec::new(),
            spoiled: Spoiled::default(),
            faults: Vec::new(),
        }
    }

    /// Notes a fault about the key `path`, which may be absent.
    pub(super) fn fault(&mut self, path: &str, what: impl Into<String>, fix: impl Into<String>) {
        let line = self.lines.get(path).copied().unwrap_or_default();
        self.faults.push(Fault { line, what: what.into(), fix: fix.into() });
    }

    /// Notes a fault about the key `path`, in whose place something else stands from now on.
    pub(super) fn spoil(&mut self, path: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.fault(path, what, fix);
        self.spoiled.add(path.to_owned());
    }

    /// Whether all these keys say what the file says, or what a file says that leaves them out.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.spoiled.spares(key))
    }

    fn note<T>(&mut self, path: &str, at: &Spanned<T>) {
        self.lines.insert(path.to_owned(), line_of(self.text, &at.span()));
    }
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self { path: String::new(), table: Some(table), asked: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value under `key`, if it is there; from now on the key is known.
    pub(super) fn value(
        &mut self,
        reading: &mut Reading<'_>,
        key: &str,
    ) -> Option<&'t DeValue<'t>> {
        let path = self.path_of(key);
        self.asked.push(key.to_owned());
        let (name, value) = self.table?.get_key_value(key)?;
        reading.note(&path, name);
        Some(value.get_ref())
    }

    /// Overwrites `into` with what stands under `key`.
    pub(super) fn key<T: FromKey>(&mut self, reading: &mut Reading<'_>, key: &str, into: &mut T) {
        let path = self.path_of(key);
        reading.known.push(path.clone());
        let Some(value) = self.value(reading, key) else { return };
        match T::from_key(value) {
            Ok(value) => *into = value,
            Err(wanted) => reading.spoil(
                &path,
                format!("{path} is not a value it can have"),
                format!("Write {wanted}"),
            ),
        }
    }

    /// The table under `key`; an absent one reads like an empty one.
    pub(super) fn section(&mut self, reading: &mut Reading<'_>, key: &str) -> Self {
        let path = self.path_of(key);
        let table = match self.value(reading, key) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(_) => {
                let fix = format!("Write [{path}] and its keys below it");
                reading.spoil(&path, format!("{path} is not a table"), fix);
                None
            }
        };
        Self { path, table, asked: Vec::new() }
    }

    /// Reads the table under `key`, whose keys `take` takes: what it leaves is unknown.
    pub(super) fn within<'r>(
        &mut self,
        reading: &mut Reading<'r>,
        key: &str,
        take: impl FnOnce(&mut Self, &mut Reading<'r>),
    ) {
        let mut table = self.section(reading, key);
        take(&mut table, reading);
        table.done(reading);
    }

    /// The tables in the list under `key`, each to be asked for its keys and to be [`done`](Section::done);
    /// `None` if there is no such list.
    pub(super) fn tables(&mut self, reading: &mut Reading<'_>, key: &str) -> Option<Vec<Self>> {
        let path = self.path_of(key);
        reading.known.push(path.clone());
        let value = self.value(reading, key)?;
        let mut tables = Vec::new();
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{}", index + 1);
            if let DeValue::Table(table) = item.get_ref() {
                reading.note(&path, item);
                tables.push(Self { path, table: Some(table), asked: Vec::new() });
            }
        }
        if value.as_array().is_some_and(|items| items.len() == tables.len()) {
            return Some(tables);
        }
        let fix =
            format!("Write a list of tables, as in {key} = [{{ path = \"/disk2/carillon\" }}]");
        reading.spoil(&path, format!("{path} is not a list of tables"), fix);
        None
    }

    /// The names of this table's keys, for tables whose keys the operator chooses.
    pub(super) fn names(&self) -> Vec<String> {
        self.table
            .map(|table| table.keys().map(|key| key.get_ref().to_string()).collect())
            .unwrap_or_default()
    }

    /// Whether the file has this table.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Everything nobody asked for is a fault.
    pub(super) fn done(self, reading: &mut Reading<'_>) {
        for name in self.table.into_iter().flat_map(DeTable::keys) {
            let key = name.get_ref();
            if self.asked.iter().any(|asked| asked == key) {
                continue;
            }
            let path = self.path_of(key);
            reading.note(&path, name);
            let fix = match nearest(key, &self.asked) {
                Some(near) => {
                    // What it was meant for has its default only because of this fault.
                    if self.table.is_some_and(|table| !table.contains_key(near.as_str())) {
                        reading.spoiled.add(self.path_of(near));
                    }
                    format!("Did you mean `{near}`")
                }
                None if self.asked.is_empty() => "Remove it".to_owned(),
                None => format!("Known here: {}", self.asked.join(", ")),
            };
            reading.spoil(&path, format!("unknown key {path}"), fix);
        }
    }
}

/// The known key that `key` was probably meant to be.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k String> {
    let (distance, near) = known.iter().map(|near| (edits(key, near), near)).min()?;
    (distance <= 2 && distance < near.len()).then_some(near)
}

/// How many letters must be put in, taken out or changed.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(to.chars()) {
            let changed = diagonal + usize::from(letter != other);
            diagonal = *cell;
            *cell = changed.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The text under a key, where only text will do.
pub(super) fn text<'v>(value: &'v DeValue<'_>, wanted: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wanted.to_owned())
}

/// A key without a default: it is there or it is not.
impl<T: FromKey> FromKey for Option<T> {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        T::from_key(value).map(Some)
    }
}

/// A span of time, or none where `off` is written.
pub(super) fn span_or_off(value: &DeValue<'_>, wanted: &str) -> Result<Option<Span>, String> {
    if text(value, wanted)? == "off" {
        return Ok(None);
    }
    Span::from_key(value).map(Some).map_err(|_not_a_time| wanted.to_owned())
}

impl FromKey for String {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        Ok(text(value, "a text in quotes")?.to_owned())
    }
}

impl FromKey for PathBuf {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        text(value, "a path in quotes").map(Self::from)
    }
}

impl FromKey for Size {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        text(value, "a size in quotes, as in \"64MiB\"")?.parse()
    }
}

impl FromKey for Span {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        text(value, "a duration in quotes, as in \"5s\"")?.parse()
    }
}

impl FromKey for Idle {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let span = span_or_off(value, "\"off\", or how long nothing may happen: \"20s\"")?;
        Ok(span.map_or(Self::Off, Self::After))
    }
}

impl FromKey for Reserve {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        text(value, "a percentage or a size in quotes, as in \"5%\"")?.parse()
    }
}

impl FromKey for SocketAddr {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "an address and a port, as in \"127.0.0.1:7081\"";
        text(value, wanted)?.parse().map_err(|_not_one| wanted.to_owned())
    }
}

impl FromKey for hashring::NodeId {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "a DNS label: 1 to 63 of a-z, 0-9 and '-', no '-' at either end";
        text(value, wanted)?.parse().map_err(|_not_one| wanted.to_owned())
    }
}

impl FromKey for bool {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "true or false".to_owned())
    }
}

impl FromKey for Vec<String> {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "a list of texts, as in [\"a\", \"b\"]";
        let items = value.as_array().ok_or(wanted)?;
        items.iter().map(|item| Ok(text(item.get_ref(), wanted)?.to_owned())).collect()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl FromKey for $number {
            fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
                let wanted = || format!("a whole number from 0 to {}", <$number>::MAX);
                let number = value.as_integer().ok_or_else(wanted)?;
                Self::from_str_radix(number.as_str(), number.radix()).map_err(|_not_one| wanted())
            }
        }
    )*};
}

whole_numbers!(u8, u16, u32, u64, usize);

/// One of a few words.
macro_rules! words {
    ($type:ty, $wanted:literal, $($word:literal => $value:expr),+) => {
        impl $crate::config::read::FromKey for $type {
            fn from_key(value: &toml::de::DeValue<'_>) -> Result<Self, String> {
                match $crate::config::read::text(value, $wanted)? {
                    $($word => Ok($value),)+
                    _ => Err($wanted.to_owned()),
                }
            }
        }
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn a_typing_error_finds_its_key() {
        let known = ["listen".to_owned(), "advertise".to_owned()];
        assert_eq!(nearest("lisen", &known), Some(&known[0]));
        assert_eq!(nearest("advertice", &known), Some(&known[1]));
        assert_eq!(nearest("quorum", &known), None);
    }

    #[test]
    fn edits_are_counted_in_letters() {
        let cases = [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)];
        for (from, to, count) in cases {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }
}
