//! What operators ask a node, on a listener of its own.
//!
//! Whoever reaches it may do everything, so it is for this machine alone: the node listens on loopback
//! only, and a request whose `Host` is another name, or that a page of another origin makes, is refused
//! here. Otherwise it is bounded like the clients' edge, and its errors are the same problems.
//!
//! Who answers is behind [`Operate`], as [`crate::Ask`] is for clients; this crate knows no more of a
//! node than what is asked.

mod collections;
mod endpoints;
mod generations;
mod looking;
mod operate;
mod order;
mod plugins;
mod services;
mod shape;
mod why;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use chat::Code;

use crate::endpoints::{Answered, told};
use crate::metrics::EndpointCounters;
use crate::problem::Problem;
use crate::{Config, Patience, request_id};

pub use collections::CollectionInfo;
pub use generations::{
    AuditInfo, ChainInfo, ChangedInfo, ExampleInfo, LinkInfo, NodeProgressInfo, PairInfo, PastInfo,
    PluginInfo, PowerInfo, ProgressInfo, PushedInfo, TrialInfo, TrialWanted,
};
pub use looking::{ErrorInfo, LineInfo, LinesInfo};
pub use operate::{
    About, Doing, Going, LogHealth, Movement, Operate, PartitionInfo, Partitions, RegistryInfo,
};
pub use services::{
    AttemptInfo, AttemptsInfo, DeadInfo, DeadLettersInfo, ReplayedInfo, ServiceInfo,
    ServiceNodeInfo, ServiceWish, ServicesInfo,
};
pub use why::{DeciderInfo, DecisionInfo, OutcomeInfo, WhyInfo, With};

use order::Order;

/// Connections at once: a few operators and their scripts.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// What every endpoint has.
struct Desk {
    operate: Arc<dyn Operate>,
    patience: Patience,
}

/// Everything operators are answered.
pub(crate) fn router(operate: Arc<dyn Operate>, config: &Config) -> Router {
    const ARTEFACTS: &str = "/admin/v1/plugins/{name}/artefacts";
    const SWAP: &str = "/admin/v1/plugins/{name}/swap";
    const ROLLBACK: &str = "/admin/v1/plugins/{name}/rollback";
    const ATTEMPTS: &str = "/admin/v1/services/{name}/attempts";
    const DEAD_LETTERS: &str = "/admin/v1/services/{name}/dlq";
    const WAKE: &str = "/admin/v1/services/{name}/wake";
    const PAUSE: &str = "/admin/v1/services/{name}/pause";
    const RESUME: &str = "/admin/v1/services/{name}/resume";
    const FORGET: &str = "/admin/v1/services/{name}/forget";
    const TEST: &str = "/admin/v1/services/{name}/test";
    const REPLAY: &str = "/admin/v1/services/{name}/replay";
    const WHY: &str = "/admin/v1/messages/{id}/why";
    let desk = Arc::new(Desk { operate, patience: config.patience });
    Routes { desk, router: Router::new() }
        .on(MethodFilter::GET, "/admin/v1/info", "admin info", endpoints::info)
        .on(MethodFilter::GET, "/admin/v1/ring", "admin ring", endpoints::ring)
        .on(MethodFilter::POST, "/admin/v1/ring/leave", "admin leave", endpoints::leave)
        .on(MethodFilter::GET, "/admin/v1/partitions", "admin partitions", endpoints::partitions)
        .on(
            MethodFilter::GET,
            "/admin/v1/collections",
            "admin collections",
            collections::collections,
        )
        .on(MethodFilter::GET, "/admin/v1/plugins", "admin plugins", plugins::plugins)
        .on(MethodFilter::PUT, ARTEFACTS, "admin push", plugins::push)
        .on(MethodFilter::POST, SWAP, "admin swap", plugins::swap)
        .on(MethodFilter::GET, SWAP, "admin swap progress", plugins::progress)
        .on(MethodFilter::POST, ROLLBACK, "admin rollback", plugins::roll_back)
        .on(MethodFilter::GET, "/admin/v1/chain", "admin chain", plugins::chain)
        .on(MethodFilter::GET, "/admin/v1/audit", "admin audit", plugins::audit)
        .on(MethodFilter::GET, "/admin/v1/plugins/{name}/logs", "admin logs", looking::lines)
        .on(MethodFilter::GET, "/admin/v1/plugins/{name}/errors", "admin errors", looking::errors)
        .on(MethodFilter::GET, "/admin/v1/services", "admin services", services::services)
        .on(MethodFilter::GET, ATTEMPTS, "admin attempts", services::attempts)
        .on(MethodFilter::GET, DEAD_LETTERS, "admin dead letters", services::dead_letters)
        .on(MethodFilter::POST, WAKE, "admin wake", services::wake)
        .on(MethodFilter::POST, PAUSE, "admin pause", services::pause)
        .on(MethodFilter::POST, RESUME, "admin resume", services::resume)
        .on(MethodFilter::POST, FORGET, "admin forget", services::forget)
        .on(MethodFilter::POST, REPLAY, "admin replay", services::replay)
        .on(MethodFilter::POST, TEST, "admin test", services::test)
        .on(MethodFilter::GET, WHY, "admin why", why::why)
        .on(MethodFilter::POST, WHY, "admin why with", why::why_with)
        .on(MethodFilter::POST, "/admin/v1/drain", "admin drain", endpoints::drain)
        .on(MethodFilter::GET, "/metrics", "admin metrics", endpoints::metrics)
        .router
        .fallback(|request: Request| async move {
            refuse(&request, Problem::new(Code::NotFound, "nothing is at this path"))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            refuse(&request, Problem::new(Code::MethodNotAllowed, "Allow names what is possible"))
        })
}

/// Every endpoint, as it is added.
struct Routes {
    desk: Arc<Desk>,
    router: Router,
}

impl Routes {
    fn on<F, A>(
        mut self,
        method: MethodFilter,
        path: &'static str,
        name: &'static str,
        endpoint: F,
    ) -> Self
    where
        F: Fn(Order) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answered> + Send + 'static,
    {
        let desk = Arc::clone(&self.desk);
        let counters = Arc::new(EndpointCounters::new(name));
        let answer = move |request: Request| {
            let counters = Arc::clone(&counters);
            let id = request_id::of(request.headers()).to_owned();
            let answering = Order::admit(Arc::clone(&desk), request).map(&endpoint);
            async move {
                let began = runtime::now();
                let answered = match answering {
                    Ok(answering) => answering.await,
                    Err(problem) => Err(problem),
                };
                let response = answered.unwrap_or_else(|problem| {
                    told::tell(name, &problem, &id);
                    problem.into_response(&id)
                });
                counters.count(response.status(), runtime::now().duration_since(began));
                response
            }
        };
        self.router = self.router.route(path, on(method, answer));
        self
    }
}

fn refuse(request: &Request, problem: Problem) -> Response {
    let id = request_id::of(request.headers());
    told::tell("none", &problem, id);
    problem.into_response(id)
}
