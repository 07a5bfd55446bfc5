//! Services as operators meet them: what they are owed and what was tried, in the words of [`api::admin`].

use api::admin::{
    AttemptInfo, AttemptsInfo, DeadInfo, DeadLettersInfo, ReplayedInfo, ServiceInfo,
    ServiceNodeInfo, ServiceWish, ServicesInfo,
};
use chat::{Code, Refusal};
use hashring::NodeId;
use outbox::{
    AttemptRecord, Condition, DeadLetter, Heard, ServiceView, Services, Unknown, WishError,
};
use transaction::Outcome;

/// All of them, by name, on all nodes.
pub(crate) async fn all(services: &Services) -> ServicesInfo {
    merged(services.list_everywhere().await)
}

/// One service each: the worst state, the longest time in it, and sums.
fn merged(heard: Heard<Vec<ServiceView>>) -> ServicesInfo {
    let mut services: Vec<ServiceInfo> = Vec::new();
    let views = heard
        .told
        .into_iter()
        .flat_map(|(node, views)| views.into_iter().map(move |view| (node.clone(), view)));
    let mut views: Vec<(NodeId, ServiceView)> = views.collect();
    views.sort_by(|(_, one), (_, other)| {
        let rank = |view: &ServiceView| (view.state, view.for_ms);
        (&one.name, rank(other)).cmp(&(&other.name, rank(one)))
    });
    for (node, view) in views {
        if services.last().is_none_or(|last| last.name != view.name) {
            services.push(begun(&view));
        }
        let Some(service) = services.last_mut() else { continue };
        add(service, &view);
        service.nodes.push(seen(node, view));
    }
    ServicesInfo { services, silent: heard.silent }
}

/// A service by the worst that is seen of it, before anything is counted.
fn begun(worst: &ServiceView) -> ServiceInfo {
    ServiceInfo {
        name: worst.name.clone(),
        url: String::new(),
        dialect: worst.dialect.to_string(),
        state: worst.state.word(),
        cause: cause(worst),
        for_ms: worst.for_ms,
        next_ms: worst.next_ms,
        failing: 0,
        failing_ms: None,
        lag_ms: None,
        in_flight: 0,
        pending: 0,
        done: 0,
        parked: 0,
        abandoned: 0,
        partitions: 0,
        nodes: Vec::new(),
    }
}

/// One more node's part. What is down is tried now and then, by each node: that is one state with one beginning.
fn add(service: &mut ServiceInfo, view: &ServiceView) {
    if service.url.is_empty() {
        service.url.clone_from(&view.url);
    }
    let tried = [Condition::Down.word(), Condition::Recovering.word()];
    let both = tried.contains(&service.state) && tried.contains(&view.state.word());
    if both || service.state == view.state.word() {
        service.for_ms = service.for_ms.max(view.for_ms);
        service.next_ms = service.next_ms.into_iter().chain(view.next_ms).min();
    }
    service.failing += view.failing;
    service.failing_ms = service.failing_ms.max(view.failing_ms);
    service.lag_ms = service.lag_ms.max(view.lag_ms);
    service.in_flight += view.in_flight;
    service.pending += view.pending;
    service.done += view.done;
    service.parked += view.parked;
    service.abandoned += view.abandoned;
    service.partitions += view.partitions;
}

fn seen(node: NodeId, view: ServiceView) -> ServiceNodeInfo {
    ServiceNodeInfo {
        node,
        cause: cause(&view),
        url: view.url,
        state: view.state.word(),
        for_ms: view.for_ms,
        next_ms: view.next_ms,
        failing: view.failing,
        failing_ms: view.failing_ms,
        lag_ms: view.lag_ms,
        in_flight: view.in_flight,
        pending: view.pending,
        done: view.done,
        parked: view.parked,
        abandoned: view.abandoned,
        partitions: view.partitions,
    }
}

/// Why it is stopped there.
fn cause(view: &ServiceView) -> Option<&'static str> {
    match view.configured {
        true => view.cause.map(transaction::Cause::word),
        false => Some("unconfigured"),
    }
}

/// The last attempts of one.
pub(crate) async fn attempts(services: &Services, name: &str) -> Result<AttemptsInfo, Refusal> {
    let told = services.attempts_everywhere(name).await.map_err(|it| refusal(&it))?;
    let attempts = told.all.into_iter().map(|(node, record)| attempt(node, record)).collect();
    Ok(AttemptsInfo { attempts, more: told.more, silent: told.silent })
}

/// Asks one whether it is there.
pub(crate) async fn test(
    services: &Services,
    node: NodeId,
    name: &str,
) -> Result<AttemptInfo, Refusal> {
    let tested = services.test(name).await.map_err(|unknown| refusal(&unknown))?;
    Ok(attempt(node, tested))
}

fn attempt(node: NodeId, record: AttemptRecord) -> AttemptInfo {
    AttemptInfo {
        node,
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
) -> Result<DeadLettersInfo, Refusal> {
    let told = services.letters_everywhere(name).await.map_err(|it| refusal(&it))?;
    let entries = told.all.into_iter().map(dead).collect();
    Ok(DeadLettersInfo { entries, more: told.more, silent: told.silent })
}

fn dead(letter: DeadLetter) -> DeadInfo {
    let DeadLetter { id, status, time_ms, event, abandoned } = letter;
    DeadInfo {
        event: event.as_ref().map(|event| event.message.to_string()),
        chat: event.as_ref().map(|event| event.chat.to_string()),
        cursor: event.as_ref().map(|event| event.cursor.to_string()),
        status,
        transaction: id.to_string(),
        last_ms: time_ms,
        abandoned,
    }
}

/// Does what an operator wants, on all nodes; how all services do then.
pub(crate) async fn wish(
    services: &Services,
    name: &str,
    wish: ServiceWish,
) -> Result<ServicesInfo, Refusal> {
    let done = match wish {
        ServiceWish::Wake => services.wake(name).await,
        ServiceWish::Pause => services.pause(name).await,
        ServiceWish::Resume => services.resume(name).await,
        ServiceWish::Forget => services.forget(name).await.map(|()| Vec::new()),
    };
    done.map_err(|error| refused(&error))?;
    tracing::info!(service = name, ?wish, "an operator wants this of a service");
    let mut all = all(services).await;
    all.services.retain(|service| service.name == name);
    Ok(all)
}

/// Has what was put aside sent again.
pub(crate) async fn replay(
    services: &Services,
    name: &str,
    events: Option<Vec<String>>,
) -> Result<ReplayedInfo, Refusal> {
    let told = services.replay_everywhere(name, events).await.map_err(|it| refusal(&it))?;
    Ok(ReplayedInfo { replayed: told.all, more: told.more, silent: told.silent })
}

fn refusal(unknown: &Unknown) -> Refusal {
    Refusal::new(Code::NotFound, unknown.to_string())
}

fn refused(error: &WishError) -> Refusal {
    let code = match error {
        WishError::Unknown(_) => Code::NotFound,
        WishError::Away => Code::NotReady,
        WishError::Configured { .. } => Code::Needed,
        WishError::Broken(_) => Code::Internal,
    };
    Refusal::new(code, error.to_string())
}

/// Who is told that services are there.
pub(crate) struct Told(pub(crate) Services);

impl api::Pings for Told {
    fn ping(&self, service: String) -> api::Pinging<'_> {
        Box::pin(
            async move { self.0.ping(&service).await.map(drop).map_err(|error| refused(&error)) },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, state: Condition, for_ms: u64, pending: u64) -> ServiceView {
        ServiceView {
            url: "http://crm".to_owned(),
            state,
            for_ms,
            in_flight: 1,
            pending,
            done: 2,
            parked: 3,
            abandoned: 5,
            partitions: 4,
            configured: true,
            ..ServiceView::unconfigured(name.to_owned(), model::Dialect::Webhook)
        }
    }

    #[test]
    fn a_node_without_it_in_its_file_is_seen_to_keep_it_waiting() {
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        let stranger = ServiceView {
            url: String::new(),
            configured: false,
            ..view("crm", Condition::Stopped, 0, 9)
        };
        let told = vec![
            (node("n1"), vec![view("crm", Condition::Up, 900, 1)]),
            (node("n2"), vec![stranger]),
        ];
        let all = merged(Heard { told, silent: Vec::new() });
        let crm = &all.services[0];
        assert_eq!((crm.state, crm.cause, crm.pending), ("stopped", Some("unconfigured"), 10));
        assert_eq!((crm.url.as_str(), crm.nodes[1].cause), ("http://crm", None));
    }

    #[test]
    fn a_service_is_one_line_with_the_worst_state_and_the_sums() {
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        let told = vec![
            (node("n1"), vec![view("crm", Condition::Up, 900, 1), view("x", Condition::Up, 1, 0)]),
            (node("n2"), vec![view("crm", Condition::Down, 20, 5)]),
            (node("n3"), vec![view("crm", Condition::Down, 30, 0)]),
        ];
        let all = merged(Heard { told, silent: vec![node("n4")] });
        let names: Vec<&str> = all.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["crm", "x"]);
        let crm = &all.services[0];
        assert_eq!((crm.state, crm.for_ms, crm.pending, crm.partitions), ("down", 30, 6, 12));
        assert_eq!(crm.nodes.len(), 3);
        assert_eq!(all.silent, [node("n4")]);
    }

    #[test]
    fn what_is_down_is_so_since_the_first_node_found_it_and_tried_again_by_the_next() {
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        let down = |for_ms, next_ms| ServiceView {
            next_ms: Some(next_ms),
            ..view("crm", Condition::Down, for_ms, 1)
        };
        let told = vec![
            (node("n1"), vec![down(20, 700)]),
            (node("n2"), vec![view("crm", Condition::Recovering, 900, 1)]),
            (node("n3"), vec![down(30, 600)]),
            (node("n4"), vec![view("crm", Condition::Up, 5000, 1)]),
        ];
        let crm = merged(Heard { told, silent: Vec::new() }).services.remove(0);
        assert_eq!((crm.state, crm.for_ms, crm.next_ms), ("down", 900, Some(600)));
    }

    #[test]
    fn what_is_stuck_beside_a_service_that_is_up_is_in_its_line() {
        let node = |name: &str| name.parse::<NodeId>().unwrap();
        let stuck = |failing, failing_ms, next_ms| ServiceView {
            failing,
            failing_ms: Some(failing_ms),
            lag_ms: Some(failing_ms + 1),
            next_ms: Some(next_ms),
            ..view("crm", Condition::Up, 900, 1)
        };
        let told = vec![
            (node("n1"), vec![view("crm", Condition::Up, 1000, 0)]),
            (node("n2"), vec![stuck(1, 50, 80)]),
            (node("n3"), vec![stuck(2, 70, 90)]),
        ];
        let crm = merged(Heard { told, silent: Vec::new() }).services.remove(0);
        assert_eq!((crm.state, crm.failing, crm.failing_ms), ("up", 3, Some(70)));
        assert_eq!((crm.lag_ms, crm.next_ms, crm.for_ms), (Some(71), Some(80), 1000));
    }
}
