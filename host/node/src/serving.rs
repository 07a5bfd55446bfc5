//! Services as operators meet them: what they are owed and what was tried, in the words of [`api::admin`].

use api::admin::{AttemptInfo, DeadInfo, ServiceInfo, ServiceWish};
use chat::{Code, Refusal};
use outbox::{AttemptRecord, DeadLetter, ServiceView, Services, Unknown};
use transaction::{Outcome, State};

/// All of them, by name.
pub(crate) fn all(services: &Services) -> Vec<ServiceInfo> {
    services.list().into_iter().map(one).collect()
}

fn one(view: ServiceView) -> ServiceInfo {
    ServiceInfo {
        name: view.name,
        url: view.url,
        dialect: view.dialect.to_string(),
        state: view.state.word(),
        cause: match view.state {
            State::Stopped(cause) => Some(cause.word()),
            State::Up | State::Down { .. } | State::Recovering => None,
        },
        for_ms: view.for_ms,
        next_ms: view.next_ms,
        in_flight: view.in_flight,
        pending: view.pending,
        done: view.done,
        parked: view.parked,
        partitions: view.partitions,
    }
}

/// The last attempts of one.
pub(crate) fn attempts(services: &Services, name: &str) -> Option<Vec<AttemptInfo>> {
    let attempts = services.attempts(name).ok()?;
    Some(attempts.into_iter().map(attempt).collect())
}

fn attempt(record: AttemptRecord) -> AttemptInfo {
    AttemptInfo {
        transaction: record.id.to_string(),
        at_ms: record.at_ms,
        events: record.events,
        outcome: match record.outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Gone => "gone",
            Outcome::Retry { .. } => "failed",
        },
        status: record.status,
        ms: record.ms,
        error: record.error,
        answer: String::from_utf8_lossy(&record.head).into_owned(),
    }
}

/// What was put aside of one.
pub(crate) async fn dead_letters(
    services: &Services,
    name: &str,
) -> Result<Vec<DeadInfo>, Refusal> {
    let letters = services.dead_letters(name).await.map_err(|unknown| refusal(&unknown))?;
    Ok(letters.into_iter().map(dead).collect())
}

fn dead(letter: DeadLetter) -> DeadInfo {
    let DeadLetter { id, dead, event, .. } = letter;
    DeadInfo {
        event: event.as_ref().map(|event| event.message.id.to_string()),
        chat: event.as_ref().map(|event| event.chat.to_string()),
        cursor: event.as_ref().map(|event| event.cursor.to_string()),
        status: dead.status,
        transaction: id.to_string(),
        last_ms: dead.time_ms,
    }
}

/// Does what an operator wants; how the service does then.
pub(crate) async fn wish(
    services: &Services,
    name: &str,
    wish: ServiceWish,
) -> Result<ServiceInfo, Refusal> {
    let done = match wish {
        ServiceWish::Wake => services.wake(name).await,
        ServiceWish::Pause => services.pause(name).await,
        ServiceWish::Resume => services.resume(name).await,
    };
    tracing::info!(service = name, ?wish, "an operator wants this of a service");
    let shown = done.and_then(|()| services.show(name));
    shown.map(one).map_err(|unknown| refusal(&unknown))
}

/// Has what was put aside sent again; how much of it.
pub(crate) async fn replay(
    services: &Services,
    name: &str,
    events: Option<Vec<String>>,
) -> Result<usize, Refusal> {
    services.replay(name, events.as_deref()).await.map_err(|unknown| refusal(&unknown))
}

fn refusal(unknown: &Unknown) -> Refusal {
    Refusal::new(Code::NotFound, unknown.to_string())
}
