//! The archive of a node: its own files, and its place between the log and other nodes.

use std::path::{Path, PathBuf};
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
use segment::archive::{
    Archive as Engine, ArchiveConfig, Folders, Keeping, OpenError, SpaceConfig,
};
use segment::{Folder, Notice};
use tokio::sync::oneshot;

use crate::assemble::StartError;
use crate::config::Config;
use crate::opening;

/// The folder of archives, below the node's own. Each store has one: what an earlier store of this node held
/// counts for nothing, and is fetched again.
const FOLDER: &str = "archive";
/// An upload of which nothing came for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Hidden bytes go after so long, and what hides after the grace.
const HIDDEN_FOR: Duration = Duration::from_secs(3600);
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
    let home = home(folder.path(), folder.store());
    let named = named(config);
    let node = &config.node.id;
    let folders = Folders { home: &home, node, store: folder.store(), named: &named };
    let spaces = folders.spaces()?;
    forgotten(folder.path(), folder.store(), &named);
    let keeping = Some(Keeping { bytes_per_second: KEEPING_BYTES });
    let archive = ArchiveConfig { keeping, ..of_store(config, folder, folder.store(), spaces) };
    let told = notices.clone();
    let opened = runtime::blocking(move || {
        Engine::open(archive, move |text| told.tell(Notice::Failed { text: text.to_owned() }))
    });
    let ended = || StartError::Ended("the archive was not opened".to_owned());
    let (engine, found) = opened.await.ok_or_else(ended)??;
    tracing::info!(%node, files = found.files, scanned = found.scanned, "archive recovered");
    for damage in &found.damages {
        let (file, offset) = (damage.file.display(), damage.offset);
        tracing::error!(%node, %file, offset, "damage in the archive: {}", damage.what);
    }
    Ok(Opened { engine, earlier: earlier(config, folder).await })
}

/// The archive of one store of this node.
fn of_store(
    config: &Config,
    folder: &Folder,
    store: u64,
    spaces: Vec<SpaceConfig>,
) -> ArchiveConfig {
    ArchiveConfig {
        node: config.node.id.clone(),
        store,
        spaces,
        reserve: opening::reserve(config),
        value_file_bytes_max: config.storage.value_file.0,
        idle_max: IDLE_MAX,
        hidden_for: HIDDEN_FOR,
        grace: config.storage.grace.0,
        keeping: None,
        home: home(folder.path(), store),
    }
}

/// The archive's own folder of one store.
fn home(data: &Path, store: u64) -> PathBuf {
    data.join(FOLDER).join(format!("{store:016x}"))
}

/// The folders for value files that the configuration names.
fn named(config: &Config) -> Vec<PathBuf> {
    config.storage.spaces.iter().map(|space| space.path.clone()).collect()
}

/// What is wrong with the folders for value files, as far as it can be seen while the node may be running.
pub(crate) fn faults(config: &Config) -> Vec<OpenError> {
    let (node, named) = (&config.node.id, named(config));
    let found = Folder::look(config.data()).filter(|(found, _)| found == node);
    // A node that was never started has no store yet, and its folders nothing of one.
    let store = found.map_or(0, |(_, store)| store);
    Folders { home: &home(config.data(), store), node, store, named: &named }.faults()
}

/// The stores that have something in a folder.
fn stores(folder: &Path) -> Vec<u64> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let stores = names.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str().filter(|name| name.len() == 16)?;
        u64::from_str_radix(name, 16).ok()
    });
    stores.collect()
}

/// Says what lies in the folders for value files of stores of which the data folder knows nothing: it takes room,
/// and nothing reads it.
fn forgotten(data: &Path, store: u64, named: &[PathBuf]) {
    for folder in named {
        for other in stores(folder).into_iter().filter(|other| *other != store) {
            if !home(data, other).exists() {
                let folder = folder.join(format!("{other:016x}"));
                tracing::warn!(
                    folder = %folder.display(),
                    "value files of an earlier data folder of this node: nothing reads them, remove them"
                );
            }
        }
    }
}

/// What earlier stores of this node left. One that cannot be opened is passed over: others have all of it.
async fn earlier(config: &Config, folder: &Folder) -> Vec<Engine> {
    let mut stores = stores(&folder.path().join(FOLDER));
    stores.retain(|store| *store != folder.store());
    let mut found = Vec::new();
    for store in stores.into_iter().take(EARLIER_MAX) {
        let home = home(folder.path(), store);
        let (home_of, failed) =
            (home.clone(), |text: &str| tracing::error!(text, "what an earlier store left fails"));
        let archive = of_store(config, folder, store, Vec::new());
        let open = move || {
            let spaces = SpaceConfig::remembered(&home_of)?;
            Engine::open(ArchiveConfig { spaces, ..archive }, failed)
        };
        match runtime::blocking(open).await {
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
    found
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
