//! What belongs to a chat goes with it: everything that lies under its token among the attachments.
//!
//! Done by the node that leads the chat, whose log has the objects too, for whoever is about to forget the chat; and before the
//! archive of a chat that is forgotten is deleted, because then nothing refers to them any more. Each delete is one entry, of one
//! version. Nothing says in advance what is to go: it is what can be seen, so who begins again goes on.

use hashring::PartitionId;
use model::{ATTACHMENTS, ChatToken};
use runtime::Instant;
use segment::archive::{CollectionName, UnifiedId, Versioning};

use crate::leading::Interrupt;
use crate::question::{Ask, Reply};
use crate::reign::Reign;
use crate::request::Name;
use crate::shared::Shared;
use crate::{Code, List, Listing, Refusal};

/// Versions that are looked up at once.
const PAGE_MAX: u32 = 256;

impl Shared {
    /// Deletes every version of every attachment of a chat that this node leads; how many there were.
    pub(crate) async fn clear(&self, chat: ChatToken, until: Instant) -> Result<u64, Refusal> {
        let partition = self.replication.partitions().of_key(&chat.key());
        let led = self.reign_now(partition).ok_or_else(|| elsewhere(partition));
        let cleared = self.clear_here(&*led?, chat, until).await;
        cleared.map_err(|interrupt| match interrupt {
            Interrupt::Refused(refusal) => refusal,
            Interrupt::Moved { .. } => elsewhere(partition),
        })
    }

    /// The same, in a reign of this node.
    async fn clear_here(
        &self,
        reign: &Reign,
        chat: ChatToken,
        until: Instant,
    ) -> Result<u64, Interrupt> {
        self.begun(reign, until).await?;
        let collection: CollectionName = ATTACHMENTS.parse().map_err(no_name)?;
        let versioning = match self.versioned(&collection, until).await {
            Ok(versioning) => versioning,
            Err(refusal) if refusal.code == Code::UnknownCollection => return Ok(0),
            Err(refusal) => return Err(refusal.into()),
        };
        let mut list = List {
            collection: collection.clone(),
            prefix: format!("{chat}/"),
            marker: None,
            limit: PAGE_MAX,
            versions: true,
            version_marker: None,
        };
        let mut cleared = 0;
        loop {
            let Listing { entries, truncated, next } =
                self.look_here(reign, list.clone(), until).await?;
            for found in entries {
                let name = Name { collection: collection.clone(), key: found.key };
                self.clear_one(reign, name, versioning, found.version, until).await?;
                cleared += 1;
            }
            // A page without entries is not the last: what is hidden was looked at too.
            let Some((marker, version)) = next.filter(|_| truncated) else { return Ok(cleared) };
            (list.marker, list.version_marker) = (Some(marker), version);
        }
    }

    async fn clear_one(
        &self,
        reign: &Reign,
        name: Name,
        versioning: Versioning,
        version: UnifiedId,
        until: Instant,
    ) -> Result<(), Interrupt> {
        let ask = Ask::Delete { name, versioning, target: Some(version), repeat: self.unique() };
        self.decide_here(reign, &ask, until).await.map(drop)
    }

    /// What refers to attachments goes after them: those of a chat that is forgotten are deleted before its archive is.
    /// A chat that is not is given back: they are left to it.
    pub(crate) async fn take_along(
        &self,
        reign: &Reign,
        name: &Name,
        target: Option<UnifiedId>,
        until: Instant,
    ) -> Result<Option<ChatToken>, Interrupt> {
        let Ok(chat) = name.key.as_str().parse::<ChatToken>() else { return Ok(None) };
        match self.append.has_chat(reign.partition, reign.epoch, chat) {
            // They go when it is forgotten.
            Some(true) => return Ok(Some(chat)),
            Some(false) => {}
            None => return Err(Interrupt::Moved { appended: false }),
        }
        let shown = match self.find_here(reign, name, None, until).await {
            Ok(Reply::Found(found)) => Some(found.version),
            Ok(_) => None,
            Err(Interrupt::Refused(refusal)) if refusal.code == Code::NotFound => None,
            Err(interrupt) => return Err(interrupt),
        };
        // Where nothing is shown any more nothing refers to them, whichever version is meant.
        if target.is_some() && shown.is_some() && target != shown {
            return Ok(None);
        }
        self.clear_here(reign, chat, until).await?;
        Ok(None)
    }

    /// The archive of a chat is deleted, and the attachments were left to the chat. If that was forgotten meanwhile it left
    /// them to its archive, and they go now. Whoever asks again goes on with that.
    pub(crate) async fn take_left(
        &self,
        reign: &Reign,
        chat: ChatToken,
        until: Instant,
    ) -> Result<(), Interrupt> {
        let cleared = match self.append.has_chat(reign.partition, reign.epoch, chat) {
            Some(true) => return Ok(()),
            Some(false) => self.clear_here(reign, chat, until).await.map(drop),
            None => Err(Interrupt::Moved { appended: false }),
        };
        // The archive is deleted whatever became of this: nobody may be told that nothing was done.
        cleared.map_err(|_why| Interrupt::Moved { appended: true })
    }
}

fn elsewhere(partition: PartitionId) -> Refusal {
    let detail = format!("this node does not lead partition {partition}, or not yet");
    Refusal::not_committed(Code::NotReady, detail)
}

fn no_name(wrong: segment::archive::InvalidName) -> Refusal {
    Refusal::new(Code::Internal, wrong.to_string())
}
