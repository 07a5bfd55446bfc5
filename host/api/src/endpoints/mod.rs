//! Who answers what.
//!
//! An endpoint is a function from a request to an answer or a problem. [`Routes`] is where all of them
//! are named, for the router, for the counters and for the test that holds the OpenAPI document to them.

mod archive;
mod chats;
mod document;
mod events;
mod health;
mod members;
mod messages;
mod page;
mod redacting;
mod ring;
mod services;
mod signs;
mod socket;
pub(crate) mod told;
mod twilio;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, any, on};
use bytes::Bytes;
use chat::Code;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::asked::Asked;
use crate::auth::{Grant, Scope};
use crate::metrics::EndpointCounters;
use crate::placed::Placed;
use crate::problem::Problem;
use crate::{Ask, Auth, Config, Objects, Pings, Twilio, request_id};

pub use document::openapi;
pub(crate) use health::counted;
pub(crate) use messages::{Placing, follow_from, new_send};
pub(crate) use signs::{mark_request, typing_request};

/// What every endpoint has.
pub(crate) struct Edge {
    pub(crate) ask: Arc<dyn Ask>,
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) pings: Arc<dyn Pings>,
    pub(crate) auth: Auth,
    pub(crate) twilio: Twilio,
    pub(crate) config: Config,
    placed: Placed,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What an endpoint gives.
pub(crate) type Answered = Result<Response, Problem>;

/// Every endpoint, as it is added.
struct Routes {
    edge: Arc<Edge>,
    router: Router,
    listed: Vec<Listed>,
}

/// One endpoint, for the test that holds the document to them: method, path, and the scope it takes.
type Listed = (MethodFilter, &'static str, Option<Scope>);

/// Everything that is answered.
pub(crate) fn router(
    ask: Arc<dyn Ask>,
    objects: Arc<dyn Objects>,
    pings: Arc<dyn Pings>,
    auth: Auth,
    twilio: Twilio,
    config: Config,
) -> Router {
    routes(ask, objects, pings, auth, twilio, config)
        .router
        // A key that is empty matches none of the routes that have one.
        .route(
            "/v1/archive/{collection}/",
            any(|request: Request| async move {
                refuse(&request, Problem::invalid("key: the name is empty"))
            }),
        )
        .fallback(|request: Request| async move {
            refuse(&request, Problem::new(Code::NotFound, "nothing is at this path"))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            refuse(&request, Problem::new(Code::MethodNotAllowed, "Allow names what is possible"))
        })
}

fn routes(
    ask: Arc<dyn Ask>,
    objects: Arc<dyn Objects>,
    pings: Arc<dyn Pings>,
    auth: Auth,
    twilio: Twilio,
    config: Config,
) -> Routes {
    const CHAT: &str = "/v1/chats/{token}";
    const MEMBER: &str = "/v1/chats/{token}/members/{id}";
    const MESSAGES: &str = "/v1/chats/{token}/messages";
    const MESSAGE: &str = "/v1/chats/{token}/messages/{id}";
    const TWILIO: &str = "/v1/twilio/{*path}";
    const COLLECTION: &str = "/v1/archive/{collection}";
    const OBJECT: &str = "/v1/archive/{collection}/{*key}";
    let edge =
        Arc::new(Edge { ask, objects, pings, auth, twilio, config, placed: Placed::default() });
    Routes { edge, router: Router::new(), listed: Vec::new() }
        .on(MethodFilter::POST, "/v1/chats", "create", chats::create)
        .on(MethodFilter::GET, CHAT, "show", chats::show)
        .on(MethodFilter::POST, "/v1/chats/{token}/end", "end", chats::end)
        .on(MethodFilter::GET, "/v1/chats/{token}/owners", "owners", chats::owners)
        .on(MethodFilter::PUT, MEMBER, "join", members::join)
        .on(MethodFilter::DELETE, MEMBER, "leave", members::leave)
        .on(MethodFilter::POST, MESSAGES, "send", messages::send)
        .on(MethodFilter::GET, MESSAGES, "read", messages::read)
        .on(MethodFilter::DELETE, MESSAGE, "redact", redacting::redact)
        .on(MethodFilter::POST, "/v1/chats/{token}/typing", "typing", signs::typing)
        .on(MethodFilter::POST, "/v1/chats/{token}/read", "mark", signs::read)
        .on(MethodFilter::GET, "/v1/chats/{token}/events", "events", events::events)
        .on(MethodFilter::GET, "/v1/ws", "socket", socket::socket)
        .on(MethodFilter::GET, TWILIO, "twilio", twilio::get)
        .on(MethodFilter::POST, TWILIO, "twilio", twilio::post)
        .on(MethodFilter::PUT, COLLECTION, "archive create", archive::create)
        .on(MethodFilter::GET, COLLECTION, "archive list", archive::list)
        .on(MethodFilter::PUT, OBJECT, "archive put", archive::put)
        .on(MethodFilter::GET, OBJECT, "archive get", archive::get)
        .on(MethodFilter::HEAD, OBJECT, "archive head", archive::head)
        .on(MethodFilter::DELETE, OBJECT, "archive delete", archive::delete)
        .on(MethodFilter::POST, OBJECT, "archive act", archive::act)
        .on(MethodFilter::GET, "/v1/ring", "ring", ring::ring)
        .on(MethodFilter::POST, "/v1/services/{name}/ping", "ping", services::ping)
        .on(MethodFilter::GET, "/healthz", "healthz", health::healthz)
        .on(MethodFilter::GET, "/readyz", "readyz", health::readyz)
        .on(MethodFilter::GET, "/metrics", "metrics", health::metrics)
        .on(MethodFilter::GET, "/openapi.json", "openapi", document::serve)
        .on(MethodFilter::GET, "/", "page", page::page)
        .on(MethodFilter::GET, "/page/{file}", "page", page::file)
}

impl Routes {
    fn on<G, F, A>(
        mut self,
        method: MethodFilter,
        path: &'static str,
        name: &'static str,
        endpoint: F,
    ) -> Self
    where
        G: Grant,
        F: Fn(Asked<G>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answered> + Send + 'static,
    {
        let edge = Arc::clone(&self.edge);
        let counters = Arc::new(EndpointCounters::new(name));
        let answer = move |request: Request| {
            let (edge, counters, endpoint) =
                (Arc::clone(&edge), Arc::clone(&counters), endpoint.clone());
            let id = request.headers().get(request_id::REQUEST_ID).cloned();
            async move {
                let began = runtime::now();
                let told = |problem: Problem| {
                    let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("none");
                    told::tell(name, &problem, id);
                    problem.into_response(id)
                };
                let response = match Asked::<G>::admit(Arc::clone(&edge), request).await {
                    Ok(asked) => {
                        let chat = asked.about();
                        let mut response = endpoint(asked).await.unwrap_or_else(told);
                        // Where a chat is told only to those who may know of it.
                        if G::SCOPE.is_some() {
                            edge.placed.tell(&*edge.ask, chat, response.headers_mut());
                        }
                        response
                    }
                    Err(problem) => told(problem),
                };
                counters.count(response.status(), runtime::now().duration_since(began));
                response
            }
        };
        self.router = self.router.route(path, on(method, answer));
        self.listed.push((method, path, G::SCOPE));
        self
    }
}

fn refuse(request: &Request, problem: Problem) -> Response {
    let id = request_id::of(request.headers());
    told::tell("none", &problem, id);
    problem.into_response(id)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, shape: &impl Serialize) -> Answered {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    // Room for the answer to a send, which is by far the most frequent one.
    let mut body = Vec::with_capacity(1024);
    if let Err(error) = serde_json::to_writer(&mut body, shape) {
        return Err(Problem::new(Code::Internal, format!("writing the answer: {error}")));
    }
    let mut response = (status, Bytes::from(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The chats answered another question than the one they were asked.
pub(crate) fn mismatch() -> Problem {
    Problem::new(Code::Internal, "an answer to another question")
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use ::archive::{
        Body, CollectionName, Delete, Found, List, Listing, Name, Put, Stored, UnifiedId,
        Versioning,
    };
    use chat::{CallContext, Code, Readiness, Refusal, Request, RingView};
    use hashring::NodeId;
    use model::ChatToken;
    use runtime::Instant;

    use crate::{Ask, Asking, Objects, Pieces, Telling};

    /// Answers nothing.
    pub(crate) struct Nobody;

    impl Ask for Nobody {
        fn call(&self, _request: Request, _context: CallContext) -> Asking<'_> {
            Box::pin(async { Err(Refusal::new(Code::NotReady, "nobody is here")) })
        }

        fn ring(&self) -> Arc<RingView> {
            Arc::default()
        }

        fn led_elsewhere(&self, _chat: ChatToken) -> Option<NodeId> {
            None
        }

        fn readiness(&self) -> Readiness {
            Readiness::default()
        }

        fn drain(&self) {}
    }

    /// Keeps nothing.
    pub(crate) struct Nothing;

    fn nothing<'a, T: 'a>() -> Telling<'a, T> {
        Box::pin(async {
            Err(::archive::Refusal::new(::archive::Code::NotReady, "nobody is here"))
        })
    }

    impl Objects for Nothing {
        fn create(
            &self,
            _name: CollectionName,
            _versioning: Versioning,
            _until: Instant,
        ) -> Telling<'_, bool> {
            nothing()
        }

        fn list(&self, _list: List, _until: Instant) -> Telling<'_, Listing> {
            nothing()
        }

        fn find(
            &self,
            _name: Name,
            _version: Option<UnifiedId>,
            _until: Instant,
        ) -> Telling<'_, Found> {
            nothing()
        }

        fn read(
            &self,
            _name: &Name,
            _found: Found,
            _range: Range<u64>,
        ) -> Result<Box<dyn Pieces>, ::archive::Refusal> {
            Err(::archive::Refusal::new(::archive::Code::NotReady, "nobody is here"))
        }

        fn put<'a>(&'a self, _put: Put, _body: &'a mut dyn Body) -> Telling<'a, Stored> {
            nothing()
        }

        fn delete(&self, _delete: Delete, _until: Instant) -> Telling<'_, UnifiedId> {
            nothing()
        }

        fn start(
            &self,
            _name: Name,
            _repeat: Option<String>,
            _until: Instant,
        ) -> Telling<'_, UnifiedId> {
            nothing()
        }

        fn finish(&self, _name: Name, _version: UnifiedId, _until: Instant) -> Telling<'_, ()> {
            nothing()
        }

        fn abort(&self, _name: Name, _version: UnifiedId, _until: Instant) -> Telling<'_, ()> {
            nothing()
        }
    }
}
