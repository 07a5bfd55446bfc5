//! Handlers that do what a story wants.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chat::{Chain, Handler, Later, Needs};
use model::{Body, Message};
use plugin::{
    Answered, Call, CallbackReply, Effect, Event, Failure, Kind, OnFailure, Reply, Said,
    TwilioRequest, Verb, Verdict,
};
use tokio::sync::Semaphore;

type Script = Box<dyn Fn(&Asking) -> Result<Reply, Failure> + Send + Sync>;
type EventScript = Box<dyn Fn(&Call, &Event) -> Result<Vec<Effect>, Failure> + Send + Sync>;
type ReplyScript = Box<dyn Fn(&Call, &CallbackReply) -> Result<Vec<Effect>, Failure> + Send + Sync>;

type RequestScript =
    Box<dyn Fn(&Call, &TwilioRequest) -> Result<(Vec<Verb>, Vec<Effect>), Failure> + Send + Sync>;

const KINDS: [Kind; 3] = [Kind::Message, Kind::Events, Kind::Callback];

/// A call and what somebody wants to say.
pub(crate) struct Asking {
    call: Call,
    said: Said,
}

impl std::ops::Deref for Asking {
    type Target = Call;

    fn deref(&self) -> &Call {
        &self.call
    }
}

impl Asking {
    pub(crate) fn message(&self) -> &Message {
        &self.said.message
    }
}

/// A handler with a script, and a gate that a story can close.
pub(crate) struct Scripted {
    name: String,
    on_failure: OnFailure,
    script: Script,
    on_event: Option<EventScript>,
    on_reply: Option<ReplyScript>,
    on_request: Option<RequestScript>,
    /// The events that it was told, by name.
    pub(crate) told: Mutex<Vec<String>>,
    pub(crate) gate: Semaphore,
    /// The gate of events.
    pub(crate) ears: Semaphore,
    pub(crate) calls: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(
        name: &str,
        script: impl Fn(&Asking) -> Result<Reply, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with_policy(name, OnFailure::Reject, script)
    }

    pub(crate) fn with_policy(
        name: &str,
        on_failure: OnFailure,
        script: impl Fn(&Asking) -> Result<Reply, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::plain(name, on_failure, Box::new(script)))
    }

    /// One that also listens.
    pub(crate) fn listening(
        name: &str,
        script: impl Fn(&Asking) -> Result<Reply, Failure> + Send + Sync + 'static,
        on_event: impl Fn(&Call, &Event) -> Result<Vec<Effect>, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let plain = Self::plain(name, OnFailure::Reject, Box::new(script));
        Arc::new(Self { on_event: Some(Box::new(on_event)), ..plain })
    }

    /// One that gets answers to its calls out.
    pub(crate) fn calling(
        name: &str,
        script: impl Fn(&Asking) -> Result<Reply, Failure> + Send + Sync + 'static,
        on_reply: impl Fn(&Call, &CallbackReply) -> Result<Vec<Effect>, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let plain = Self::plain(name, OnFailure::Reject, Box::new(script));
        Arc::new(Self { on_reply: Some(Box::new(on_reply)), ..plain })
    }

    /// One that answers telephones, and nothing else.
    pub(crate) fn answering(
        name: &str,
        on_request: impl Fn(&Call, &TwilioRequest) -> Result<(Vec<Verb>, Vec<Effect>), Failure>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        let plain = Self::plain(name, OnFailure::Reject, Box::new(|_call| pass()));
        Arc::new(Self { on_request: Some(Box::new(on_request)), ..plain })
    }

    fn plain(name: &str, on_failure: OnFailure, script: Script) -> Self {
        Self {
            name: name.into(),
            on_failure,
            script,
            on_event: None,
            on_reply: None,
            on_request: None,
            told: Mutex::default(),
            gate: Semaphore::new(10_000),
            ears: Semaphore::new(10_000),
            calls: AtomicUsize::new(0),
        }
    }

    /// What it was told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
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

    fn kinds(&self) -> &[Kind] {
        if self.on_request.is_some() {
            &[Kind::Twilio]
        } else if self.on_event.is_some() || self.on_reply.is_some() {
            &KINDS
        } else {
            &KINDS[..1]
        }
    }

    fn needs(&self) -> Needs {
        Needs { recall: true, history: true }
    }

    fn on_event(&self, call: Call, event: Event) -> Later<'_, Result<Answered<()>, Failure>> {
        Box::pin(async move {
            let _open = self.ears.acquire().await;
            self.told.lock().unwrap().push(event.name.to_owned());
            let effects = match &self.on_event {
                Some(script) => script(&call, &event)?,
                None => Vec::new(),
            };
            Ok(Answered { answer: (), effects, fuel: 0 })
        })
    }

    fn on_reply(
        &self,
        call: Call,
        reply: CallbackReply,
    ) -> Later<'_, Result<Answered<()>, Failure>> {
        Box::pin(async move {
            self.told.lock().unwrap().push(reply.correlation.clone());
            let effects = match &self.on_reply {
                Some(script) => script(&call, &reply)?,
                None => Vec::new(),
            };
            Ok(Answered { answer: (), effects, fuel: 0 })
        })
    }

    fn on_request(
        &self,
        call: Call,
        request: TwilioRequest,
    ) -> Later<'_, Result<Answered<Vec<Verb>>, Failure>> {
        Box::pin(async move {
            let _open = self.gate.acquire().await;
            self.calls.fetch_add(1, Ordering::SeqCst);
            let script = self.on_request.as_ref().expect("it is asked for what it is");
            let (answer, effects) = script(&call, &request)?;
            Ok(Answered { answer, effects, fuel: 0 })
        })
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let _open = self.gate.acquire().await;
            self.calls.fetch_add(1, Ordering::SeqCst);
            (self.script)(&Asking { call, said })
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
pub(crate) fn text(call: &Asking) -> &str {
    match &call.message().body {
        Body::Text(text) => text,
        Body::Json(_) | Body::Bytes { .. } | Body::Redacted(_) => "",
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
