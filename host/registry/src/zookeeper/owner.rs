//! The task that has the client: connects, notices when the session is over, and connects again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::zookeeper::{
    Acls, Client, CreateMode, Error as Refusal, MultiWriteError, Permission, SessionState,
};
use runtime::{Backoff, Stop};

use super::config::ZooKeeperConfig;
use super::link::{Live, Shared};
use super::problem::{Problem, why};
use crate::ensemble;

/// Pauses between attempts to connect: the first is short, since a restarted server is back in a moment;
/// the longest is what a node may be late when an ensemble returns after hours.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Connects until `stop`, for as long as there is nobody, and whenever the ensemble has ended a session.
pub(crate) async fn run(shared: Arc<Shared>, stop: Stop) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    let keep_connected = async {
        loop {
            match open(&shared.config, &shared).await {
                Ok(client) => {
                    backoff.reset();
                    serve(&shared, client).await;
                }
                Err(problem) => {
                    if shared.note(Some(problem.clone())) {
                        tracing::warn!(%problem, "no session with the registry; trying on");
                    }
                    runtime::sleep(backoff.next(rand::random())).await;
                }
            }
        }
    };
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = keep_connected => {}
    }
    shared.live.send_replace(None);
    shared.reach.set_connected(false);
}

/// One session, from its beginning to its end.
async fn serve(shared: &Shared, client: Client) {
    let session = client.session_id();
    let live = shared.begin(client);
    let incarnation = live.incarnation;
    shared.note(None);
    let timeout = live.client.session_timeout();
    tracing::info!(%session, incarnation, ?timeout, "the registry gave a session");
    shared.kept.look_at_all();
    let over = async {
        while shared.over.load(Ordering::Relaxed) < incarnation {
            shared.over_told.notified().await;
        }
    };
    let connected = |state| shared.reach.set_connected(state == SessionState::SyncConnected);
    tokio::select! {
        _ended = ensemble::follow(&live.client, connected) => {}
        () = over => {}
    }
    let ended = live.client.state();
    tracing::warn!(%session, incarnation, state = %ended, "the session with the registry is over");
    shared.reach.set_connected(false);
    shared.live.send_replace(None);
    shared.tree.forget_folders();
}

/// A session; its root is there and may be written, unless it only looks.
async fn open(config: &ZooKeeperConfig, shared: &Shared) -> Result<Client, Problem> {
    let mut connector = Client::connector();
    if let Some(digest) = &config.digest {
        connector = connector.with_auth("digest", &digest.credentials());
    }
    let servers = config.servers();
    let client = match ensemble::connect(connector, &servers, config.session).await {
        Ok(client) => client,
        Err(error) => return Err(why(config, &error).await),
    };
    if config.observes {
        return Ok(client);
    }
    match runtime::timeout(config.timeout, prepare(config, shared, &client)).await {
        Ok(prepared) => prepared.map(|()| client),
        Err(_elapsed) => Err(why(config, &Refusal::Timeout).await),
    }
}

/// Makes the root if it is not there, and finds out whether this node may write below it.
async fn prepare(
    config: &ZooKeeperConfig,
    shared: &Shared,
    client: &Client,
) -> Result<(), Problem> {
    let tree = &shared.tree;
    let root = tree.root();
    let problem = |refusal: Refusal| match refusal {
        Refusal::NoNode => Problem::Chroot { chroot: config.chroot().unwrap_or("/").to_owned() },
        Refusal::NoAuth => Problem::Denied {
            user: config.digest.as_ref().map(|digest| digest.user.clone()).unwrap_or_default(),
            root: root.to_owned(),
        },
        Refusal::AuthFailed => Problem::Authentication,
        refusal => Problem::Other { servers: config.servers(), text: refusal.to_string() },
    };
    if client.check_stat(root).await.map_err(problem)?.is_none() {
        if let Some((above, _)) = root.rsplit_once('/')
            && !above.is_empty()
        {
            // What is above the root is not ours alone: other services stand beside it.
            let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.mkdir(above, &open).await.map_err(problem)?;
        }
        let ours = CreateMode::Persistent.with_acls(tree.acls());
        match client.create(root, b"", &ours).await {
            Ok(_) | Err(Refusal::NodeExists) => {}
            Err(refusal) => return Err(problem(refusal)),
        }
    }
    if shared.incarnation() == 0 {
        warn_if_open(config, client, root).await;
    }
    may_write(client, root).await.map_err(problem)
}

/// Tries a write that is bound to fail for another reason than the one that matters: its second half
/// names a znode that cannot be there, so nothing is written, and nobody who watches is woken.
async fn may_write(client: &Client, root: &str) -> Result<(), Refusal> {
    let absent = if root == "/" { "/~".to_owned() } else { format!("{root}/~") };
    let mut probe = client.new_multi_writer();
    probe.add_set_data(root, b"", None)?;
    probe.add_check_version(&absent, i32::MAX)?;
    match probe.commit().await {
        Err(MultiWriteError::OperationFailed { index: 0, source }) => Err(source),
        Err(MultiWriteError::RequestFailed { source }) => Err(source),
        Err(MultiWriteError::OperationFailed { .. }) | Ok(_) => Ok(()),
    }
}

/// Says so, loudly, if everybody may change what is below the root.
async fn warn_if_open(config: &ZooKeeperConfig, client: &Client, root: &str) {
    let Ok((acls, _)) = client.get_acl(root).await else { return };
    let writes = [Permission::WRITE, Permission::CREATE, Permission::DELETE, Permission::ADMIN];
    let open = acls.iter().any(|acl| {
        acl.scheme() == "world" && writes.into_iter().any(|write| acl.permission().has(write))
    });
    if !open {
        return;
    }
    let advice = if config.digest.is_some() {
        "it was made without registry.digest_file: give it an ACL, or another registry.root"
    } else {
        "set registry.digest_file on every node before the cluster is first started"
    };
    tracing::warn!(
        root,
        "ANYBODY who reaches ZooKeeper may change this cluster's registry, and so who leads: {advice}"
    );
}

impl Live {
    /// Whether it is of no use any more.
    pub(crate) fn is_over(&self) -> bool {
        self.client.state().is_terminated()
    }
}
