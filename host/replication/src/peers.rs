//! The other nodes, as this one is connected to them.
//!
//! At most one connection a peer counts, and it is the newest: a newer one closes the older, and
//! [`Peers::adopt`] numbers them, so that nothing an older one still held is taken for the newer's
//! words. A process life below one already seen is refused: two processes run under one name, and the
//! earlier has to stop. One that shows another data directory than it registered is refused too, since
//! what it says is counted by directory; and so is one that shows another certificate, since whoever has
//! stolen the authority's key could make one, but could not put it into the registry.
//!
//! What the registry says comes later than a connection may: before it is known, a certificate of the
//! authority is enough, and what turns out not to match is closed then. A renewed certificate is used
//! from a node's start on, and published before that node connects to anybody.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashring::NodeId;
use quinn::{Connection, VarInt};
use tokio::sync::watch;
use wire::{Hello, Reason, Refusal};

use crate::dialler::Target;

/// Why a connection was closed, as the other side reads it.
pub(crate) mod code {
    use quinn::VarInt;

    /// The node stops, or has no more use for it.
    pub(crate) const STOPPING: VarInt = VarInt::from_u32(0);
    /// The greeting was refused; the reason is a sentence.
    pub(crate) const REFUSED: VarInt = VarInt::from_u32(1);
    /// A newer connection took its place.
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(2);
    /// Something came that is not a frame, or does not belong there.
    pub(crate) const MALFORMED: VarInt = VarInt::from_u32(3);
    /// It took too little for too long.
    pub(crate) const SLOW: VarInt = VarInt::from_u32(4);
    /// Nothing came in time.
    pub(crate) const SILENT: VarInt = VarInt::from_u32(5);
}

/// Every node that was ever heard of, and the connection that counts.
#[derive(Debug)]
pub(crate) struct Peers {
    table: Mutex<Table>,
    /// Rises when one comes up or goes down.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    peers: BTreeMap<NodeId, Peer>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Peer {
    /// The latest process life anybody told of.
    boot: u64,
    /// Its data directory.
    store: u64,
    /// SHA-256 of its certificate as the registry has it; empty: not known yet.
    fingerprint: String,
    up: Option<Up>,
}

#[derive(Debug)]
struct Up {
    generation: u64,
    connection: Connection,
    /// Of the certificate it showed.
    fingerprint: String,
}

impl Peer {
    /// Whether a certificate is the one that the registry says, if it says one.
    fn expects(&self, fingerprint: &str) -> bool {
        self.fingerprint.is_empty() || self.fingerprint == fingerprint
    }
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Takes a connection whose greeting said `hello` under a certificate of this `fingerprint`, closes
    /// the one before it, and returns its number.
    pub(crate) fn adopt(
        &self,
        hello: &Hello,
        fingerprint: &str,
        connection: &Connection,
    ) -> Result<u64, Refusal> {
        let mut table = self.lock();
        let generation = table.generation + 1;
        let peer = table.peers.entry(hello.node.clone()).or_default();
        if hello.boot < peer.boot {
            let sentence = format!(
                "process life {} of node {} was followed by life {}: two processes run under one \
                 name, stop one of them",
                hello.boot, hello.node, peer.boot
            );
            return Err(Refusal::new(Reason::Superseded, &sentence));
        }
        if hello.boot == peer.boot && hello.store != peer.store {
            let sentence = format!(
                "node {} shows data folder {:016x}, but its life {} is known with folder {:016x}: it \
                 must register what it runs on",
                hello.node, hello.store, hello.boot, peer.store
            );
            return Err(Refusal::new(Reason::Store, &sentence));
        }
        if !peer.expects(fingerprint) {
            let sentence = certificate_differs(&hello.node);
            return Err(Refusal::new(Reason::Certificate, &sentence));
        }
        (peer.boot, peer.store) = (hello.boot, hello.store);
        let (connection, fingerprint) = (connection.clone(), fingerprint.to_owned());
        if let Some(before) = peer.up.replace(Up { generation, connection, fingerprint }) {
            before.connection.close(code::REPLACED, b"a newer connection took its place");
        }
        table.generation = generation;
        drop(table);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(generation)
    }

    /// The connection of this number ended.
    pub(crate) fn leave(&self, node: &NodeId, generation: u64) {
        if let Some(peer) = self.lock().peers.get_mut(node) {
            peer.up.take_if(|up| up.generation == generation);
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// What the registry says of `node`: a connection to an earlier life is of no use, and one under
    /// another certificate is somebody else's. Returns whether it closed one of the latter.
    pub(crate) fn heard_of(&self, node: &NodeId, target: &Target) -> bool {
        let mut table = self.lock();
        let peer = table.peers.entry(node.clone()).or_default();
        if target.boot > peer.boot {
            (peer.boot, peer.store) = (target.boot, target.store);
            if let Some(before) = peer.up.take() {
                before.connection.close(code::REPLACED, b"a later life of yours is registered");
            }
        }
        peer.fingerprint.clone_from(&target.fingerprint);
        let Some(foreign) = peer
            .up
            .take_if(|up| !target.fingerprint.is_empty() && up.fingerprint != target.fingerprint)
        else {
            return false;
        };
        foreign.connection.close(code::REFUSED, certificate_differs(node).as_bytes());
        true
    }

    /// The connection to `node`, if it is up.
    pub(crate) fn connection(&self, node: &NodeId) -> Option<Connection> {
        self.lock().peers.get(node)?.up.as_ref().map(|up| up.connection.clone())
    }

    /// Whether `node` is connected.
    pub(crate) fn is_up(&self, node: &NodeId) -> bool {
        self.lock().peers.get(node).is_some_and(|peer| peer.up.is_some())
    }

    /// Follows who is up.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says goodbye to all.
    pub(crate) fn close(&self, code: VarInt, reason: &[u8]) {
        for peer in self.lock().peers.values_mut() {
            if let Some(up) = peer.up.take() {
                up.connection.close(code, reason);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certificate_differs(node: &NodeId) -> String {
    format!(
        "node {node} shows another certificate than it has registered: a renewed one counts once its \
         node was started with it; if nobody renewed it, somebody else has one in its name"
    )
}
