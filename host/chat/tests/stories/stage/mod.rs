//! A cluster of chats on a log in memory that commits when it is told to and loses epochs on purpose.
//!
//! One partition, up to three nodes, no network: what one node forwards another answers directly.

mod asking;
mod ledger;
pub(crate) mod scripted;
pub(crate) mod shelf;
mod world;

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, Chats, Config, LiveChain, Request, Response, Sent};
use model::{Attrs, ChatToken};
use runtime::{Stop, Tasks};

pub(crate) use asking::{
    Asking, PATIENCE, context, create, message, page, read, reading, refused, send, sent, texts,
    wait, waits,
};
pub(crate) use world::{Inner, Keeps, PARTITION, World};

use ledger::Node;

/// The cluster of a story.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) chats: Vec<Chats>,
    tasks: Tasks,
}

impl Stage {
    /// One node without handlers.
    pub(crate) fn one() -> Self {
        Self::new(vec![Chain::default()], Config::default())
    }

    /// A node for each chain; the first leads.
    pub(crate) fn new(chains: Vec<impl Into<LiveChain>>, config: Config) -> Self {
        let world = Arc::new(World::new(chains.len()));
        let tasks = Tasks::current(Stop::default());
        let mut chats = Vec::new();
        for (index, chain) in chains.into_iter().enumerate() {
            let node = Node { world: Arc::clone(&world), index };
            let each = Chats::new(Arc::new(node), chain, config, &tasks);
            world.look().hosts[index] = Some(each.clone());
            chats.push(each);
        }
        let log = Arc::clone(&world);
        let stop = tasks.stop().clone();
        tasks.spawn("log", async move {
            while !stop.is_stopped() {
                tokio::select! {
                    () = stop.stopped() => return,
                    () = log.appended.notified() => {}
                }
                log.sync();
                let commits = log.look().commits;
                if commits {
                    log.commit();
                }
            }
        });
        world.open(0, Keeps::Everything);
        Self { world, chats, tasks }
    }

    /// Lets everything go on until `met`.
    pub(crate) async fn comes_to(&self, met: impl Fn() -> bool) {
        for _turn in 0..10_000 {
            if met() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never came to that");
    }

    /// Lets everything go on that can, so that what has not happened by then does not happen by itself.
    pub(crate) async fn rest(&self) {
        for _turn in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the chats were looked at again and again: whoever looks asks how late it is.
    pub(crate) async fn sweeps(&self) {
        let wanted = self.world.look().clock_reads + 50;
        self.sees(|| self.world.look().clock_reads >= wanted).await;
    }

    /// Waits until it is so, however long that takes by the clock.
    pub(crate) async fn sees(&self, it_is_so: impl Fn() -> bool) {
        let looking = async {
            while !it_is_so() {
                runtime::sleep(Duration::from_millis(1)).await;
            }
        };
        runtime::timeout(PATIENCE, looking).await.expect("it comes to that");
    }

    /// From here on entries stay uncommitted.
    pub(crate) fn hold(&self) {
        self.world.look().commits = false;
    }

    /// Waits until something is there.
    pub(crate) async fn until<T>(&self, there: impl Fn(&Inner) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.world.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = there(&self.world.look()) {
                    return found;
                }
                changed.await;
            }
        };
        runtime::timeout(PATIENCE, waiting).await.expect("it comes")
    }

    /// Asks node `at`.
    pub(crate) fn ask(&self, at: usize, request: Request) -> Asking<'_> {
        Box::pin(self.chats[at].call(request, context()))
    }

    /// A new chat.
    pub(crate) async fn chat(&self) -> ChatToken {
        self.chat_with(None, None).await
    }

    /// A new chat with limits.
    pub(crate) async fn chat_with(
        &self,
        duration_s: Option<u64>,
        participants: Option<u32>,
    ) -> ChatToken {
        let create = Request::Create {
            max_duration_s: duration_s,
            max_participants: participants,
            attrs: Attrs::new(),
        };
        match self.ask(0, create).await {
            Ok(Response::Created(created)) => created.token,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a text through node 0.
    pub(crate) async fn say(&self, token: ChatToken, key: &str, text: &str) -> Sent {
        sent(self.ask(0, send(token, key, text)).await)
    }

    /// Everything in a chat, as node `at` tells it.
    pub(crate) async fn texts(&self, at: usize, token: ChatToken) -> Vec<String> {
        texts(&page(self.ask(at, read(token, None)).await))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.stop().stop();
    }
}
