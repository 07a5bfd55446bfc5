//! A version that runs beside the live one: asked about the same messages, with its answers compared and
//! thrown away.
//!
//! A message never waits for it. What the live handler was told and answered goes into a short queue; whatever
//! finds it full is dropped and counted, and the version is asked one call at a time, by a task of its own. It
//! cannot tell, because nothing it is told says so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use plugin::{About, Call, Comparison, Failure, Reply, Said};
use tokio::sync::mpsc;

use crate::chain::Handler;
use crate::lock::locked;

/// Calls that wait. Each holds a message and an answer, some hundred KiB at most.
const QUEUE_MAX: usize = 64;

/// A million of a million: every call.
pub const SAMPLE_ALL: u32 = 1_000_000;

/// Where a version can run beside the live ones of a node. One at a time.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    /// Looked at before the lock: nearly always nobody runs.
    runs: AtomicBool,
    shadow: Mutex<Option<Shadow>>,
}

/// A version that runs beside the live one. Clones are the same.
#[derive(Clone, Debug)]
struct Shadow {
    plugin: Arc<str>,
    sample: u32,
    queue: mpsc::Sender<Glimpse>,
    compared: Arc<Compared>,
}

#[derive(Debug, Default)]
struct Compared {
    comparison: Mutex<Comparison>,
    dropped: AtomicU64,
}

/// One call of the live handler.
#[derive(Debug)]
struct Glimpse {
    call: Call,
    said: Said,
    live: Result<Reply, Failure>,
}

/// A call of the live handler that is on its way, if it is to be looked at.
#[derive(Debug)]
pub(crate) struct Watched {
    shadow: Shadow,
    call: Call,
    said: Said,
}

impl Shadows {
    /// Whether a call of `plugin` is to be looked at.
    pub(crate) fn watch(&self, plugin: &str, call: &Call, said: &Said) -> Option<Box<Watched>> {
        if !self.runs.load(Ordering::Relaxed) {
            return None;
        }
        let shadow = locked(&self.shadow).clone()?;
        // The call's own dice: every call of a turn has others, and nobody can choose them.
        let drawn = u32::try_from(call.seed % u64::from(SAMPLE_ALL)).unwrap_or_default();
        if *shadow.plugin != *plugin || drawn >= shadow.sample {
            return None;
        }
        Some(Box::new(Watched { shadow, call: call.clone(), said: said.clone() }))
    }

    /// Lets `candidate` run beside the handler of its name, for so many of a million calls. What is returned
    /// asks it, until [`Shadows::end`].
    pub(crate) fn begin(
        &self,
        candidate: Arc<dyn Handler>,
        sample: u32,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (queue, mut glimpses) = mpsc::channel::<Glimpse>(QUEUE_MAX);
        let compared = Arc::new(Compared::default());
        let shadow = Shadow {
            plugin: candidate.name().into(),
            sample,
            queue,
            compared: Arc::clone(&compared),
        };
        *locked(&self.shadow) = Some(shadow);
        self.runs.store(true, Ordering::Relaxed);
        async move {
            while let Some(Glimpse { call, said, live }) = glimpses.recv().await {
                let chat = call.context.chat;
                let other = candidate.on_message(call, said.clone()).await;
                let about = About {
                    chat,
                    message: said.message.id,
                    sender: &said.message.sender,
                    kind: &said.message.kind,
                    text: said.message.body.to_string(),
                };
                locked(&compared.comparison).compare(&about, &live, &other);
            }
        }
    }

    /// What came of it so far; `None` when nobody runs.
    pub(crate) fn told(&self) -> Option<Comparison> {
        locked(&self.shadow).as_ref().map(Shadow::told)
    }

    /// Nobody runs any more. What waits is still compared, and nobody hears of it.
    pub(crate) fn end(&self) -> Option<Comparison> {
        self.runs.store(false, Ordering::Relaxed);
        locked(&self.shadow).take().as_ref().map(Shadow::told)
    }
}

impl Shadow {
    fn told(&self) -> Comparison {
        let mut told = locked(&self.compared.comparison).clone();
        told.dropped = told.dropped.saturating_add(self.compared.dropped.load(Ordering::Relaxed));
        told
    }
}

impl Watched {
    /// The live handler has answered.
    pub(crate) fn answered(self, live: &Result<Reply, Failure>) {
        let Self { shadow, call, said } = self;
        if shadow.queue.try_send(Glimpse { call, said, live: live.clone() }).is_err() {
            shadow.compared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
