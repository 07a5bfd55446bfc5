//! How nodes end: the order, the grace, and what is told of it.
//!
//! From the top floor down, so that nothing loses what it still needs:
//!
//! 1. other programs are told no more where it answers;
//! 2. readers who wait are answered with their cursor, nothing new is accepted, and requests that have
//!    begun are finished ([`api::Serving::drain`], which drains [`chat::Chats`] too);
//! 3. what other nodes asked of this one is finished;
//! 4. services are sent nothing more, and what they have taken is written down ([`outbox::Services::drain`]);
//! 5. what this node leads is handed to nodes that stay, if there are any; until then operators are
//!    answered, and now they are not any more;
//! 6. the tasks end, and with them the connections to peers and the session with the registry;
//! 7. the writers of the archive and of the log write and sync what is queued, and the folder's lock is given
//!    back.
//!
//! All of it takes at most the grace period. What was not done by then is cut and named. A second
//! signal cuts at once; that is always safe, because a stop without goodbye is what the log is made for.

use std::time::Duration;

use runtime::Instant;

use crate::assemble::Node;
use crate::cli::Problem;
use crate::signals::Signals;

/// How long services may take to answer what is under way: one that hangs has not taken it, and is sent the same again by
/// whoever leads next.
pub(crate) const SERVICES_MAX: Duration = Duration::from_secs(5);
/// How long others may take to take over: longer than they need, and not the whole grace, because what
/// is not handed on is taken over anyway, some seconds later.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// How long taking the announcement back may take: a registry that is away must not keep a node from
/// stopping.
const WITHDRAW_MAX: Duration = Duration::from_secs(2);
/// How long answers to operators may take to arrive; they are small.
const OPERATORS_MAX: Duration = Duration::from_secs(1);
/// What is kept of the grace for the last steps, which are short.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// Whether somebody stays who could lead what this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Others stay.
    Alone,
    /// Every node of the cluster ends.
    Everybody,
}

/// Lets `nodes`, which are all of this process, serve until a signal comes or one of them fails; then
/// ends them all.
///
/// # Errors
/// A node that failed; a stop that had to cut something.
pub async fn serve(
    nodes: Vec<Node>,
    leaving: Leaving,
    signals: &mut Signals,
) -> Result<(), Problem> {
    let grace = nodes.iter().map(Node::grace).max().unwrap_or_default();
    let name = tokio::select! {
        biased;
        name = signals.next() => name,
        failure = first_failure(&nodes) => return Err(failure),
    };
    tracing::info!(signal = name, grace_s = grace.as_secs(), "stopping");
    tokio::select! {
        biased;
        _again = signals.next() => Err(Problem::partly(
            "a second signal: stopped at once",
            "Nothing acknowledged is lost; start again as usual",
        )),
        cut = stop_all(nodes, leaving, grace) => told(&cut, grace),
    }
}

/// Ends all nodes of a process at the same time; returns what had to be cut.
pub async fn stop_all(nodes: Vec<Node>, leaving: Leaving, grace: Duration) -> Vec<String> {
    let deadline = runtime::now() + grace;
    let mut stopping = tokio::task::JoinSet::new();
    for node in nodes {
        stopping.spawn(node.stop(deadline, leaving));
    }
    stopping.join_all().await.concat()
}

impl Node {
    /// Ends the node by `deadline`; returns what had to be cut.
    pub async fn stop(self, deadline: Instant, leaving: Leaving) -> Vec<String> {
        let Self {
            name,
            tasks,
            http,
            admin,
            announcement,
            chats,
            archive,
            services,
            replication,
            log,
            ..
        } = self;
        let left = || deadline.saturating_duration_since(runtime::now());
        let mut cut = Vec::new();
        if runtime::timeout(WITHDRAW_MAX.min(left()), announcement.withdraw()).await.is_err() {
            tracing::warn!(node = name, "its announcement goes when the session with it ends");
        }
        let within = left().saturating_sub(LAST_STEPS);
        if let api::Drained::Cut { connections } = http.drain(within).await {
            cut.push(format!("{connections} HTTP connections of {name}"));
        }
        let within = left().saturating_sub(LAST_STEPS);
        if runtime::timeout(within, chats.drained()).await.is_err() {
            cut.push(format!("requests of other nodes to {name}"));
        }
        let within = left().saturating_sub(LAST_STEPS).min(SERVICES_MAX);
        if runtime::timeout(within, services.drain()).await.is_err() {
            tracing::warn!(node = name, "a service has not answered: it is sent the same again");
        }
        if leaving == Leaving::Alone {
            let within = left().saturating_sub(LAST_STEPS).min(HAND_OVER_MAX);
            if runtime::timeout(within, replication.drain()).await.is_err() {
                tracing::warn!(node = name, "not everything was handed over: others take over");
            }
        }
        if let api::Drained::Cut { connections } = admin.drain(OPERATORS_MAX.min(left())).await {
            cut.push(format!("{connections} connections of operators of {name}"));
        }
        if runtime::timeout(left().max(LAST_STEPS), tasks.finish()).await.is_err() {
            cut.push(format!("tasks of {name}"));
        }
        let engine = archive.engine().clone();
        drop((http, admin, chats, archive, services, replication));
        if runtime::blocking(move || engine.close()).await.is_none() {
            cut.push(format!("the archive of {name}"));
        }
        // The last handle: dropping it waits for the writer.
        if runtime::blocking(move || drop(log)).await.is_none() {
            cut.push(format!("the log of {name}"));
        }
        cut
    }
}

fn told(cut: &[String], grace: Duration) -> Result<(), Problem> {
    if cut.is_empty() {
        tracing::info!("stopped, everything was finished");
        return Ok(());
    }
    let what = format!("not done within {} s, and cut: {}", grace.as_secs(), cut.join(", "));
    Err(Problem::partly(what, "Give it longer with node.drain; nothing acknowledged is lost"))
}

/// Waits until one of the nodes cannot go on.
async fn first_failure(nodes: &[Node]) -> Problem {
    let mut failing: Vec<_> = nodes
        .iter()
        .map(|node| {
            Box::pin(async move {
                let why = node.failed().await;
                let what = format!("node {} cannot go on: {why}", node.name());
                Problem::failed(what, "See the log above; what was acknowledged is on the disks")
            })
        })
        .collect();
    std::future::poll_fn(|cx| {
        let failed = failing.iter_mut().find_map(|failed| match failed.as_mut().poll(cx) {
            std::task::Poll::Ready(problem) => Some(problem),
            std::task::Poll::Pending => None,
        });
        failed.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}
