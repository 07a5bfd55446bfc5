//! The other nodes, as this one is connected to them.
//!
//! At most one connection a peer counts, and it is the newest: a newer one closes the older, and
//! [`Peers::adopt`] numbers them, so that nothing an older one still held is taken for the newer's
//! words. A process life below one already seen is refused: two processes run under one name, and the
//! earlier has to stop. One that shows another data directory than it registered is refused too, since
//! what it says is counted by directory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashring::NodeId;
use quinn::{Connection, VarInt};
use tokio::sync::watch;
use wire::{Hello, Reason, Refusal};

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
    up: Option<Up>,
}

#[derive(Debug)]
struct Up {
    generation: u64,
    connection: Connection,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Takes a connection whose greeting said `hello`, closes the one before it, and returns its
    /// number.
    pub(crate) fn adopt(&self, hello: &Hello, connection: &Connection) -> Result<u64, Refusal> {
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
        (peer.boot, peer.store) = (hello.boot, hello.store);
        let connection = connection.clone();
        if let Some(before) = peer.up.replace(Up { generation, connection }) {
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

    /// The registry knows of this process life of `node`: a connection to an earlier one is of no use.
    pub(crate) fn heard_of(&self, node: &NodeId, boot: u64, store: u64) {
        let mut table = self.lock();
        let peer = table.peers.entry(node.clone()).or_default();
        if boot > peer.boot {
            (peer.boot, peer.store) = (boot, store);
            if let Some(before) = peer.up.take() {
                before.connection.close(code::REPLACED, b"a later life of yours is registered");
            }
        }
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
