//! Nodes that this one dials.
//!
//! Of two nodes the one with the smaller id dials; so there is one connection, and nobody has to choose
//! between two. One task a peer: it dials, greets, runs the connection, and after its end dials again,
//! with a pause that grows. What the registry says anew (another address, a later life) ends the pause. Who has
//! no place in the registry any more is not dialled; a connection that is there stays until it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use hashring::NodeId;
use quinn::{Connection, Endpoint};
use runtime::Backoff;
use tokio::sync::watch;
use wire::{Reason, Refusal};

use crate::ending::{Ending, Failure};
use crate::greeting::{self, GREETING_MAX, Greeted, GreetingError};
use crate::peer::{self, Net};
use crate::peers::code;
use crate::{metric, tls};

/// Pauses between attempts. A node that starts again should not be waited for much longer than it takes
/// to start.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// One attempt to reach an address. quinn repeats its first packet after one second, then after two.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Where a peer is, as the registry last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// Its process life.
    pub(crate) boot: u64,
    /// Its data directory.
    pub(crate) store: u64,
    /// SHA-256 of its certificate, in hex.
    pub(crate) fingerprint: String,
}

/// The tasks that dial, one a peer.
pub(crate) struct Dialler {
    net: Net,
    endpoint: Endpoint,
    ending: Ending,
    /// `None`: it has no place in the registry now.
    targets: BTreeMap<NodeId, watch::Sender<Option<Target>>>,
}

impl Dialler {
    pub(crate) fn new(net: Net, endpoint: Endpoint, ending: Ending) -> Self {
        Self { net, endpoint, ending, targets: BTreeMap::new() }
    }

    /// Dials `node` from now on, if it is this node's turn to.
    pub(crate) fn aim(&mut self, node: &NodeId, target: Target) {
        if self.net.peers.heard_of(node, &target) {
            metric::refused(&self.net.ours.node);
            tracing::warn!(
                node = %self.net.ours.node, peer = %node,
                "its certificate is not the one it has registered: the connection is closed"
            );
        }
        if *node <= self.net.ours.node {
            return;
        }
        match self.targets.get(node) {
            Some(known) => {
                known.send_if_modified(|known| {
                    let target = Some(target);
                    let changed = *known != target;
                    *known = target;
                    changed
                });
            }
            None => {
                let (sender, follow) = watch::channel(Some(target));
                self.targets.insert(node.clone(), sender);
                let dial = Dial {
                    net: self.net.clone(),
                    endpoint: self.endpoint.clone(),
                    ending: self.ending.clone(),
                    node: node.clone(),
                    target: follow,
                    told: None,
                };
                self.net.tasks.spawn("peer that is dialled", dial.run());
            }
        }
    }

    /// Dials nobody but these from now on.
    pub(crate) fn only(&self, nodes: &BTreeSet<&NodeId>) {
        for (_, target) in self.targets.iter().filter(|(node, _)| !nodes.contains(node)) {
            target.send_if_modified(|target| target.take().is_some());
        }
    }
}

struct Dial {
    net: Net,
    endpoint: Endpoint,
    ending: Ending,
    node: NodeId,
    target: watch::Receiver<Option<Target>>,
    /// The last trouble that was logged; the same again says nothing new.
    told: Option<String>,
}

impl Dial {
    async fn run(mut self) {
        let stop = self.net.tasks.stop().clone();
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        loop {
            let aimed = self.target.borrow_and_update().as_ref().map(|it| it.address.clone());
            let Some(address) = aimed else {
                let (node, peer) = (&self.net.ours.node, &self.node);
                tracing::info!(%node, %peer, "has no place in the registry any more: not dialled");
                tokio::select! { biased;
                    () = stop.stopped() => return,
                    changed = self.target.changed() => if changed.is_err() { return },
                }
                continue;
            };
            let reached = tokio::select! { biased;
                () = stop.stopped() => return,
                reached = self.reach(&address) => reached,
            };
            match reached {
                Ok((connection, greeted)) => {
                    self.told = None;
                    let since = runtime::now();
                    peer::serve(&self.net, &connection, greeted).await;
                    // One that ends as soon as it began is trouble too, and not to be hurried.
                    if runtime::now().saturating_duration_since(since) > PAUSE_MAX {
                        backoff.reset();
                    }
                }
                Err(GreetingError::RefusedByPeer(Refusal {
                    reason: Reason::Superseded,
                    sentence,
                })) => {
                    self.ending.fail(Failure::Superseded(sentence));
                    return;
                }
                Err(error) => self.tell(&address, &error),
            }
            tokio::select! { biased;
                () = stop.stopped() => return,
                // The sender is dropped when the node ends, and then there is nothing to dial for.
                changed = self.target.changed() => if changed.is_err() { return },
                () = runtime::sleep(backoff.next(rand::random())) => {}
            }
        }
    }

    async fn reach(&self, address: &str) -> Result<(Connection, Greeted), GreetingError> {
        let connection = runtime::timeout(CONNECT_MAX, self.connect(address))
            .await
            .map_err(|_elapsed| GreetingError::Ended(format!("nobody answers at {address}")))??;
        let greet = greeting::call(&connection, &self.node, &self.net.ours, &self.net.peers);
        let greeted = runtime::timeout(GREETING_MAX, greet).await;
        match greeted.unwrap_or(Err(GreetingError::Silent)) {
            Ok(greeted) => Ok((connection, greeted)),
            Err(error) => {
                let code = match &error {
                    GreetingError::Malformed(_) => code::MALFORMED,
                    _ => code::STOPPING,
                };
                // A sentence of the other side may stand in its closing frame instead.
                let error = closing_words(&connection).unwrap_or(error);
                connection.close(code, b"");
                Err(error)
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Connection, GreetingError> {
        let lost = |error: &dyn std::fmt::Display| GreetingError::Ended(error.to_string());
        let resolved: SocketAddr = match address.parse() {
            Ok(address) => address,
            Err(_name) => {
                let mut found = tokio::net::lookup_host(address).await.map_err(|e| lost(&e))?;
                found.next().ok_or_else(|| lost(&format!("{address} has no address")))?
            }
        };
        let connecting = self.endpoint.connect(resolved, &tls::server_name(&self.node));
        Ok(connecting.map_err(|error| lost(&error))?.await?)
    }

    fn tell(&mut self, address: &str, error: &GreetingError) {
        match error {
            GreetingError::Ended(_) | GreetingError::Silent => {
                metric::unreachable(&self.net.ours.node);
            }
            GreetingError::Refused(_)
            | GreetingError::RefusedByPeer(_)
            | GreetingError::Malformed(_)
            | GreetingError::Distrusted(_) => metric::refused(&self.net.ours.node),
        }
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            let (node, peer) = (&self.net.ours.node, &self.node);
            tracing::warn!(%node, %peer, %address, error = %text, "cannot be reached; trying on");
            self.told = Some(text);
        }
    }
}

/// What the other side closed the connection with, if it gave a reason.
fn closing_words(connection: &Connection) -> Option<GreetingError> {
    match connection.close_reason()? {
        // The dialler's handshake is done before the other side has judged its certificate.
        error @ quinn::ConnectionError::ConnectionClosed(_) => Some(error.into()),
        quinn::ConnectionError::ApplicationClosed(close) if close.error_code == code::REFUSED => {
            let sentence = String::from_utf8_lossy(&close.reason);
            // Which reason it was is only in the frame that was lost; the sentence says it.
            Some(GreetingError::RefusedByPeer(Refusal::new(Reason::Name, &sentence)))
        }
        _ => None,
    }
}
