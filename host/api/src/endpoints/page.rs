//! The chat page: static files in the binary.
//!
//! It may load nothing from elsewhere and run nothing that is written into it, so that a message can
//! only ever be text.

use axum::response::IntoResponse;
use chat::Code;
use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::Answered;
use crate::asked::Asked;
use crate::auth::Public;
use crate::problem::{Problem, ProblemShape};

const PAGE: &str = include_str!("../web/index.html");
const SCRIPT: &str = include_str!("../web/chat.js");
const ASKING: &str = include_str!("../web/asking.js");
const READING: &str = include_str!("../web/reading.js");
const STYLE: &str = include_str!("../web/chat.css");
const ICON: &str = include_str!("../web/icon.svg");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page may do: use its own files, and talk to the node that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[utoipa::path(
    get, path = "/", tag = "page",
    security(()),
    params(
        ("chat" = Option<String>, Query, description = "The chat to open"),
        ("as" = Option<String>, Query, description = "As whom"),
    ),
    responses((status = 200, description = "The chat page", body = String,
               content_type = "text/html")),
)]
/// The chat page.
pub(super) async fn page(_asked: Asked<Public>) -> Answered {
    Ok((headers("text/html; charset=utf-8"), PAGE).into_response())
}

#[utoipa::path(
    get, path = "/page/{file}", tag = "page",
    security(()),
    params(("file" = String, Path, description = "`chat.js`, `asking.js`, `reading.js`, `chat.css` or `icon.svg`")),
    responses(
        (status = 200, description = "A part of the chat page", body = String),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// A part of the chat page.
pub(super) async fn file(asked: Asked<Public>) -> Answered {
    let (kind, text) = match asked.file() {
        Some("chat.js") => (JAVASCRIPT, SCRIPT),
        Some("asking.js") => (JAVASCRIPT, ASKING),
        Some("reading.js") => (JAVASCRIPT, READING),
        Some("chat.css") => ("text/css; charset=utf-8", STYLE),
        Some("icon.svg") => ("image/svg+xml", ICON),
        _ => return Err(Problem::new(Code::NotFound, "nothing is at this path")),
    };
    Ok((headers(kind), text).into_response())
}

fn headers(kind: &'static str) -> HeaderMap {
    [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A chat's token is in the page's address, and whoever has the token is in.
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect()
}
