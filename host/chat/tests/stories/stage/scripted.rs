//! Handlers that do what a story wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chat::{Chain, Handler, Later};
use model::Body;
use plugin::{Call, Effect, Failure, OnFailure, Reply, Verdict};
use tokio::sync::Semaphore;

type Script = Box<dyn Fn(&Call) -> Result<Reply, Failure> + Send + Sync>;

/// A handler with a script, and a gate that a story can close.
pub(crate) struct Scripted {
    name: String,
    on_failure: OnFailure,
    script: Script,
    pub(crate) gate: Semaphore,
    pub(crate) calls: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(
        name: &str,
        script: impl Fn(&Call) -> Result<Reply, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with_policy(name, OnFailure::Reject, script)
    }

    pub(crate) fn with_policy(
        name: &str,
        on_failure: OnFailure,
        script: impl Fn(&Call) -> Result<Reply, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            on_failure,
            script: Box::new(script),
            gate: Semaphore::new(10_000),
            calls: AtomicUsize::new(0),
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// From here on calls wait.
    pub(crate) fn close_gate(&self) {
        self.gate.forget_permits(10_000);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(10_000);
    }
}

impl Handler for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    fn on_message(&self, call: Call) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let _open = self.gate.acquire().await;
            self.calls.fetch_add(1, Ordering::SeqCst);
            (self.script)(&call)
        })
    }
}

pub(crate) fn chain(handlers: &[&Arc<Scripted>]) -> Chain {
    let handler = |each: &&Arc<Scripted>| -> Arc<dyn Handler> { Arc::<Scripted>::clone(each) };
    Chain::new(handlers.iter().map(handler).collect())
}

pub(crate) fn pass() -> Result<Reply, Failure> {
    verdict(Verdict::Pass)
}

pub(crate) fn verdict(verdict: Verdict) -> Result<Reply, Failure> {
    with(verdict, Vec::new())
}

pub(crate) fn with(verdict: Verdict, effects: Vec<Effect>) -> Result<Reply, Failure> {
    Ok(Reply { verdict, notes: Vec::new(), effects, fuel: 0 })
}

pub(crate) fn reject(reason: &str) -> Verdict {
    Verdict::Reject { code: "no".into(), reason: reason.into(), retry_after_ms: None }
}

/// What a call shows, if it is text.
pub(crate) fn text(call: &Call) -> &str {
    match &call.message.body {
        Body::Text(text) => text,
        Body::Json(_) | Body::Bytes { .. } => "",
    }
}

/// Refuses `bad`, and counts a strike for it; tells the strikes so far in its reason.
pub(crate) fn strict() -> Arc<Scripted> {
    Scripted::new("strict", |call| {
        if text(call) != "bad" {
            return pass();
        }
        let strikes = call.notes.get("strikes").and_then(|value| value.first()).unwrap_or(&0) + 1;
        let note = Effect::Note { key: "strikes".into(), value: Some(vec![strikes]) };
        with(reject(&format!("strike {strikes}")), vec![note])
    })
}
