//! One node from its configuration: the one place where the parts meet. Read it to see the whole.
//!
//! From the ground up: handlers are loaded, addresses are taken so that they are known, the data folder is
//! locked, the registry is told of this process life, and the log recovered; only then does the node listen,
//! register its places and work. Without its registry it waits before all of that: nobody is refused for
//! hours by a node that accepted their connection. How it ends is [`crate::shutdown`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use archive::Archive;
use chat::{Chats, LiveChain};
use hashring::{InvalidPartitions, Partitions, Position};
use plugin::Compiler;
use registry::Registry;
use replication::core::Timings;
use replication::{Notices, Parts, Replication};
use runtime::{Stop, Tasks};
use segment::{Folder, Log, LogConfig, Recovered};

use crate::announcing::Announcement;
use crate::config::{AuthMode, Config, Forget, Positions, Rate, Reserve};
use crate::credentials::Issuer;
use crate::generations::{self, Peers};
use crate::handlers;
use crate::joining;
use crate::keeping;
use crate::objects;
use crate::operator::Operator;
use crate::owing;
use crate::serving;
use crate::telephones;

/// What the nodes of one process share. Clones are the same.
#[derive(Clone, Debug)]
pub struct Process {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    plugins: plugin::Host,
    issuer: Issuer,
    hook: Option<rollout::Hook>,
    service_hook: Option<outbox::Hook>,
}

/// A running node. Dropping it ends nothing: its tasks go on until they are stopped, or their runtime is.
#[derive(Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) grace: Duration,
    pub(crate) tasks: Tasks,
    pub(crate) http: api::Serving,
    pub(crate) admin: api::Serving,
    url: String,
    pub(crate) announcement: Announcement,
    pub(crate) chats: Chats,
    pub(crate) archive: Archive,
    pub(crate) replication: Replication,
    pub(crate) log: Log,
}

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made. Nothing was written; see the cause.
    #[error("{}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The registry cannot be opened. Nothing was changed; another process may have it.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// What the configuration says of ZooKeeper cannot be meant. Nobody was asked; mend it.
    #[error(transparent)]
    ZooKeeper(#[from] registry::Problem),
    /// The engine for plugins cannot be set up. Nothing was started; see the cause.
    #[error(transparent)]
    Engine(#[from] plugin::HostError),
    /// Plugins cannot be used, all of them are listed. Nothing was started; mend the configuration.
    #[error("{}", .0.iter().map(|plugin| plugin.what.as_str()).collect::<Vec<_>>().join("; "))]
    Plugins(Vec<rollout::Unusable>),
    /// What is live cannot be found out, or its folder not be used. Nothing was started; see the cause.
    #[error(transparent)]
    Generations(rollout::StartError),
    /// The data folder cannot be used. Nothing in it was changed; the text says what to do.
    #[error(transparent)]
    Data(#[from] segment::FolderError),
    /// The log cannot be opened. Nothing in it was changed; see the cause.
    #[error("the log")]
    Log(#[from] segment::OpenError),
    /// The archive cannot be opened. Nothing in it was changed; see the cause.
    #[error("the archive")]
    Archive(#[from] segment::archive::OpenError),
    /// The number of partitions is none. Nothing was started; mend the configuration.
    #[error(transparent)]
    Partitions(#[from] InvalidPartitions),
    /// The certificates cannot be used. Nothing was started; see the cause.
    #[error(transparent)]
    Tls(#[from] replication::TlsError),
    /// The keys of tokens cannot be used. Nothing was started; mend the file.
    #[error("auth.jwks, {}", .path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: api::KeySetError,
    },
    /// The auth tokens of Twilio cannot be used. Nothing was started; mend the file.
    #[error("twilio.auth_token_file, {}", .path.display())]
    Twilio {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: api::TokensError,
    },
    /// What services are called with cannot be set up. Nothing was started; see the cause.
    #[error(transparent)]
    Trust(#[from] transaction::TrustError),
    /// An address for clients or operators cannot be listened on. Nothing was registered; choose another
    /// port.
    #[error(transparent)]
    Http(#[from] api::BindError),
    /// The address for nodes cannot be listened on. Nothing was registered; choose another port.
    #[error(transparent)]
    Quic(#[from] replication::StartError),
    /// Replication ended before it began. What is on the disks stays; the text says why.
    #[error(transparent)]
    Replication(#[from] replication::Failure),
    /// The node ended while it started. What is on the disks stays; the text says why.
    #[error("the node ended while it started: {0}")]
    Ended(String),
    /// Not every partition got a leader in time. The nodes were stopped again; see their logs.
    #[error("{led} of {partitions} partitions have a leader after {after_s} s")]
    NotLed {
        /// How many have.
        led: usize,
        /// How many there are.
        partitions: usize,
        /// How long it waited, in seconds.
        after_s: u64,
    },
}

impl Process {
    /// Opens what the nodes of this process share, in `folder`. Their plugins are compiled by `compiler`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(folder: &Path, config: &Config, compiler: Compiler) -> Result<Self, StartError> {
        // First of all: what is looked up before it is there counts for nobody.
        api::install_metrics();
        let made = std::fs::create_dir_all(folder);
        made.map_err(|source| StartError::Folder { path: folder.to_owned(), source })?;
        let registry = joining::open(folder, config)?;
        let compiled = folder.join("compiled");
        let plugins = plugin::Host::new(handlers::host_config(config, Some(&compiled), compiler))?;
        let issuer = Issuer::new(&config.cluster.name)?;
        let shared = Shared { registry, plugins, issuer, hook: None, service_hook: None };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The registry of its nodes.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// With a hook at every step of a change of plugins: what a test ends a node with.
    ///
    /// # Panics
    /// When a node of this process was started already.
    #[must_use]
    pub fn with_hook(mut self, hook: rollout::Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        shared.unwrap_or_else(|| unreachable!("nodes run already")).hook = Some(hook);
        self
    }

    /// With a hook at every step of a transaction: what a test ends a node with.
    ///
    /// # Panics
    /// When a node of this process was started already.
    #[must_use]
    pub fn with_service_hook(mut self, hook: outbox::Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        shared.unwrap_or_else(|| unreachable!("nodes run already")).service_hook = Some(hook);
        self
    }
}

impl Node {
    /// Starts a node on the current runtime, and returns when it answers clients and is registered.
    ///
    /// # Errors
    /// [`StartError`]; nothing of the node is left running then.
    pub async fn start(config: &Config, process: &Process) -> Result<Self, StartError> {
        let since = runtime::now();
        let partitions = Partitions::try_from(config.cluster.partitions)?;
        let credentials = process.shared.issuer.credentials(config)?;
        let auth = auth(config).await?;
        let twilio = telephones::twilio(config).await?;

        let (http, admin) =
            (api::Reserved::take(http(config))?, api::Reserved::take(admin(config))?);
        let url = url(config, http.local_addr());
        let session = process.shared.registry.session(&config.node.id);
        let folder = joining::enlist(config, &session, folder(config)?).await?;
        let live = LiveChain::default();
        let (host, hook) = (process.shared.plugins.clone(), process.shared.hook.clone());
        let rollout = generations::open(config, host, live.clone(), hook).await?;
        let begun = rollout.begin(&session).await?;
        let notices = Notices::default();
        let (log, recovered) = open_log(config, &folder, &notices).await?;
        tell(config, &recovered);
        let engine = objects::open(config, &folder, &notices).await?;

        let (http, admin) = (http.listen()?, admin.listen()?);
        let settings = settings(config, partitions, &folder, url.clone());
        let (store, boot) = (folder.store(), folder.boot());
        let restored = recovered.partitions;
        let parts = Parts { session, credentials, folder, log: log.clone(), restored, notices };
        let (replication, driver) = replication::bind(settings, parts)?;
        let tasks = Tasks::current(Stop::default());
        let chats = Chats::new(Arc::new(replication.clone()), live, chats(config), &tasks);
        let archive = objects::start(&replication, &chats, engine, boot, &tasks);
        keeping::keep(config, &chats, &archive);
        let life = (boot, process.shared.service_hook.clone());
        let services = owing::start(config, &replication, &chats, life, &tasks).await?;
        rollout.run(&replication, &tasks);
        // Before it takes part: what is missing others have, and they lead until it is here.
        replication.set_ready(begun == rollout::Begun::Live).await;
        let peers = Peers::new(&chats, &archive, &rollout, &services);
        let pings = Arc::new(serving::Told(services.clone()));
        driver.start(Arc::new(peers), &tasks);
        let operator = Operator {
            replication: replication.clone(),
            rollout: rollout.clone(),
            chats: chats.clone(),
            services,
            order: config.chain.clone(),
            host: process.shared.plugins.clone(),
            registry: config.registry.kind,
            http: url.clone(),
            store,
            boot,
            since,
            draining: AtomicBool::new(false),
        };
        let (ask, objects) = (Arc::new(chats.clone()), Arc::new(archive.clone()));
        let http = http.with_pings(pings).serve(ask, objects, auth, twilio, &tasks);
        let admin = admin.serve_operators(Arc::new(operator), &tasks);
        let (name, grace) = (config.node.id.to_string(), config.node.drain.0);
        let announcement = Announcement::default();
        let node = Self {
            name,
            grace,
            tasks,
            http,
            admin,
            url,
            announcement,
            chats,
            archive,
            replication,
            log,
        };
        node.joined(config, &rollout).await
    }

    /// Waits until it is a member, and says what it waits for.
    async fn joined(
        mut self,
        config: &Config,
        rollout: &rollout::Rollout,
    ) -> Result<Self, StartError> {
        let commit = config.replication.commit;
        let waiting = || {
            tracing::warn!(
                node = self.name,
                "not ready yet: the cluster begins with {commit} nodes that are registered, and places \
                 of an earlier life of a node are free when its session has ended"
            );
        };
        match joining::patiently(self.replication.joined(), waiting).await {
            Ok(()) => {}
            Err(failure) => {
                let told = self.ended();
                self.tasks.finish().await;
                return Err(failure.map_or(StartError::Ended(told), StartError::Replication));
            }
        }
        if let Err(error) = self.has_plugins(rollout).await {
            self.tasks.finish().await;
            return Err(error);
        }
        self.announcement = Announcement::begin(config, &self.url).await;
        Ok(self)
    }

    /// Waits until it has the plugins that are live in the cluster.
    async fn has_plugins(&self, rollout: &rollout::Rollout) -> Result<(), StartError> {
        let waiting = || {
            let why = rollout.behind().unwrap_or_default();
            tracing::error!(
                node = self.name,
                why,
                "not ready: it does not have the live plugins yet"
            );
        };
        let unusable = |what| {
            let fix = "Mend it, or roll the plugin back on another node".to_owned();
            StartError::Plugins(vec![rollout::Unusable { plugin: String::new(), what, fix }])
        };
        tokio::select! { biased;
            () = self.tasks.stop().stopped() => Err(StartError::Ended(self.ended())),
            ready = joining::patiently(rollout.ready(), waiting) => ready.map_err(unusable),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers clients, as they are told.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where it answers operators.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.local_addr())
    }

    /// How long its stop may take.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// The archive of the cluster, as it answers for it.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Its log: a test ends it as a crash would.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits until every partition has a leader that this node knows of.
    ///
    /// # Errors
    /// [`StartError`] when that takes longer than `within`, or the node ended.
    pub async fn ready(&self, within: Duration) -> Result<(), StartError> {
        let deadline = runtime::now() + within;
        loop {
            let readiness = self.chats.readiness();
            let (led, partitions) = (readiness.led, readiness.partitions);
            if led == partitions && partitions > 0 {
                return Ok(());
            }
            if self.tasks.stop().is_stopped() {
                return Err(StartError::Ended(self.ended()));
            }
            if runtime::now() >= deadline {
                return Err(StartError::NotLed { led, partitions, after_s: within.as_secs() });
            }
            runtime::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the node ended by itself, and says why. Cancel-safe.
    pub async fn failed(&self) -> String {
        self.tasks.stop().stopped().await;
        self.ended()
    }

    fn ended(&self) -> String {
        let failure = self.replication.failure().map(|failure| failure.to_string());
        let panicked = || self.tasks.failed().map(|task| format!("a task panicked: {task}"));
        failure.or_else(panicked).unwrap_or_else(|| "it was stopped".to_owned())
    }
}

/// How it tells who asks.
async fn auth(config: &Config) -> Result<api::Auth, StartError> {
    let auth = &config.auth;
    if auth.mode == AuthMode::Open {
        return Ok(api::Auth::open());
    }
    let jwt = api::JwtConfig {
        key_set: auth.jwks.clone(),
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
    };
    let opened = runtime::blocking(move || api::Auth::jwt(&jwt)).await;
    let ended = || StartError::Ended("the key set was not read".to_owned());
    let path = auth.jwks.clone();
    opened.ok_or_else(ended)?.map_err(|source| StartError::Auth { path, source })
}

pub(crate) fn folder(config: &Config) -> Result<Folder, StartError> {
    let path = config.data();
    let chosen = || match &config.ring.positions {
        Positions::Given(given) => given.iter().map(|position| Position(*position)).collect(),
        Positions::Random(count) => (0..u32::from(*count) * config.node.weight)
            .map(|_| Position(rand::random::<u128>()))
            .collect(),
    };
    let folder = Folder::open(path, &config.node.id, config.cluster.partitions, chosen)?;
    if matches!(config.ring.positions, Positions::Given(_)) && folder.positions() != chosen() {
        tracing::warn!(
            folder = %path.display(),
            "ring.positions is not what this folder began with: places are chosen once, and those stay"
        );
    }
    Ok(folder)
}

/// Recovering reads the log's tail: not on the threads that serve.
async fn open_log(
    config: &Config,
    folder: &Folder,
    notices: &Notices,
) -> Result<(Log, Recovered), StartError> {
    let log = LogConfig {
        folder: folder.logs(),
        store: folder.store(),
        partitions: config.cluster.partitions,
        value_file_bytes_max: config.storage.value_file.0,
        reserve: match config.storage.reserve {
            Reserve::Percent(percent) => segment::Reserve::Percent(percent),
            Reserve::Bytes(size) => segment::Reserve::Bytes(size.0),
        },
    };
    let told = notices.clone();
    let opened = runtime::blocking(move || Log::open(log, move |notice| told.tell(notice))).await;
    let ended = || StartError::Ended("the log was not opened".to_owned());
    Ok(opened.ok_or_else(ended)??)
}

/// Says what recovery found.
fn tell(config: &Config, recovered: &Recovered) {
    let node = &config.node.id;
    tracing::info!(
        %node, entries = recovered.entries, partitions = recovered.partitions.len(),
        took_ms = recovered.took.as_millis(), "log recovered"
    );
    if recovered.cut_bytes > 0 {
        tracing::warn!(%node, bytes = recovered.cut_bytes,
            "the last batch was torn and is cut: it was never acknowledged");
    }
    let helped = if config.replication.copies > 1 {
        "its partitions take part again when a member that has it helps"
    } else {
        "this node is alone, so what is missing is lost, and it goes on with what it has"
    };
    for damage in &recovered.damages {
        let partition =
            damage.partition.map_or_else(|| "?".to_owned(), |partition| partition.to_string());
        tracing::error!(
            %node, file = %damage.file.display(), offset = damage.offset, %partition,
            "damage in a value file: {}; {helped}", damage.what
        );
    }
}

fn timings(config: &Config) -> Timings {
    let replication = config.replication;
    Timings {
        answer: replication.timeout.0,
        settle: replication.settle.0,
        dead: replication.dead.0,
        ..Timings::default()
    }
}

fn settings(
    config: &Config,
    partitions: Partitions,
    folder: &Folder,
    http: String,
) -> replication::Config {
    replication::Config {
        node: config.node.id.clone(),
        partitions,
        copies: config.replication.copies,
        commit: config.replication.commit,
        spread: config.spread(),
        positions: folder.positions().to_vec(),
        listen: config.quic.listen,
        advertise: config.quic.advertise.clone(),
        http,
        zone: config.node.zone.clone(),
        weight: config.node.weight,
        timings: timings(config),
        scrub: config.storage.scrub.0,
        catch_up: match config.replication.catch_up {
            Rate::Unlimited => None,
            Rate::PerSecond(rate) => Some(rate.0),
        },
    }
}

fn chats(config: &Config) -> chat::Config {
    chat::Config {
        message_bytes_max: config.limits.message_bytes.bytes(),
        waiting_max: config.limits.waiting,
        timeout: config.replication.timeout.0,
        spread: config.spread(),
        collect: chat::Collect {
            every: config.collect.every.0,
            pause: config.collect.pause.0,
            grace: config.collect.grace.0,
            idle: config.collect.idle.span(),
            forget: match config.collect.forget {
                Forget::Off => None,
                Forget::After(age) => Some(age.0),
            },
        },
        idle: config.presence.idle.span(),
        // Where every chat stays nearly every entry does, and there is nothing to trim.
        trim: (config.collect.forget != Forget::Off).then(chat::Trim::default),
        ..chat::Config::default()
    }
}

/// What others are told of where clients connect.
fn url(config: &Config, listening: SocketAddr) -> String {
    match config.http.advertise.as_str() {
        "" => format!("http://{listening}"),
        advertise => format!("http://{advertise}"),
    }
}

fn admin(config: &Config) -> api::Config {
    api::Config { listen: config.admin.listen, ..api::Config::default() }
}

fn http(config: &Config) -> api::Config {
    let mut http = api::Config {
        listen: config.http.listen,
        message_bytes: config.limits.message_bytes.bytes(),
        connections: config.limits.connections,
        connections_per_address: config.limits.connections_per_address,
        ..api::Config::default()
    };
    // Longer than replication takes to call an outcome unknown, so that clients hear that instead.
    let unknown = config.replication.timeout.0 + Duration::from_secs(3);
    http.patience.answer = http.patience.answer.max(unknown);
    http
}
