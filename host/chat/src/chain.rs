//! The handlers of a node's chats, in their order, and which of them are live.
//!
//! Only who they are and how they are asked. What an answer means for a message is decided by
//! [`crate::turn`], which asks nobody.
//!
//! A chain is replaced as a whole, while messages are on their way: a turn takes the one that is live
//! when it begins, and is decided by that one to its end. Chains have rising numbers, which entries
//! record, so that a chat that one generation has handled never meets an earlier one, whoever leads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Change, Chat};
use plugin::{Call, Failure, OnFailure, Plugin, Reply};
use runtime::Instant;
use tokio::sync::watch;

use crate::ledger::Later;

/// Somebody who is asked about messages: a [`Plugin`], or what stands for one in a test.
pub trait Handler: Send + Sync + 'static {
    /// The operator's name for it.
    fn name(&self) -> &str;
    /// Goes into stamps.
    fn version(&self) -> &str;
    /// What its failure means for a message.
    fn on_failure(&self) -> OnFailure;
    /// Asks it about a message. Dropping the future ends the call.
    fn on_message(&self, call: Call) -> Later<'_, Result<Reply, Failure>>;
}

impl Handler for Plugin {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn version(&self) -> &str {
        Self::version(self)
    }

    fn on_failure(&self) -> OnFailure {
        Self::on_failure(self)
    }

    fn on_message(&self, call: Call) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(Self::on_message(self, call))
    }
}

/// Handlers in the order in which they are asked. May be empty: then everything passes.
#[derive(Clone, Default)]
pub struct Chain {
    generation: u64,
    handlers: Vec<Arc<dyn Handler>>,
}

impl Chain {
    /// These, in this order. Of no generation: chats do not record it.
    pub fn new(handlers: Vec<Arc<dyn Handler>>) -> Self {
        Self::of_generation(0, handlers)
    }

    /// The handlers of a generation, in this order.
    pub fn of_generation(generation: u64, handlers: Vec<Arc<dyn Handler>>) -> Self {
        Self { generation, handlers }
    }

    /// Its number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The changes of a turn that this chain decided for `chat`, which has to know if it was the first.
    pub(crate) fn marks(&self, chat: &Chat, mut changes: Vec<Change>) -> Vec<Change> {
        if self.generation > chat.generation {
            changes.insert(0, Change::Generation(self.generation));
        }
        changes
    }

    /// In their order.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &dyn Handler> {
        self.handlers.iter().map(AsRef::as_ref)
    }

    /// Names and versions.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        self.handlers()
            .map(|handler| (handler.name().to_owned(), handler.version().to_owned()))
            .collect()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Chain").field(&self.generation).field(&self.versions()).finish()
    }
}

/// The chain that is live on this node, if there is one yet. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LiveChain {
    live: Arc<watch::Sender<Option<Arc<Chain>>>>,
}

impl From<Chain> for LiveChain {
    fn from(chain: Chain) -> Self {
        let live = Self::default();
        live.switch(chain);
        live
    }
}

impl LiveChain {
    /// Makes `chain` the one that every turn from now on is decided by; turns that have begun keep theirs.
    /// Returns whether it did: a chain that is not later than the live one changes nothing.
    pub fn switch(&self, chain: Chain) -> bool {
        self.live.send_if_modified(|live| {
            let later = live.as_ref().is_none_or(|live| live.generation < chain.generation);
            if later {
                *live = Some(Arc::new(chain));
            }
            later
        })
    }

    /// The one that is live now.
    pub fn now(&self) -> Option<Arc<Chain>> {
        self.live.borrow().clone()
    }

    /// Waits until a chain of this generation or a later one is live, at most until `until`. Cancel-safe.
    pub(crate) async fn of(&self, generation: u64, until: Instant) -> Option<Arc<Chain>> {
        let late_enough = |chain: &Arc<Chain>| chain.generation >= generation;
        // Nearly always: then nobody waits.
        if let Some(chain) = self.now().filter(late_enough) {
            return Some(chain);
        }
        let mut live = self.live.subscribe();
        let left = until.saturating_duration_since(runtime::now());
        let there = live.wait_for(|live| live.as_ref().is_some_and(late_enough));
        runtime::timeout(left, there).await.ok()?.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Change, Chat, ChatToken};

    use super::{Chain, LiveChain};

    #[test]
    fn a_chain_never_gives_way_to_an_earlier_one() {
        let live = LiveChain::default();
        assert!(live.now().is_none());
        assert!(live.switch(Chain::of_generation(2, Vec::new())));
        for earlier in [0, 1, 2] {
            assert!(!live.switch(Chain::of_generation(earlier, Vec::new())), "{earlier}");
        }
        assert!(live.switch(Chain::of_generation(3, Vec::new())));
        assert_eq!(live.now().map(|chain| chain.generation()), Some(3));
    }

    #[test]
    fn a_chat_is_told_a_generation_once() {
        let chain = Chain::of_generation(2, Vec::new());
        let mut chat = Chat::new(ChatToken([1; 16]));
        let marked = chain.marks(&chat, vec![Change::Start]);
        assert_eq!(marked, [Change::Generation(2), Change::Start]);
        chat.generation = 2;
        assert_eq!(chain.marks(&chat, vec![Change::Start]), [Change::Start]);
        assert_eq!(Chain::default().marks(&chat, Vec::new()), []);
    }

    #[tokio::test]
    async fn who_needs_a_later_chain_waits_for_it_and_not_for_ever() {
        let live = LiveChain::from(Chain::of_generation(1, Vec::new()));
        let soon = || runtime::now() + Duration::from_secs(60);
        assert!(live.of(1, soon()).await.is_some());
        assert!(live.of(2, runtime::now() + Duration::from_millis(5)).await.is_none());
        let (found, switched) = tokio::join!(live.of(2, soon()), async {
            tokio::task::yield_now().await;
            live.switch(Chain::of_generation(4, Vec::new()))
        });
        assert!(switched);
        assert_eq!(found.map(|chain| chain.generation()), Some(4));
    }
}
