//! The OpenAPI document, made from the endpoints and the shapes themselves.

use std::sync::OnceLock;

use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    Answered, archive, chats, events, health, members, messages, page, redacting, ring, services,
    signs, socket, twilio,
};
use crate::asked::Asked;
use crate::auth::Public;

/// Every endpoint. A test holds this list to the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carillon",
        description = "Durable, replicated chat. Every answer carries `Carillon-Request-Id`; times are \
                       Unix milliseconds; cursors are opaque and only equality means something. Any node \
                       answers for any chat: `Carillon-Primary` names the node that leads the chat when \
                       that is another one, `Carillon-Ring` the version of the ring that the answering \
                       node knows, which rises when nodes come or go.",
    ),
    paths(
        chats::create, chats::show, chats::end, chats::owners,
        members::join, members::leave,
        messages::send, messages::read, redacting::redact, signs::typing, signs::read, events::events, socket::socket,
        twilio::get, twilio::post,
        archive::create, archive::list,
        archive::put, archive::get, archive::head, archive::delete, archive::act,
        ring::ring, services::ping,
        health::healthz, health::readyz, health::metrics,
        serve, page::page, page::file,
    ),
    modifiers(&Token),
    tags(
        (name = "chats", description = "Conversations"),
        (name = "members", description = "Who is in one"),
        (name = "messages", description = "What is said"),
        (name = "telephones", description = "Calls and texts, by Twilio"),
        (name = "archive", description = "What outlives a chat, and anything else: objects under keys, in collections"),
        (name = "services", description = "Programs that are told what is said"),
        (name = "cluster", description = "Who holds what"),
        (name = "watching", description = "For those who watch a node"),
        (name = "page", description = "For people"),
    ),
)]
struct Document;

/// How a request proves who asks, where a node wants that. What each endpoint takes is named with it.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "A token signed with EdDSA or ES256. Claims: `sub` is who asks, `aud` the node's audience, \
                 `exp` at most an hour ahead, `scope` words among `send`, `read`, `service`, `admin`, \
                 `chats` a list of chat tokens or `*`. A node whose authentication is open takes none.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document, as JSON.
pub fn openapi() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    DOCUMENT
        .get_or_init(|| {
            let document = Document::openapi();
            Bytes::from(serde_json::to_vec_pretty(&document).unwrap_or_default())
        })
        .clone()
}

#[utoipa::path(
    get, path = "/openapi.json", tag = "watching",
    security(()),
    responses((status = 200, description = "This document", body = Object)),
)]
/// This document.
pub(super) async fn serve(_asked: Asked<Public>) -> Answered {
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json)], openapi()).into_response())
}

#[cfg(test)]
mod tests {
    use super::openapi;
    use crate::auth::Scope;
    use crate::endpoints::routes;
    use crate::endpoints::tests::{Nobody, Nothing};
    use crate::pings::NoServices;
    use crate::{Auth, Config, Twilio};
    use axum::routing::MethodFilter;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[test]
    fn every_route_is_documented_with_what_it_takes_and_every_documented_route_exists() {
        let name = |filter: MethodFilter| match filter {
            MethodFilter::GET => "get",
            MethodFilter::PUT => "put",
            MethodFilter::POST => "post",
            MethodFilter::DELETE => "delete",
            MethodFilter::HEAD => "head",
            other => panic!("a method nobody uses: {other:?}"),
        };
        let routes = routes(
            Arc::new(Nobody),
            Arc::new(Nothing),
            Arc::new(NoServices),
            Auth::open(),
            Twilio::off(),
            Config::default(),
        );
        let exist: BTreeMap<(String, String), Option<&str>> = routes
            .listed
            .into_iter()
            .map(|(method, path, scope)| {
                // The document knows no paths with slashes in a part.
                ((path.replace("{*", "{"), name(method).to_owned()), scope.map(Scope::name))
            })
            .collect();
        let document: serde_json::Value = serde_json::from_slice(&openapi()).unwrap();
        let documented: BTreeMap<(String, String), Option<&str>> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().iter();
                methods.map(|(method, operation)| {
                    let scope = operation["security"][0]["token"][0].as_str();
                    ((path.clone(), method.clone()), scope)
                })
            })
            .collect();
        assert_eq!(exist, documented);
    }

    #[test]
    fn every_shape_that_is_referred_to_is_described() {
        let document: serde_json::Value = serde_json::from_slice(&openapi()).unwrap();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let referred = text.split("#/components/schemas/").skip(1);
        for name in referred.map(|rest| rest.split('"').next().unwrap()) {
            assert!(schemas.contains_key(name), "{name} is not described");
        }
        assert!(schemas.contains_key("Message") && schemas.contains_key("Problem"));
        let inner = schemas.keys().find(|name| name.contains("Map") || name.contains("Shape"));
        assert_eq!(inner, None, "the name of one of our types");
    }
}
