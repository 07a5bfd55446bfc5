//! Objects of the archive, whichever node answers.
//!
//! Everything here may be done again without harm: a whole object and a delete bring a key, a part is what it is, and
//! a collection is made once.

use std::time::Duration;

use serde::Deserialize;

use crate::bulk::Within;
use crate::call::{Call, Missed, Reply};
use crate::path::{archive_path, escape, header_safe, push};
use crate::tries::Tries;
use crate::{Client, Error, ObjectPage, Objects, ReadObject, StoredObject, Target};

/// How long a node takes at most to sync what it has taken and to say that nobody knows what became of it.
const STORED_WITHIN: Duration = Duration::from_secs(180);

/// Bytes to be stored, all in memory: how many they may be is the caller's to bound.
#[derive(Clone, Copy, Debug)]
pub struct NewObject<'a> {
    /// The collection.
    pub collection: &'a str,
    /// The key.
    pub key: &'a str,
    /// The bytes.
    pub data: &'a [u8],
    /// Their MD5 in base64, to be checked where they arrive.
    pub md5: &'a str,
    /// What is kept with them.
    pub meta: &'a [(String, String)],
    /// Of which archive of parts they are which part.
    pub part: Option<(&'a str, u32)>,
}

/// A version, as a delete and a start are answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Started {
    /// In decimal.
    pub version: String,
}

impl Client {
    /// Makes a collection; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn make_collection(&self, collection: &str, versioning: bool) -> Result<(), Error> {
        let path = archive_path(collection, None);
        let body = Some(format!("{{\"versioning\": {versioning}}}").into_bytes());
        self.call(Call { body, ..Call::new("PUT", &path, None) }).await.map(drop)
    }

    /// Some of what a collection shows.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn objects(&self, collection: &str, objects: &Objects) -> Result<ObjectPage, Error> {
        let path = objects.path(collection);
        self.call(Call::new("GET", &path, None)).await?.read()
    }

    /// Begins to read an object, or a version of it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_object(
        &self,
        collection: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ReadObject, Error> {
        ReadObject::open(self, collection, key, version).await
    }

    /// Deletes everything that a key has, or one version; the delete's own version.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_object(
        &self,
        collection: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Started, Error> {
        let mut path = archive_path(collection, Some(key));
        if let Some(version) = version {
            path.push_str("?version=");
            escape(&mut path, version);
        }
        let headers = fresh_key();
        self.call(Call { headers: &headers, ..Call::new("DELETE", &path, None) }).await?.read()
    }

    /// Begins an object of parts.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn start_object(&self, collection: &str, key: &str) -> Result<Started, Error> {
        let path = format!("{}?action=start", archive_path(collection, Some(key)));
        let headers = fresh_key();
        self.call(Call { headers: &headers, ..Call::new("POST", &path, None) }).await?.read()
    }

    /// Makes an object of parts whole.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn finish_object(
        &self,
        collection: &str,
        key: &str,
        version: &str,
    ) -> Result<(), Error> {
        self.end_object(collection, key, "finish", version).await
    }

    /// Gives an object of parts up.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn abort_object(
        &self,
        collection: &str,
        key: &str,
        version: &str,
    ) -> Result<(), Error> {
        self.end_object(collection, key, "abort", version).await
    }

    async fn end_object(
        &self,
        collection: &str,
        key: &str,
        action: &str,
        version: &str,
    ) -> Result<(), Error> {
        let mut path = archive_path(collection, Some(key));
        push(&mut path, format_args!("?action={action}&conjoined="));
        escape(&mut path, version);
        self.call(Call::new("POST", &path, None)).await.map(drop)
    }

    /// Stores an object, or a part of one, as often as it takes. `sent` is told how many of its bytes have gone to
    /// the node that is tried.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_object(
        &self,
        new: &NewObject<'_>,
        mut sent: impl FnMut(u64) + Send,
    ) -> Result<StoredObject, Error> {
        let mut path = archive_path(new.collection, Some(new.key));
        if let Some((version, part)) = new.part {
            path.push_str("?conjoined=");
            escape(&mut path, version);
            push(&mut path, format_args!("&part={part}"));
        }
        let mut headers = fresh_key();
        push(&mut headers, format_args!("content-md5: {}\r\n", header_safe(new.md5)));
        for (name, value) in new.meta {
            let (name, value) = (header_safe(name), header_safe(value));
            push(&mut headers, format_args!("carillon-meta-{name}: {value}\r\n"));
        }
        push(&mut headers, format_args!("content-length: {}\r\n", new.data.len()));
        let mut tries = Tries::new(self);
        loop {
            let missed = match tries.target() {
                Ok(target) => match self.bring(&target, &path, &headers, new.data, &mut sent).await
                {
                    Ok(reply) => {
                        tries.went_on();
                        return reply.read();
                    }
                    Err(error) => Missed { target: Some(target), error },
                },
                Err(missed) => missed,
            };
            tries.again(missed).await?;
        }
    }

    /// Brings bytes to a node, once.
    async fn bring(
        &self,
        target: &Target,
        path: &str,
        headers: &str,
        data: &[u8],
        sent: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Reply, Error> {
        let (authority, bearer) = (target.authority(), self.bearer());
        let head = format!("PUT {path} HTTP/1.1\r\nhost: {authority}\r\n{bearer}{headers}\r\n");
        let mut connection = self.connection(target).await?;
        let within = Within { step: self.shared.options.answer, answer: STORED_WITHIN };
        let mut gone = 0;
        sent(gone);
        let mut step = |bytes: usize| {
            gone += u64::try_from(bytes).unwrap_or(0);
            sent(gone);
        };
        let lost = |source| Error::Lost { target: target.clone(), source };
        let answer = connection.exchange_bulk(&head, data, within, &mut step).await;
        let answer = answer.map_err(lost)?;
        let reply = Reply::new(answer.status, answer.replay, answer.body, target);
        if gone == u64::try_from(data.len()).unwrap_or(u64::MAX) {
            self.shared.pool.put(target, connection);
        }
        reply.checked()
    }
}

/// The line that makes a repeat of a request one.
fn fresh_key() -> String {
    format!("idempotency-key: {:032x}\r\n", rand::random::<u128>())
}
