//! The connections that the driver writes to, one a peer.
//!
//! What reaches the driver from connections carries their number. Here it is decided which one counts:
//! what an older connection of a peer still held is dropped, and so is the news of its end, so that the
//! core hears of one peer only what belongs to its last `PeerUp`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use hashring::NodeId;
use wire::Message;

use crate::core::Event;
use crate::peer::Link;

/// The sending halves of all connections that count.
#[derive(Debug, Default)]
pub(crate) struct Links {
    up: BTreeMap<NodeId, Link>,
}

impl Links {
    /// A connection has greeted. `None` if a newer one of that peer is there already.
    pub(crate) fn up(&mut self, link: Link) -> Option<Event> {
        if self.up.get(&link.node).is_some_and(|newer| newer.generation > link.generation) {
            return None;
        }
        let (node, boot, store) = (link.node.clone(), link.boot, link.store);
        self.up.insert(node.clone(), link);
        Some(Event::PeerUp { node, boot, store })
    }

    /// A peer said something. `None` if it did so on a connection that does not count any more.
    pub(crate) fn message(
        &self,
        from: &NodeId,
        generation: u64,
        message: Message,
    ) -> Option<Event> {
        self.counts(from, generation).then(|| Event::Message { from: from.clone(), message })
    }

    /// A connection ended. `None` if it did not count any more.
    pub(crate) fn down(&mut self, node: NodeId, generation: u64) -> Option<Event> {
        if !self.counts(&node, generation) {
            return None;
        }
        self.up.remove(&node);
        Some(Event::PeerDown { node })
    }

    /// Adds a message to what the next flush sends. Without a connection it is lost, as any message may
    /// be.
    pub(crate) fn push(&mut self, to: &NodeId, message: &Message) {
        if let Some(link) = self.up.get_mut(to) {
            link.push(message);
        }
    }

    /// Sends everything that was added. This task is woken when a peer that took too little takes more.
    pub(crate) async fn flush(&mut self) {
        poll_fn(|context| {
            self.up.values_mut().for_each(|link| link.flush(context));
            Poll::Ready(())
        })
        .await;
    }

    /// Returns when a peer that took too little has taken everything. Cancel-safe.
    pub(crate) async fn unblocked(&mut self) {
        poll_fn(|context| {
            let mut moved = false;
            for link in self.up.values_mut().filter(|link| link.is_blocked()) {
                link.flush(context);
                moved |= !link.is_blocked();
            }
            if moved { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn counts(&self, node: &NodeId, generation: u64) -> bool {
        self.up.get(node).is_some_and(|link| link.generation == generation)
    }
}
