//! Waiting for a node at a step, to end it there.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use hashring::NodeId;
use tokio::sync::watch;

/// The node that is waited for and where, and whether it was there.
#[derive(Clone, Debug)]
pub struct Ambush<P> {
    armed: watch::Sender<Option<(String, P)>>,
    reached: watch::Sender<bool>,
}

impl<P: Copy + PartialEq + Debug> Default for Ambush<P> {
    fn default() -> Self {
        Self { armed: watch::Sender::new(None), reached: watch::Sender::new(false) }
    }
}

impl<P: Copy + PartialEq + Debug> Ambush<P> {
    /// What a hook does: nothing, but that the node which is waited for goes no further.
    pub fn passes(&self, node: &NodeId, point: P) -> impl Future<Output = ()> + Send + use<P> {
        let waits = self.armed.borrow().as_ref() == Some(&(node.to_string(), point));
        let reached = waits.then(|| self.reached.clone());
        async move {
            if let Some(reached) = reached {
                reached.send_replace(true);
                std::future::pending::<()>().await;
            }
        }
    }

    /// Node `node` of 0, 1, 2 … is waited for at `point`.
    pub fn arm(&self, node: usize, point: P) {
        self.reached.send_replace(false);
        self.armed.send_replace(Some((format!("n{}", node + 1), point)));
    }

    /// Waits until it is there. From now on all others pass.
    pub async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        let there = runtime::timeout(Duration::from_secs(60), reached.wait_for(|it| *it));
        assert!(matches!(there.await, Ok(Ok(_))), "nobody came to {:?}", self.armed.borrow());
        self.armed.send_replace(None);
    }
}
