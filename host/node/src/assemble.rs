//! One node from its configuration: the one place where the parts meet. Read it to see the whole.
//!
//! From the ground up: handlers are loaded, addresses are taken so that they are known, the data folder is
//! locked, the registry is told of this process life, and the log recovered; only then does the node listen,
//! register its places and work. Without its registry it waits before all of that: nobody is refused for
//! hours by a node that accepted their connection. How it ends is [`crate::shutdown`].

use std::sync::Arc;
use std::time::Duration;

use archive::Archive;
use chat::{Chats, LiveChain};
use hashring::Partitions;
use outbox::Services;
use registry::Session;
use replication::{Credentials, Notices, Parts, Replication};
use rollout::{Begun, Rollout};
use runtime::{Instant, Stop, Tasks};
use segment::{Folder, Log, Recovered};

use crate::announcing::Announcement;
use crate::config::Config;
use crate::generations::{self, Peers};
use crate::giving::Giving;
use crate::joining;
use crate::keeping;
use crate::meaning;
use crate::objects;
use crate::opening;
use crate::operator::Operator;
use crate::owing;
use crate::serving;
use crate::telephones;

pub use crate::process::Process;
pub use crate::start_error::StartError;

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
    pub(crate) services: Services,
    pub(crate) replication: Replication,
    pub(crate) log: Log,
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
        let auth = opening::auth(config).await?;
        let twilio = telephones::twilio(config).await?;

        let doors = Doors::take(config)?;
        let ground = Ground::open(config, process).await?;
        let (http, admin) = (doors.http.listen()?, doors.admin.listen()?);
        let (url, hook) = (doors.url, process.shared.service_hook.clone());
        let settings = meaning::settings(config, partitions, &ground.folder, url.clone());
        let works = Works::begin(config, settings, credentials, ground, hook).await?;

        let operator = works.operator(config, process, url.clone(), since);
        let (ask, objects) = (Arc::new(works.chats.clone()), Arc::new(works.archive.clone()));
        let pings = Arc::new(serving::Told(works.services.clone()));
        let http = http.with_pings(pings).serve(ask, objects, auth, twilio, &works.tasks);
        let admin = admin.serve_operators(Arc::new(operator), &works.tasks);
        let Works { tasks, chats, archive, services, replication, log, rollout, .. } = works;
        let node = Self {
            name: config.node.id.to_string(),
            grace: config.node.drain.0,
            tasks,
            http,
            admin,
            url,
            announcement: Announcement::default(),
            chats,
            archive,
            services,
            replication,
            log,
        };
        node.joined(config, &rollout).await
    }

    /// Waits until it is a member, and says what it waits for.
    async fn joined(mut self, config: &Config, rollout: &Rollout) -> Result<Self, StartError> {
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
    async fn has_plugins(&self, rollout: &Rollout) -> Result<(), StartError> {
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

/// The addresses, which are taken and known, and where nobody can connect yet.
struct Doors {
    http: api::Reserved,
    admin: api::Reserved,
    /// What others are told of the first.
    url: String,
}

impl Doors {
    fn take(config: &Config) -> Result<Self, StartError> {
        let http = api::Reserved::take(meaning::http(config))?;
        let admin = api::Reserved::take(meaning::admin(config))?;
        let url = meaning::url(config, http.local_addr());
        Ok(Self { http, admin, url })
    }
}

/// What a node stands on. What stands on another part is let go before it.
struct Ground {
    engine: objects::Opened,
    log: Log,
    recovered: Recovered,
    notices: Notices,
    begun: Begun,
    rollout: Rollout,
    live: LiveChain,
    folder: Folder,
    session: Session,
}

impl Ground {
    /// Waits for the registry, and says so; then reads what is on the disks.
    async fn open(config: &Config, process: &Process) -> Result<Self, StartError> {
        let session = process.shared.registry.session(&config.node.id);
        let folder = joining::enlist(config, &session, opening::folder(config)?).await?;
        let live = LiveChain::default();
        let (host, hook) = (process.shared.plugins.clone(), process.shared.hook.clone());
        let rollout = generations::open(config, host, live.clone(), hook).await?;
        let begun = rollout.begin(&session).await?;
        let notices = Notices::default();
        let (log, recovered) = opening::log(config, &folder, &notices).await?;
        let engine = objects::open(config, &folder, &notices).await?;
        Ok(Self { engine, log, recovered, notices, begun, rollout, live, folder, session })
    }
}

/// What works on it, and has begun to.
struct Works {
    tasks: Tasks,
    replication: Replication,
    chats: Chats,
    archive: Archive,
    services: Services,
    rollout: Rollout,
    log: Log,
    /// Of the data folder.
    store: u64,
    boot: u64,
}

impl Works {
    async fn begin(
        config: &Config,
        settings: replication::Config,
        credentials: Credentials,
        ground: Ground,
        hook: Option<outbox::Hook>,
    ) -> Result<Self, StartError> {
        let Ground { engine, log, recovered, notices, begun, rollout, live, folder, session } =
            ground;
        let (store, boot) = (folder.store(), folder.boot());
        let restored = recovered.partitions;
        let parts = Parts { session, credentials, folder, log: log.clone(), restored, notices };
        let (replication, driver) = replication::bind(settings, parts)?;
        let tasks = Tasks::current(Stop::default());
        let chats = Chats::new(Arc::new(replication.clone()), live, meaning::chats(config), &tasks);
        let archive = objects::start(&replication, &chats, engine, boot, &tasks);
        keeping::keep(config, &chats, &archive);
        let services = owing::start(config, &replication, &chats, (boot, hook), &tasks).await?;
        rollout.run(&replication, &tasks);
        // Before it takes part: what is missing others have, and they lead until it is here.
        replication.set_ready(begun == Begun::Live).await;
        let peers = Peers::new(&chats, &archive, &rollout, &services);
        driver.start(Arc::new(peers), &tasks);
        Ok(Self { tasks, replication, chats, archive, services, rollout, log, store, boot })
    }

    /// What answers operators.
    fn operator(
        &self,
        config: &Config,
        process: &Process,
        http: String,
        since: Instant,
    ) -> Operator {
        Operator {
            replication: self.replication.clone(),
            rollout: self.rollout.clone(),
            chats: self.chats.clone(),
            archive: self.archive.clone(),
            services: self.services.clone(),
            order: config.chain.clone(),
            host: process.shared.plugins.clone(),
            registry: config.registry.kind,
            http,
            store: self.store,
            boot: self.boot,
            since,
            giving: Giving::default(),
            tasks: self.tasks.clone(),
        }
    }
}
