//! One attempt: a request goes out, and what came of it comes back.
//!
//! Nothing is decided here about what happens next; that is the lane's. An attempt never fails and never
//! hangs: whatever a service does, it ends within [`Times::all`] and says in words what happened. It holds
//! nothing but its future: dropping that ends it, and the service may have got the request or not.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{DATE, RETRY_AFTER};
use hyper::{Request, Response};
use metrics::{counter, histogram};
use runtime::Instant;

use crate::answer;
use crate::credential::{self, masked};
use crate::dial::Dialer;
use crate::outcall::filled;
use crate::resolver::{Resolve, SystemResolver};
use crate::resting::Resting;
use crate::trust::{Trust, TrustError};
use crate::wire::Wire;
use crate::{Attempt, Outcome, Rendered, ServiceUrl, Target};

/// Bytes of an answer that are kept to be looked at.
const SHOWN_BYTES_MAX: usize = 1 << 10;
/// What every request says of who sends it.
const AGENT: &str = concat!("carillon/", env!("CARGO_PKG_VERSION"));
/// Headers that are the connection's or the signature's, and no request's own.
const NOT_ITS_OWN: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Sends requests to services. Clones are the same.
#[derive(Clone, Debug)]
pub struct Sender {
    inner: Arc<Inner>,
}

/// What a sender is made of.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Knows the addresses of names.
    pub resolver: Arc<dyn Resolve>,
    /// Certificates of authorities that are believed beside those of the public web, each text as PEM.
    pub authorities: Vec<String>,
    /// How long is waited.
    pub times: Times,
}

/// How long an attempt waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For a connection: the name, the handshakes.
    pub connect: Duration,
    /// For the request to be taken and the headers of its answer to be there.
    pub headers: Duration,
    /// For the body of the answer, whose status counts already.
    pub body: Duration,
    /// For all of it.
    pub all: Duration,
}

#[derive(Debug)]
struct Inner {
    dialer: Dialer,
    resting: Resting,
    times: Times,
}

/// A request, ready for a connection.
struct Call<'a> {
    target: &'a Target,
    url: ServiceUrl,
    head: Request<()>,
    body: Bytes,
    began: Instant,
}

/// There is no answer.
struct Silence {
    connected: bool,
    /// The connection ended or broke. On one that had rested this says nothing of the service.
    broken: bool,
    words: String,
}

impl Default for SenderConfig {
    fn default() -> Self {
        let resolver = Arc::new(SystemResolver::default());
        Self { resolver, authorities: Vec::new(), times: Times::default() }
    }
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), headers: seconds(20), body: seconds(5), all: seconds(30) }
    }
}

impl Sender {
    /// A sender with no connection yet.
    ///
    /// # Errors
    /// [`TrustError`], when an authority is none.
    pub fn new(config: SenderConfig) -> Result<Self, TrustError> {
        let SenderConfig { resolver, authorities, times } = config;
        let dialer = Dialer { resolver, trust: Trust::new(&authorities)? };
        Ok(Self { inner: Arc::new(Inner { dialer, resting: Resting::default(), times }) })
    }

    /// Sends `request` to `target` once, and says what came of it. Dropped, it is given up: the service may
    /// have got the request or not.
    pub async fn attempt(&self, target: &Target, request: &Rendered) -> Attempt {
        let began = runtime::now();
        let mut attempt = match call(target, request, began) {
            Ok(call) => Box::pin(self.inner.carry_out(&call)).await,
            Err((outcome, words)) => unanswered(outcome, words),
        };
        let took = runtime::now().saturating_duration_since(began);
        attempt.ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        count(target, &attempt, took);
        attempt
    }
}

impl Inner {
    async fn carry_out(&self, call: &Call<'_>) -> Attempt {
        match self.answer(call).await {
            Ok((wire, response)) => self.heard(call, wire, response).await,
            Err(silence) => {
                let outcome = Outcome::Retry { connected: silence.connected };
                unanswered(outcome, silence.words)
            }
        }
    }

    /// The headers of the answer, and the connection on which the rest of it comes.
    async fn answer(&self, call: &Call<'_>) -> Result<(Wire, Response<Incoming>), Silence> {
        let Target { service, allow_private, .. } = call.target;
        let origin = &call.url.origin;
        if let Some(wire) = self.resting.take(service, origin, allow_private) {
            // A server may close what rests at any time, also while the request is on its way. It is sent
            // once more then: the same id and bytes, which may come twice.
            match self.ask(call, wire).await {
                Err(silence) if silence.broken => {}
                answered => return answered,
            }
        }
        let limit = self.times.connect.min(self.left(call));
        let dialled = self.dialer.dial(origin, allow_private, limit).await;
        let unreached = |words| Silence { connected: false, broken: false, words };
        let (stream, address) = dialled.map_err(|error| unreached(error.to_string()))?;
        let wire = Wire::new(origin, stream, address).await;
        let wire = wire.map_err(|error| unreached(words(&error)))?;
        self.ask(call, wire).await
    }

    async fn ask(
        &self,
        call: &Call<'_>,
        mut wire: Wire,
    ) -> Result<(Wire, Response<Incoming>), Silence> {
        let limit = self.times.headers.min(self.left(call));
        let request = call.head.clone().map(|()| Full::new(call.body.clone()));
        let asked = runtime::timeout(limit, wire.ask(request)).await;
        let silence = |broken, words| Silence { connected: true, broken, words };
        match asked {
            Ok(Ok(response)) => Ok((wire, response)),
            Ok(Err(error)) => {
                let text = format!("no answer of {}: {}", call.url, words(&error));
                Err(silence(!error.is_parse(), text))
            }
            Err(_elapsed) => {
                let text = format!("no answer of {} within {} ms", call.url, limit.as_millis());
                Err(silence(false, text))
            }
        }
    }

    /// What an answer says. Its status has decided; its body is read as far as it comes in time.
    async fn heard(
        &self,
        call: &Call<'_>,
        mut wire: Wire,
        response: Response<Incoming>,
    ) -> Attempt {
        let (head, mut incoming) = response.into_parts();
        let status = head.status.as_u16();
        let mut body = Vec::new();
        let limit = self.times.body.min(self.left(call));
        let whole = runtime::timeout(limit, wire.read(&mut incoming, &mut body)).await;
        if whole == Ok(true) {
            drop(incoming);
            self.resting.put(&call.target.service, wire);
        }
        // Masked before it is cut, so that no half of a secret is left in what is shown.
        let Target { secret, secrets, .. } = call.target;
        let body = Bytes::from(masked(body, secret.iter().chain(secrets.values())));
        let outcome = answer::outcome(status);
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = text(RETRY_AFTER).filter(|_| matches!(outcome, Outcome::Retry { .. }));
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(runtime::wall_ms());
        Attempt {
            outcome,
            status: Some(status),
            ms: 0,
            head: body.slice(..body.len().min(SHOWN_BYTES_MAX)),
            failed: if outcome == Outcome::Done { answer::failed(&body) } else { Vec::new() },
            retry_after: retry_after.and_then(|value| answer::retry_after(value, text(DATE), wall)),
            error: answer::hint(status).map(str::to_owned),
            body,
        }
    }

    fn left(&self, call: &Call<'_>) -> Duration {
        self.times.all.saturating_sub(runtime::now().saturating_duration_since(call.began))
    }
}

/// `request` as it is sent to `target`; or how the attempt ends without being sent. What an operator can mend
/// is tried again, what the request says itself is not.
fn call<'a>(
    target: &'a Target,
    request: &Rendered,
    began: Instant,
) -> Result<Call<'a>, (Outcome, String)> {
    let later = |words| (Outcome::Retry { connected: false }, words);
    let never = |words: &str| (Outcome::Refused, format!("not sent: {words}"));
    let url: ServiceUrl = target.url.parse().map_err(|error| later(format!("{error}")))?;
    let now_s = runtime::wall_ms() / 1000;
    let proof = credential::headers(target.dialect, target.secret.as_ref(), request, now_s)
        .map_err(|error| later(error.to_string()))?;
    let place = url.join(&request.path).map_err(never)?;
    let mut builder = Request::builder()
        .method(request.method)
        .uri(place)
        .header("host", url.authority())
        .header("user-agent", AGENT);
    if !request.content_type.is_empty() {
        builder = builder.header("content-type", request.content_type);
    }
    for (name, value) in &request.headers {
        if NOT_ITS_OWN.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(never(&format!("the header {name} is not the request's own")));
        }
        let unknown = |name| never(&format!("there is no secret named {name:?}"));
        builder = builder.header(name, filled(value, &target.secrets).map_err(unknown)?);
    }
    for (name, value) in proof {
        // A plugin that proves itself in its own way to a service is let do so.
        if !request.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            builder = builder.header(name, value);
        }
    }
    let head = builder.body(()).map_err(|error| never(&error.to_string()))?;
    Ok(Call { target, url, head, body: request.body.clone(), began })
}

fn unanswered(outcome: Outcome, words: String) -> Attempt {
    Attempt {
        outcome,
        status: None,
        ms: 0,
        head: Bytes::new(),
        body: Bytes::new(),
        failed: Vec::new(),
        retry_after: None,
        error: Some(words),
    }
}

/// An error with what led to it.
fn words(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = match error.downcast_ref::<io::Error>() {
            Some(error) => error.kind().to_string(),
            None => error.to_string(),
        };
        words = format!("{words}: {text}");
        cause = error.source();
    }
    words
}

fn count(target: &Target, attempt: &Attempt, took: Duration) {
    let outcome = match attempt.outcome {
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Gone => "gone",
        Outcome::Retry { connected: true } => "retry",
        Outcome::Retry { connected: false } => "unreachable",
    };
    let service = || target.service.clone();
    counter!("carillon_service_attempts_total", "service" => service(), "outcome" => outcome)
        .increment(1);
    histogram!("carillon_service_attempt_seconds", "service" => service()).record(took);
}
