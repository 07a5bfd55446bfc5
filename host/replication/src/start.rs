//! How replication starts: first the sockets, so that everybody can be told where this node is; then,
//! once there is a host to tell, the tasks.
//!
//! Nothing here outlives its runtime: a node whose runtime is dropped is gone without a goodbye, its
//! sockets closed and its session ended, as after a crash.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use quinn::Endpoint;
use registry::{
    ClusterRecord, EndpointInfo, PositionData, PositionRecord, ServerInfo, ServiceInfo, Session,
    SessionState,
};
use runtime::Tasks;
use segment::{Folder, Pulse};
use tokio::sync::{Semaphore, mpsc, watch};
use wire::{Hello, PROTOCOL};

use crate::bases::Bases;
use crate::config::{BUILD, Config, Parts, limits};
use crate::core::{Core, CoreConfig, Limits, Sabotage};
use crate::dialler::Dialler;
use crate::driver::{self, Waiting};
use crate::ending::{Ending, Failure};
use crate::follow::{self, RingFollower};
use crate::foreign::Foreign;
use crate::forward::CALLS_MAX;
use crate::handle::{Host, Replication, Shared};
use crate::inbox::{COMMANDS_WAITING_MAX, Command, Inbox};
use crate::links::Links;
use crate::membership::Membership;
use crate::peer::Net;
use crate::peers::{Peers, code};
use crate::reads::Reads;
use crate::scrub::Scrub;
use crate::transport::{self, EndpointError};
use crate::trust::Trust;
use crate::{listener, metric, registrar};

/// How long goodbyes are given to leave the machine.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

/// Replication could not be prepared. Nothing listens and nothing was registered; see the cause.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] EndpointError);

/// Replication that has its sockets and waits for its host.
#[derive(Debug)]
pub struct Driver {
    parts: Parts,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Command>,
    endpoint: Endpoint,
}

/// Listens, and prepares everything that needs no host. To be called within a runtime, which must be the
/// one that the driver is started on.
///
/// # Errors
/// [`StartError`].
pub fn bind(config: Config, parts: Parts) -> Result<(Replication, Driver), StartError> {
    let endpoint = transport::endpoint(&config.node, &parts.credentials, config.listen)?;
    let listen = |source| EndpointError::Listen { address: config.listen, source };
    let address = endpoint.local_addr().map_err(listen)?;
    let (sender, inbox) = mpsc::channel(COMMANDS_WAITING_MAX);
    let views = config.partitions.all().map(|_partition| watch::Sender::default()).collect();
    let shared = Arc::new(Shared {
        commits: Pulse::default(),
        address,
        inbox: sender,
        log: parts.log.clone(),
        peers: Arc::new(Peers::new()),
        ending: Ending::default(),
        views,
        ring: watch::Sender::default(),
        cut_since: Mutex::default(),
        session: OnceLock::new(),
        cluster: OnceLock::new(),
        folder: OnceLock::new(),
        progress: watch::Sender::default(),
        config: Arc::new(config),
    });
    let replication = Replication { shared: Arc::clone(&shared) };
    Ok((replication, Driver { parts, shared, inbox, endpoint }))
}

impl Driver {
    /// Registers, joins or creates the cluster, connects, and leads what falls to this node, until the
    /// group is stopped. If replication cannot go on it stops the group, and
    /// [`Replication::failure`] says why.
    pub fn start(self, host: Arc<dyn Host>, tasks: &Tasks) {
        let group = tasks.clone();
        tasks.spawn("replication", async move {
            let shared = Arc::clone(&self.shared);
            let endpoint = self.endpoint.clone();
            shared.ending.stops(group.stop());
            let mut session = None;
            if let Err(failure) = self.run(host, &group, &mut session).await {
                shared.ending.fail(failure);
            }
            if let Some(session) = session {
                // So that the others need not wait until they miss it.
                session.end().await;
            }
            shared.peers.close(code::STOPPING, b"stopping");
            endpoint.close(code::STOPPING, b"stopping");
            drop(runtime::timeout(GOODBYE_MAX, endpoint.wait_idle()).await);
            shared.progress.send_modify(|progress| progress.ended = true);
        });
    }

    /// Leaves the session in `began`, to be ended.
    async fn run(
        self,
        host: Arc<dyn Host>,
        tasks: &Tasks,
        began: &mut Option<Arc<Session>>,
    ) -> Result<(), Failure> {
        let Self { parts, shared, inbox, endpoint } = self;
        let stop = tasks.stop().clone();
        let session = Arc::clone(began.insert(Arc::new(parts.session)));
        // Set once: a driver runs once.
        drop(shared.session.set(Arc::downgrade(&session)));
        tasks.spawn("registry reach", {
            let (shared, session, stop) = (Arc::clone(&shared), Arc::clone(&session), stop.clone());
            async move {
                tokio::select! { biased;
                    () = stop.stopped() => {}
                    () = reach(&shared, &session) => {}
                }
            }
        });
        let trust = parts.credentials.trust();
        let membership = Membership {
            session: Arc::clone(&session),
            config: Arc::clone(&shared.config),
            record: position_record(&shared, parts.credentials.fingerprint(), &trust),
            trust: trust.clone(),
        };
        let joined = join(&membership, parts.folder);
        let (folder, cluster) = tokio::select! { biased;
            () = stop.stopped() => return Ok(()),
            joined = joined => joined?,
        };
        tracing::info!(
            node = %shared.config.node, address = %shared.address,
            boot = folder.boot(), store = format!("{:016x}", folder.store()),
            cluster = format!("{:016x}", cluster.id), "joined",
        );
        shared.cluster.get_or_init(|| cluster.id);
        shared.progress.send_modify(|progress| progress.joined = true);
        let net = net(&shared, &folder, &cluster, Arc::clone(&host), tasks);
        connect(&shared, &session, net, endpoint, (cluster, trust), tasks);
        let (wishes, wished) = mpsc::channel(registrar::BATCHES_WAITING_MAX);
        let filler = shared.inbox.clone();
        tasks.spawn(
            "registrar",
            registrar::run(Arc::clone(&session), wished, filler.clone(), stop.clone()),
        );
        tasks.spawn(
            "registry session",
            follow::session(Arc::clone(&session), filler.clone(), stop.clone()),
        );
        tasks.spawn("partition records", follow::partitions(session, filler.clone(), stop.clone()));
        let data = folder.path().to_owned();
        shared.folder.get_or_init(|| data.clone());
        scrub(&shared, &data, &filler, tasks);
        let (reads, bases) = threads(&shared, data, filler)?;
        let running = driver::Driver {
            core: Core::new(core_config(&shared.config, &folder), parts.restored, rand::random()),
            began: runtime::now(),
            inbox,
            notices: parts.notices,
            reads,
            bases,
            wishes,
            host,
            shared,
            links: Links::default(),
            waiting: Waiting::default(),
            written: 0,
            held: VecDeque::new(),
            full: false,
            _folder: folder,
        };
        running.run(stop).await
    }
}

/// Reads the log in the background, if that is configured.
fn scrub(shared: &Shared, folder: &Path, inbox: &Inbox, tasks: &Tasks) {
    let (config, stop) = (Arc::clone(&shared.config), tasks.stop().clone());
    let (log, inbox, folder) = (shared.log.clone(), inbox.clone(), folder.to_owned());
    if config.scrub == 0 {
        return;
    }
    tasks.spawn("log scrub", async move {
        let (node, partitions) = (config.node.clone(), config.partitions.count());
        let begin = move || Scrub::new(node, log, &folder, partitions, config.scrub, inbox);
        if let Some(scrub) = runtime::blocking(begin).await {
            scrub.run(stop).await;
        }
    });
}

/// Takes the node's places, if it belongs there, and finds its cluster.
async fn join(membership: &Membership, folder: Folder) -> Result<(Folder, ClusterRecord), Failure> {
    membership.belong(false).await?;
    membership.take_places().await?;
    membership.belong(true).await?;
    membership.register().await?;
    let cluster = membership.cluster().await?;
    Ok((keep_cluster(folder, cluster.id).await?, cluster))
}

/// Keeps in the folder which cluster it belongs to, once and for all.
async fn keep_cluster(mut folder: Folder, cluster: u64) -> Result<Folder, Failure> {
    match folder.cluster() {
        Some(known) if known == cluster => Ok(folder),
        Some(known) => Err(Failure::Cluster { theirs: cluster, ours: known }),
        None => {
            let kept = runtime::blocking(move || folder.set_cluster(cluster).map(|()| folder));
            let kept = kept.await;
            let kept = kept.ok_or_else(|| Failure::Folder("it was not written".to_owned()))?;
            kept.map_err(|error| Failure::Folder(error.to_string()))
        }
    }
}

fn net(
    shared: &Shared,
    folder: &Folder,
    cluster: &ClusterRecord,
    host: Arc<dyn Host>,
    tasks: &Tasks,
) -> Net {
    Net {
        ours: Hello {
            protocol: PROTOCOL,
            cluster: cluster.id,
            node: shared.config.node.clone(),
            store: folder.store(),
            boot: folder.boot(),
        },
        peers: Arc::clone(&shared.peers),
        inbox: shared.inbox.clone(),
        host,
        calls: Arc::new(Semaphore::new(CALLS_MAX)),
        tasks: tasks.clone(),
    }
}

fn connect(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    net: Net,
    endpoint: Endpoint,
    (cluster, trust): (ClusterRecord, Trust),
    tasks: &Tasks,
) {
    tasks.spawn("listener for nodes", listener::listen(net.clone(), endpoint.clone()));
    let follower = RingFollower {
        node: shared.config.node.clone(),
        session: Arc::clone(session),
        peers: Arc::clone(&shared.peers),
        dialler: Dialler::new(net, endpoint, shared.ending.clone()),
        view: shared.ring.clone(),
        cluster,
        trust,
        foreign: Foreign::default(),
        config: Arc::clone(&shared.config),
        inbox: shared.inbox.clone(),
        told: None,
    };
    tasks.spawn("ring", follower.run(tasks.stop().clone()));
}

fn core_config(config: &Config, folder: &Folder) -> CoreConfig {
    CoreConfig {
        node: config.node.clone(),
        store: folder.store(),
        boot: folder.boot(),
        partitions: config.partitions.count(),
        copies: config.copies,
        commit: config.commit,
        timings: config.timings,
        limits: Limits { catch_up_rate: config.catch_up, ..limits() },
        sabotage: Sabotage::default(),
    }
}

/// Those that do for the core what would make the driver wait.
fn threads(shared: &Shared, data: PathBuf, filler: Inbox) -> Result<(Reads, Bases), Failure> {
    let failed = |error: std::io::Error| Failure::Log(error.to_string());
    let reads = Reads::start(shared.log.clone(), data, filler.clone()).map_err(failed)?;
    let bases = Bases::start(shared.log.clone(), filler).map_err(failed)?;
    Ok((reads, bases))
}

/// Notes since when the registry cannot be reached.
async fn reach(shared: &Shared, session: &Session) {
    let mut state = session.state();
    loop {
        let cut = *state.borrow_and_update() == SessionState::Disconnected;
        metric::registry(&shared.config.node, !cut, session.incarnation());
        *shared.cut_since.lock().unwrap_or_else(PoisonError::into_inner) = cut.then(runtime::now);
        if state.changed().await.is_err() {
            return;
        }
    }
}

fn position_record(shared: &Shared, fingerprint: String, trust: &Trust) -> PositionRecord {
    let config = &shared.config;
    let quic = if config.advertise.is_empty() {
        shared.address.to_string()
    } else {
        config.advertise.clone()
    };
    let host = hostname();
    PositionRecord {
        service_info: ServiceInfo {
            name: "carillon".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD.to_owned(),
            hostname: short_name(&host).to_owned(),
            fqdn: host,
            key: format!("{:016x}", rand::random::<u64>()),
            servers: vec![
                server("http", config.http.trim_start_matches("http://"), "http", "tcp"),
                server("quic", &quic, "carillon", "udp"),
            ],
        },
        data: PositionData {
            node: config.node.clone(),
            zone: config.zone.clone(),
            weight: config.weight,
            quic,
            http: config.http.clone(),
            fingerprint,
            authority: trust.mark.clone(),
        },
    }
}

fn server(name: &str, address: &str, protocol: &str, transport: &str) -> ServerInfo {
    let address = address.trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    ServerInfo {
        name: name.to_owned(),
        endpoints: vec![EndpointInfo {
            address: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().unwrap_or_default(),
            protocol: protocol.to_owned(),
            transport: transport.to_owned(),
        }],
    }
}

/// The short name of this machine: what a node's copies are spread by when it is by host.
pub fn host() -> String {
    short_name(&hostname()).to_owned()
}

fn short_name(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

/// The machine's name, as the kernel has it.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
