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

use model::{Change, Chat, Lineup, Link};
use plugin::{
    Answered, Call, CallbackReply, Comparison, Event, Failure, Kind, OnFailure, Plan, Plugin,
    Reply, Said, Stats, TwilioRequest, Verb,
};
use runtime::Instant;
use tokio::sync::watch;

use crate::ledger::Later;
use crate::shadow::Shadows;
use crate::telling;

/// What a handler is told beside the chat, because it was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What it decided before.
    pub recall: bool,
    /// What was said before.
    pub history: bool,
}

/// Somebody who is asked about messages and told of events: a [`Plugin`], or what stands for one in a test.
pub trait Handler: Send + Sync + 'static {
    /// The operator's name for it.
    fn name(&self) -> &str;
    /// Goes into stamps.
    fn version(&self) -> &str;
    /// What its failure means for a message.
    fn on_failure(&self) -> OnFailure;
    /// SHA-256 of its component, to find it again when somebody asks what it decided.
    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }
    /// What it was given, in one number.
    fn setup(&self) -> u64 {
        0
    }
    /// What it can be asked about. It is asked about nothing else.
    fn kinds(&self) -> &[Kind] {
        &[Kind::Message]
    }
    /// What it is told beside the chat.
    fn needs(&self) -> Needs {
        Needs::default()
    }
    /// Asks it about a message. Dropping the future ends the call.
    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>>;
    /// Tells it what has happened. Dropping the future ends the call.
    fn on_event(&self, _call: Call, _event: Event) -> Later<'_, Result<Answered<()>, Failure>> {
        absent(self.name())
    }
    /// Asks it what is to become of a chat. Dropping the future ends the call.
    fn on_plan(
        &self,
        _call: Call,
        _moment: &'static str,
        _stats: Stats,
    ) -> Later<'_, Result<Answered<Plan>, Failure>> {
        absent(self.name())
    }
    /// Gives it the answer to one of its calls out. Dropping the future ends the call.
    fn on_reply(
        &self,
        _call: Call,
        _reply: CallbackReply,
    ) -> Later<'_, Result<Answered<()>, Failure>> {
        absent(self.name())
    }
    /// Asks it what Twilio is to do. Dropping the future ends the call.
    fn on_request(
        &self,
        _call: Call,
        _request: TwilioRequest,
    ) -> Later<'_, Result<Answered<Vec<Verb>>, Failure>> {
        absent(self.name())
    }
}

/// Nobody asks a handler for what it is not.
fn absent<'a, T: Send + 'a>(name: &str) -> Later<'a, Result<Answered<T>, Failure>> {
    let text = format!("{name} has no such handler");
    Box::pin(std::future::ready(Err(Failure::Absent { text })))
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

    fn digest(&self) -> [u8; 32] {
        Self::sha256(self)
    }

    fn setup(&self) -> u64 {
        Self::setup(self)
    }

    fn kinds(&self) -> &[Kind] {
        Self::kinds(self)
    }

    fn needs(&self) -> Needs {
        let grant = self.grant();
        Needs { recall: grant.recall, history: grant.history.is_some() }
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(Self::on_message(self, call, said))
    }

    fn on_event(&self, call: Call, event: Event) -> Later<'_, Result<Answered<()>, Failure>> {
        Box::pin(Self::on_event(self, call, event))
    }

    fn on_plan(
        &self,
        call: Call,
        moment: &'static str,
        stats: Stats,
    ) -> Later<'_, Result<Answered<Plan>, Failure>> {
        Box::pin(Self::plan_for(self, call, moment, stats))
    }

    fn on_reply(
        &self,
        call: Call,
        reply: CallbackReply,
    ) -> Later<'_, Result<Answered<()>, Failure>> {
        Box::pin(Self::on_reply(self, call, reply))
    }

    fn on_request(
        &self,
        call: Call,
        request: TwilioRequest,
    ) -> Later<'_, Result<Answered<Vec<Verb>>, Failure>> {
        Box::pin(Self::on_request(self, call, request))
    }
}

/// Handlers in the order in which they are asked, whatever their kinds. May be empty: then everything
/// passes, and nobody is told anything.
#[derive(Clone, Default)]
pub struct Chain {
    /// Who they are, as chats record it.
    lineup: Arc<Lineup>,
    /// What tells it from others.
    mark: u64,
    handlers: Vec<Arc<dyn Handler>>,
    /// Somebody wants to be told of events.
    listens: bool,
}

impl Chain {
    /// These, in this order. Of no generation: chats do not record it.
    pub fn new(handlers: Vec<Arc<dyn Handler>>) -> Self {
        Self::of_generation(0, handlers)
    }

    /// The handlers of a generation, in this order.
    pub fn of_generation(generation: u64, handlers: Vec<Arc<dyn Handler>>) -> Self {
        let events = |handler: &Arc<dyn Handler>| handler.kinds().contains(&Kind::Events);
        let listens = handlers.iter().any(events);
        let link = |handler: &Arc<dyn Handler>| Link {
            plugin: handler.name().to_owned(),
            version: handler.version().to_owned(),
            digest: handler.digest(),
            setup: handler.setup(),
        };
        let links = handlers.iter().map(link).collect();
        let lineup = Arc::new(Lineup { generation, handlers: links });
        let mark = lineup.mark();
        Self { lineup, mark, handlers, listens }
    }

    /// Its number.
    pub fn generation(&self) -> u64 {
        self.lineup.generation
    }

    /// The changes of a turn that this chain decided for `chat`, which records it if it is another than that
    /// of the turn before, and what of them is to be told. So many events led to them. Also gives how many are
    /// not told, because too many wait already.
    pub(crate) fn marks(
        &self,
        chat: &Chat,
        mut changes: Vec<Change>,
        depth: u8,
    ) -> (Vec<Change>, usize) {
        let mut untold = 0;
        if self.listens {
            let mut notices = telling::notices(chat, &changes, depth);
            let fit = notices.len().min(telling::room(chat, &changes));
            untold = notices.len() - fit;
            notices.truncate(fit);
            changes.extend(notices);
        }
        if self.generation() > 0 && self.mark != chat.lineup {
            changes.insert(0, Change::Lineup(Arc::clone(&self.lineup)));
        }
        (changes, untold)
    }

    /// Everybody, in their order.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &dyn Handler> {
        self.handlers.iter().map(AsRef::as_ref)
    }

    /// Those of one kind, in their order.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &dyn Handler> {
        self.handlers().filter(move |handler| handler.kinds().contains(&kind))
    }

    /// The one of this name, if it is of this kind.
    pub(crate) fn find(&self, name: &str, kind: Kind) -> Option<&dyn Handler> {
        self.of_kind(kind).find(|handler| handler.name() == name)
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
        f.debug_tuple("Chain").field(&self.generation()).field(&self.versions()).finish()
    }
}

/// The chain that is live on this node, if there is one yet. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct LiveChain {
    live: Arc<watch::Sender<Option<Arc<Chain>>>>,
    /// Who runs beside it.
    pub(crate) shadows: Arc<Shadows>,
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
            let later = live.as_ref().is_none_or(|live| live.generation() < chain.generation());
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

    /// Lets `candidate` run beside the live handler of its name, asked about so many of a million of the same
    /// messages; what it answers is compared, and nothing comes of it. In the place of whoever ran before. The
    /// future asks it: it is to be run until [`LiveChain::end_shadow`], and never ends before.
    pub fn begin_shadow(
        &self,
        candidate: Arc<dyn Handler>,
        sample: u32,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.shadows.begin(candidate, sample)
    }

    /// What came of it so far; `None` when nobody runs beside the live handlers.
    pub fn shadowed(&self) -> Option<Comparison> {
        self.shadows.told()
    }

    /// Nobody runs beside the live handlers any more. Returns what came of it.
    pub fn end_shadow(&self) -> Option<Comparison> {
        self.shadows.end()
    }

    /// Waits until a chain of this generation or a later one is live, at most until `until`. Cancel-safe.
    pub(crate) async fn of(&self, generation: u64, until: Instant) -> Option<Arc<Chain>> {
        let late_enough = |chain: &Arc<Chain>| chain.generation() >= generation;
        // Nearly always: then nobody waits.
        if let Some(chain) = self.now().filter(late_enough) {
            return Some(chain);
        }
        let mut live = self.live.subscribe();
        let left = until.saturating_duration_since(runtime::now());
        let there = live.wait_for(|live| live.as_ref().is_some_and(late_enough));
        Box::pin(runtime::timeout(left, there)).await.ok()?.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::{Change, Chat, ChatToken, Lineup, NOTICES_MAX};
    use plugin::{Call, Failure, Kind, OnFailure, Reply, Said};

    use super::{Chain, Handler, LiveChain};
    use crate::ledger::Later;

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

    /// Somebody who is told of events.
    struct Listener;

    impl Handler for Listener {
        fn name(&self) -> &'static str {
            "listener"
        }

        fn version(&self) -> &'static str {
            "1"
        }

        fn on_failure(&self) -> OnFailure {
            OnFailure::Skip
        }

        fn kinds(&self) -> &[Kind] {
            &[Kind::Events]
        }

        fn on_message(&self, _: Call, _: Said) -> Later<'_, Result<Reply, Failure>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn events_that_no_chat_can_hold_are_left_out_and_counted() {
        let chain = Chain::new(vec![Arc::new(Listener)]);
        let mut chat = Chat::new(ChatToken([1; 16]));
        let join = |id: usize| {
            let (id, role) = (id.to_string(), String::new());
            Change::Join { id, role, attrs: Default::default() }
        };
        for id in 0..NOTICES_MAX - 1 {
            let (changes, untold) = chain.marks(&chat, vec![join(id)], 0);
            assert_eq!((changes.len(), untold), (2, 0));
            changes.iter().for_each(|change| chat.change(change, 1));
        }
        let more = [0, 1, 2].map(|more| join(NOTICES_MAX + more));
        let (changes, untold) = chain.marks(&chat, more.to_vec(), 0);
        assert_eq!((changes.len(), untold), (4, 2), "one more fits");
    }

    #[test]
    fn a_chat_is_told_its_handlers_once() {
        let chain = Chain::of_generation(2, Vec::new());
        let mut chat = Chat::new(ChatToken([1; 16]));
        let marked = chain.marks(&chat, vec![Change::Start], 0);
        let lineup = Lineup { generation: 2, handlers: Vec::new() };
        assert_eq!(marked, (vec![Change::Lineup(Arc::new(lineup)), Change::Start], 0));
        chat.change(&marked.0[0], 1);
        assert_eq!(chat.generation, 2);
        assert_eq!(chain.marks(&chat, vec![Change::Start], 0), (vec![Change::Start], 0));
        assert_eq!(Chain::default().marks(&chat, Vec::new(), 0), (vec![], 0));
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
