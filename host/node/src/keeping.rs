//! Chats that are over, as objects of the archive, and what belongs to messages: where the chats' need of one meets the archive of
//! the cluster.
//!
//! A chat is one object of the collection `chats` under its token: lines of JSON. They are read from the log twice,
//! because an object's size is said first, and never all at once; but a short chat is read once. Which archive of a
//! chat counts is the archive's own rule: the first one.

use bytes::{Bytes, BytesMut};
use chat::{Archives, Chats, KeepConfig, Later, NotArchived, OverChat, Pages};
use model::{ATTACHMENTS, ChatToken};
use runtime::Instant;

use archive::{
    Archive, Body, BodyEnded, Code, Delete, InvalidName, Name, Next, Put, Refusal, UnifiedId,
    Versioning, Whole,
};

use crate::config::Config;

/// A chat of so many bytes is kept in mind between being measured and being stored.
const SHORT_BYTES: u64 = 256 << 10;
/// The same bytes of the same chat are the same archive, whoever stores them.
const REPEAT: &str = "chat";
/// What is told of the bytes.
const MEDIA_TYPE: (&str, &str) = ("media-type", "application/x-ndjson");
/// Making the collection may take so long.
const COLLECTION_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// The archive, as the chats need it.
#[derive(Debug)]
struct Kept(Archive);

/// From now on what is over is kept in `archive`, as the configuration says.
pub(crate) fn keep(config: &Config, chats: &Chats, archive: &Archive) {
    let persistence = &config.persistence;
    let keep = KeepConfig {
        policy: persistence.policy.clone(),
        parallel: usize::from(persistence.parallel),
        retries: u32::from(persistence.retries),
        committed: persistence.committed,
        idle: persistence.idle.span(),
        ..KeepConfig::default()
    };
    chats.keep(keep, std::sync::Arc::new(Kept(archive.clone())));
}

impl Archives for Kept {
    fn find(&self, chat: ChatToken, until: Instant) -> Later<'_, Result<Option<u64>, NotArchived>> {
        Box::pin(async move {
            let found = self.0.find(&name(chat)?, None, until).await;
            shown(found.map(|found| found.version.0))
        })
    }

    fn put<'a>(&'a self, over: &'a OverChat<'a>) -> Later<'a, Result<u64, NotArchived>> {
        Box::pin(async move {
            let measured = measure(over).await?;
            let put = Put {
                name: name(over.view.token)?,
                size: measured.size,
                md5: None,
                meta: vec![(MEDIA_TYPE.0.to_owned(), MEDIA_TYPE.1.to_owned())],
                part: None,
                repeat: Some(REPEAT.to_owned()),
            };
            match self.store(&put, over, &measured).await {
                Err(refusal) if refusal.code == Code::UnknownCollection => {
                    self.make(&put).await?;
                    self.store(&put, over, &measured).await.map_err(|refusal| failed(&refusal))
                }
                stored => stored.map_err(|refusal| failed(&refusal)),
            }
        })
    }

    fn look<'a>(
        &'a self,
        key: &'a str,
        version: Option<u64>,
        until: Instant,
    ) -> Later<'a, Result<Option<u64>, NotArchived>> {
        Box::pin(async move {
            let name = attachment(key)?;
            let found = self.0.find(&name, version.map(UnifiedId), until).await;
            shown(found.map(|found| found.version.0))
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        version: u64,
        until: Instant,
    ) -> Later<'a, Result<(), NotArchived>> {
        Box::pin(async move {
            let (name, version) = (attachment(key)?, Some(UnifiedId(version)));
            let deleted = self.0.delete(Delete { name, version, repeat: None }, until).await;
            shown(deleted.map(|version| version.0)).map(drop)
        })
    }

    fn clear(&self, chat: ChatToken, until: Instant) -> Later<'_, Result<(), NotArchived>> {
        Box::pin(async move {
            if self.find(chat, until).await?.is_some() {
                return Ok(());
            }
            let cleared = self.0.clear(chat, until).await.map_err(|refusal| failed(&refusal))?;
            if cleared > 0 {
                tracing::info!(
                    ?chat,
                    cleared,
                    "attachments of a chat that is to be forgotten are deleted"
                );
            }
            Ok(())
        })
    }
}

impl Kept {
    async fn store(
        &self,
        put: &Put,
        over: &OverChat<'_>,
        measured: &Measured,
    ) -> Result<u64, Refusal> {
        let stored = match &measured.whole {
            Some(whole) => self.0.put(put.clone(), &mut Whole(Some(whole.clone()))).await,
            None => self.0.put(put.clone(), &mut Lines::of(over)).await,
        };
        stored.map(|stored| stored.version.0)
    }

    /// Makes the collection. One that somebody made otherwise will do.
    async fn make(&self, put: &Put) -> Result<(), NotArchived> {
        let (collection, until) = (&put.name.collection, runtime::now() + COLLECTION_MAX);
        match self.0.create_collection(collection, Versioning::Unversioned, until).await {
            Ok(_new) => Ok(()),
            Err(refusal) if refusal.code == Code::CollectionExists => Ok(()),
            Err(refusal) => Err(failed(&refusal)),
        }
    }
}

/// The name of a chat's archive.
fn name(chat: ChatToken) -> Result<Name, NotArchived> {
    named(archive::CHATS, &chat.to_string())
}

/// The name of what belongs to a message.
fn attachment(key: &str) -> Result<Name, NotArchived> {
    named(ATTACHMENTS, key)
}

fn named(collection: &str, key: &str) -> Result<Name, NotArchived> {
    let no_name = |error: InvalidName| NotArchived::Failed(error.to_string());
    Ok(Name {
        collection: collection.parse().map_err(no_name)?,
        key: key.parse().map_err(no_name)?,
    })
}

/// What there is, if there is anything.
fn shown(found: Result<u64, Refusal>) -> Result<Option<u64>, NotArchived> {
    match found {
        Ok(version) => Ok(Some(version)),
        Err(Refusal {
            code: Code::NotFound | Code::UnknownCollection | Code::UnknownVersion,
            ..
        }) => Ok(None),
        Err(refusal) => Err(failed(&refusal)),
    }
}

fn failed(refusal: &Refusal) -> NotArchived {
    match refusal.code {
        Code::AlreadyFinal | Code::IdempotencyConflict => NotArchived::There,
        _ => NotArchived::Failed(refusal.detail.clone()),
    }
}

/// How long the lines of a chat are, and all of them if they are short.
struct Measured {
    size: u64,
    whole: Option<Bytes>,
}

async fn measure(over: &OverChat<'_>) -> Result<Measured, NotArchived> {
    let mut lines = Lines::of(over);
    let (mut size, mut whole) = (0, Some(BytesMut::new()));
    while let Some(bytes) = lines.next_bytes().await? {
        size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match &mut whole {
            Some(short) if size <= SHORT_BYTES => short.extend_from_slice(&bytes),
            _ => whole = None,
        }
    }
    Ok(Measured { size, whole: whole.map(BytesMut::freeze) })
}

/// A chat's lines, as they are read.
struct Lines<'a> {
    head: Option<Vec<u8>>,
    pages: Pages<'a>,
}

impl<'a> Lines<'a> {
    fn of(over: &'a OverChat<'_>) -> Self {
        let head = api::head_line(&over.view, &over.plan().drop_kinds);
        Self { head: Some(head), pages: over.pages() }
    }

    /// The next lines; `None` behind the last.
    async fn next_bytes(&mut self) -> Result<Option<Bytes>, NotArchived> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head.into()));
        }
        let page = self.pages.next().await?;
        Ok(page.map(|page| page.iter().flat_map(api::message_line).collect()))
    }
}

impl Body for Lines<'_> {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async move {
            let next = self.next_bytes().await.map_err(|error| BodyEnded(error.to_string()));
            next.transpose()
        })
    }
}
