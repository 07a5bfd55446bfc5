//! What a story asks, and what it expects to be told.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use chat::{CallContext, Page, Read, Refusal, Request, Response, Sent};
use model::{Attrs, Body, ChatToken, Cursor, Route};

/// Longer than any story takes.
const LONG: Duration = Duration::from_secs(10);
/// Longer than a busy machine takes for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request on its way.
pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;

pub(crate) fn context() -> CallContext {
    let deadline = runtime::now() + LONG;
    CallContext { deadline, request_id: "r".into(), seen: None, hop: 0, caller: 0 }
}

/// A chat without limits.
pub(crate) fn create() -> Request {
    Request::Create { max_duration_s: None, max_participants: None, attrs: Attrs::new() }
}

/// A text of alice.
pub(crate) fn message(token: ChatToken, key: &str, text: &str) -> chat::Send {
    chat::Send {
        token,
        key: key.into(),
        acks: None,
        copies: None,
        sender: "alice".into(),
        kind: "text".into(),
        route: Route::Everyone,
        body: Body::Text(text.into()),
        archive: None,
        attrs: Attrs::new(),
        sent_ms: None,
    }
}

pub(crate) fn send(token: ChatToken, key: &str, text: &str) -> Request {
    Request::Send(message(token, key, text))
}

/// Everything after a cursor, now.
pub(crate) fn reading(token: ChatToken, after: Option<Cursor>) -> Read {
    let (before, reader, pulse) = (None, None, None);
    Read { token, after, before, limit: 100, wait_ms: 0, reader, confirmed: false, pulse }
}

pub(crate) fn read(token: ChatToken, after: Option<Cursor>) -> Request {
    Request::Read(reading(token, after))
}

/// Waits for something after a cursor, for longer than any story takes.
pub(crate) fn wait(token: ChatToken, after: Option<Cursor>) -> Request {
    Request::Read(Read { wait_ms: 8_000, ..reading(token, after) })
}

pub(crate) fn sent(result: Result<Response, Refusal>) -> Sent {
    match result {
        Ok(Response::Sent(sent)) => sent,
        other => panic!("not sent: {other:?}"),
    }
}

pub(crate) fn page(result: Result<Response, Refusal>) -> Page {
    match result {
        Ok(Response::Page(page)) => page,
        other => panic!("no page: {other:?}"),
    }
}

pub(crate) fn refused(result: Result<Response, Refusal>) -> Refusal {
    result.expect_err("a refusal")
}

pub(crate) fn texts(page: &Page) -> Vec<String> {
    let text = |stored: &chat::Stored| match &stored.message.body {
        Body::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    page.messages.iter().map(text).collect()
}

/// Lets everything go on that can, and shows that `asking` cannot.
pub(crate) async fn waits(asking: &mut Asking<'_>) {
    for _turn in 0..50 {
        tokio::select! {
            biased;
            answer = &mut *asking => panic!("it was answered: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
}
