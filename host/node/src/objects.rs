//! The archive of a node: its own files, and its place between the log and other nodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Append, Archive};
use bytes::Bytes;
use chat::{Chats, Later, Others};
use hashring::PartitionId;
use model::ChatToken;
use replication::core::Outcome;
use replication::{Notices, Replication};
use runtime::Tasks;
use segment::archive::{Archive as Engine, ArchiveConfig, Keeping, SpaceConfig};
use segment::{Disk, Folder, Notice, SystemDisk};
use tokio::sync::oneshot;

use crate::assemble::StartError;
use crate::config::{Config, Reserve};

/// The folder of archives, below the node's own. Each store has one: what an earlier store of this node held
/// counts for nothing, and is fetched again.
const FOLDER: &str = "archive";
/// The only space there is so far.
const SPACE: u32 = 1;
/// An upload of which nothing came for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Hidden bytes go after so long, and what hides after the grace.
const HIDDEN_FOR: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(10 * 24 * 3600);
/// So many earlier stores are looked into for bytes that the present one lacks; more than one is rare.
const EARLIER_MAX: usize = 2;
/// What keeping the files may read in a second.
const KEEPING_BYTES: u64 = 10 << 20;

/// What the archive appends goes between what the chats append.
struct Beside(Chats);

impl Append for Beside {
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        self.0.append(partition, epoch, payload, acks)
    }

    fn give_up(&self, partition: PartitionId, epoch: u64) {
        self.0.give_up(partition, epoch);
    }

    fn has_chat(&self, partition: PartitionId, epoch: u64, chat: ChatToken) -> Option<bool> {
        self.0.has(partition, epoch, chat)
    }
}

/// The archive, as the chats need it when they trim what is in one log with its entries.
#[derive(Debug)]
struct Shelved(Archive);

impl Others for Shelved {
    fn kept(&self, partition: PartitionId) -> Later<'_, u64> {
        Box::pin(self.0.kept(partition))
    }

    fn anew(&self, payload: &[u8]) -> Option<Bytes> {
        archive::without_bytes(payload)
    }
}

/// The node's own archive, and what earlier stores of it left.
#[derive(Debug)]
pub(crate) struct Opened {
    engine: Engine,
    earlier: Vec<Engine>,
}

/// Opens the node's own archive. Recovering reads files: not on the threads that serve.
pub(crate) async fn open(
    config: &Config,
    folder: &Folder,
    notices: &Notices,
) -> Result<Opened, StartError> {
    let keeping = Some(Keeping { bytes_per_second: KEEPING_BYTES });
    let archive = ArchiveConfig { keeping, ..of_store(config, folder, folder.store())? };
    let told = notices.clone();
    let opened = runtime::blocking(move || {
        Engine::open(archive, move |text| told.tell(Notice::Failed { text: text.to_owned() }))
    });
    let ended = || StartError::Ended("the archive was not opened".to_owned());
    let (engine, found) = opened.await.ok_or_else(ended)??;
    let node = &config.node.id;
    tracing::info!(%node, files = found.files, scanned = found.scanned, "archive recovered");
    for damage in &found.damages {
        let (file, offset) = (damage.file.display(), damage.offset);
        tracing::error!(%node, %file, offset, "damage in the archive: {}", damage.what);
    }
    Ok(Opened { engine, earlier: earlier(config, folder).await? })
}

/// The archive of one store of this node.
fn of_store(config: &Config, folder: &Folder, store: u64) -> Result<ArchiveConfig, StartError> {
    let home = folder.path().join(FOLDER).join(format!("{store:016x}"));
    Ok(ArchiveConfig {
        node: config.node.id.clone(),
        store,
        spaces: vec![SpaceConfig { id: SPACE, root: home.join("spaces.d") }],
        reserve_bytes: reserve(config, folder.path())?,
        value_file_bytes_max: config.storage.value_file.0,
        idle_max: IDLE_MAX,
        hidden_for: HIDDEN_FOR,
        grace: GRACE,
        keeping: None,
        home,
    })
}

/// What earlier stores of this node left. One that cannot be opened is passed over: others have all of it.
async fn earlier(config: &Config, folder: &Folder) -> Result<Vec<Engine>, StartError> {
    let path = folder.path().join(FOLDER);
    let names = std::fs::read_dir(&path).into_iter().flatten().flatten();
    let stores = names.filter_map(|entry| {
        let name = entry.file_name();
        u64::from_str_radix(name.to_str()?, 16).ok()
    });
    let stores: Vec<u64> = stores.filter(|store| *store != folder.store()).collect();
    let mut found = Vec::new();
    for store in stores.into_iter().take(EARLIER_MAX) {
        let archive = of_store(config, folder, store)?;
        let home = archive.home.clone();
        let failed = |text: &str| tracing::error!(text, "what an earlier store left fails");
        match runtime::blocking(move || Engine::open(archive, failed)).await {
            Some(Ok((engine, _))) => {
                tracing::info!(folder = %home.display(), "bytes that are owed are looked for here first");
                found.push(engine);
            }
            Some(Err(error)) => {
                let folder = home.display();
                tracing::warn!(%folder, %error, "what an earlier store left is not read");
            }
            None => {}
        }
    }
    Ok(found)
}

/// What stays free, in bytes.
fn reserve(config: &Config, folder: &Path) -> Result<u64, StartError> {
    match config.storage.reserve {
        Reserve::Bytes(size) => Ok(size.0),
        Reserve::Percent(percent) => {
            let refused = |source| StartError::Folder { path: folder.to_owned(), source };
            let space = SystemDisk.space(folder).map_err(refused)?;
            Ok((space.total / 100).saturating_mul(u64::from(percent)))
        }
    }
}

/// The archive of the cluster, on this node.
pub(crate) fn start(
    replication: &Replication,
    chats: &Chats,
    opened: Opened,
    boot: u64,
    tasks: &Tasks,
) -> Archive {
    let config = archive::Config { boot, ..archive::Config::default() };
    let beside = Arc::new(Beside(chats.clone()));
    let Opened { engine, earlier } = opened;
    let archive = Archive::new(replication.clone(), beside, engine, config, tasks);
    archive.read_also(earlier);
    chats.stand_beside(Arc::new(Shelved(archive.clone())));
    archive
}
