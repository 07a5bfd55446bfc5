//! What is told of objects, and one that is being read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bulk::Opened;
use crate::call::{Missed, Reply};
use crate::path::{archive_path, push};
use crate::tries::Tries;
use crate::{Client, Connection, Error, Target};

/// An object, or a part of one, is stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredObject {
    /// Its version, in decimal.
    pub version: String,
    /// Its bytes.
    pub size: u64,
    /// Their MD5, in hex.
    pub md5: String,
    /// Their Adler-32, in hex.
    pub adler32: String,
}

/// Some of what a collection shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ObjectPage {
    /// In order.
    pub entries: Vec<ObjectEntry>,
    /// Whether there are more; perhaps also if none are here.
    pub truncated: bool,
    /// Then the marker to go on with.
    #[serde(default)]
    pub next_marker: Option<String>,
    /// And the version to go on behind.
    #[serde(default)]
    pub next_version_marker: Option<String>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// The version, in decimal.
    pub version: String,
    /// Its bytes.
    pub size: u64,
    /// Their MD5, in hex; of an archive of parts the MD5 over theirs, `-` and how many they are.
    pub md5: String,
    /// Their Adler-32, in hex.
    pub adler32: String,
    /// Since when, in Unix milliseconds.
    pub created_ms: u64,
    /// What is kept with it.
    pub meta: BTreeMap<String, String>,
}

/// What is to be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only keys behind this one.
    pub marker: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
    /// All versions that can be seen.
    pub versions: bool,
    /// Only later versions of the marker's key, and keys behind it.
    pub version_marker: Option<String>,
}

/// An object that is read. Where one node breaks off the next goes on at the same place, in the same version.
#[derive(Debug)]
pub struct ReadObject {
    client: Client,
    path: String,
    version: String,
    size: u64,
    etag: String,
    adler32: String,
    at: u64,
    under_way: Option<(Target, Connection, Opened)>,
    tries: Tries,
}

impl Objects {
    pub(crate) fn path(&self, collection: &str) -> String {
        let mut path = archive_path(collection, None);
        push(&mut path, format_args!("?versions={}", self.versions));
        let mut add = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                push(&mut path, format_args!("&{name}="));
                crate::path::escape(&mut path, text);
            }
        };
        add("prefix", Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty()));
        add("marker", self.marker.as_deref());
        add("version_marker", self.version_marker.as_deref());
        add("limit", self.limit.map(|limit| limit.to_string()).as_deref());
        path
    }
}

impl ReadObject {
    /// Begins to read a key, or a version of it.
    pub(crate) async fn open(
        client: &Client,
        collection: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Self, Error> {
        let mut path = archive_path(collection, Some(key));
        if let Some(version) = version {
            path.push_str("?version=");
            crate::path::escape(&mut path, version);
        }
        let mut tries = Tries::new(client);
        let (target, connection, opened) = loop {
            match ask(client, &tries, &path, 0).await {
                Ok(opened) => break opened,
                Err(missed) => tries.again(missed).await?,
            }
        };
        tries.went_on();
        let told = |name: &str| opened.header(name).unwrap_or_default().to_owned();
        let version = told("carillon-version");
        if opened.status != 200 || version.is_empty() {
            return Err(unreadable(&target, &opened, "an object has a version"));
        }
        Ok(Self {
            client: client.clone(),
            path: format!("{}?version={version}", archive_path(collection, Some(key))),
            version,
            size: opened.left,
            etag: told("etag").trim_matches('"').to_owned(),
            adler32: told("carillon-adler32"),
            at: 0,
            under_way: Some((target, connection, opened)),
            tries,
        })
    }

    /// Goes on behind the first `at` bytes, which somebody has already.
    pub fn skip(&mut self, at: u64) {
        if at.min(self.size) > self.at {
            self.at = at.min(self.size);
            self.under_way = None;
        }
    }

    /// Its version, in decimal.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Their MD5, in hex, unless it has parts.
    pub fn md5(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| !etag.contains('-'))
    }

    /// What tells them from others: their MD5; if it has parts the MD5 over theirs, `-` and how many they are.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Their Adler-32, in hex.
    pub fn adler32(&self) -> &str {
        &self.adler32
    }

    /// The next bytes; `None` when all were given.
    ///
    /// # Errors
    /// [`Error`]; what was given before stays right.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if self.at >= self.size {
                return Ok(None);
            }
            match self.piece().await {
                Ok(piece) => {
                    self.tries.went_on();
                    self.at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    return Ok(Some(piece));
                }
                Err(missed) => {
                    self.under_way = None;
                    self.tries.again(missed).await?;
                }
            }
        }
    }

    async fn piece(&mut self) -> Result<Vec<u8>, Missed> {
        let (target, connection, opened) = match &mut self.under_way {
            Some(under_way) => under_way,
            None => {
                let begun = ask(&self.client, &self.tries, &self.path, self.at).await?;
                let left = self.size - self.at;
                if begun.2.left != left {
                    let error = unreadable(&begun.0, &begun.2, "other bytes than before");
                    return Err(Missed { target: Some(begun.0), error });
                }
                self.under_way.insert(begun)
            }
        };
        let within = self.client.shared.options.answer;
        let lost = |source| Missed {
            target: Some(target.clone()),
            error: Error::Lost { target: target.clone(), source },
        };
        match runtime::timeout(within, connection.piece(opened)).await {
            Ok(Ok(Some(piece))) => Ok(piece),
            Ok(Ok(None)) => Err(lost(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(Err(error)) => Err(lost(error)),
            Err(_late) => {
                let error = Error::Timeout { target: target.clone() };
                Err(Missed { target: Some(target.clone()), error })
            }
        }
    }
}

/// Asks the next node for what stands behind `at`.
async fn ask(
    client: &Client,
    tries: &Tries,
    path: &str,
    at: u64,
) -> Result<(Target, Connection, Opened), Missed> {
    let target = tries.target()?;
    let asked = async {
        let range = if at > 0 { format!("range: bytes={at}-\r\n") } else { String::new() };
        let (authority, bearer) = (target.authority(), client.bearer());
        let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n{bearer}{range}\r\n");
        let mut connection = client.connection(&target).await?;
        let lost = |source| Error::Lost { target: target.clone(), source };
        let mut opened = connection.open_bulk(&request).await.map_err(lost)?;
        if (200..300).contains(&opened.status) {
            return Ok((connection, opened));
        }
        let mut body = Vec::new();
        // A problem is small; the bound is against somebody else's server.
        while body.len() < PROBLEM_BYTES_MAX {
            match connection.piece(&mut opened).await.map_err(lost)? {
                Some(piece) => body.extend_from_slice(&piece),
                None => break,
            }
        }
        let refused = Reply::new(opened.status, false, &body, &target).checked();
        Err(refused.err().unwrap_or_else(|| unreadable(&target, &opened, "no problem is told")))
    };
    let asked = match runtime::timeout(client.shared.options.answer, asked).await {
        Ok(asked) => asked,
        Err(_late) => Err(Error::Timeout { target: target.clone() }),
    };
    match asked {
        Ok((connection, opened)) => Ok((target, connection, opened)),
        Err(error) => Err(Missed { target: Some(target), error }),
    }
}

/// Bytes of a problem.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

fn unreadable(target: &Target, opened: &Opened, detail: &str) -> Error {
    let (target, status, detail) = (target.clone(), opened.status, detail.to_owned());
    Error::Unreadable { target, status, detail }
}
