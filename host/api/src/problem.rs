//! What an error looks like to a client: `application/problem+json`.
//!
//! One table gives each code its number and title. `code` is the stable part, `detail` is for people.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chat::{Code, Refusal, RequestOutcome};
use hyper::StatusCode;
use hyper::header::{
    CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::beside::{Beside, translate};
use crate::shape::ArchiveShape;

/// The media type of every error.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error, on its way out.
#[derive(Debug)]
pub(crate) struct Problem {
    refusal: Box<Refusal>,
    /// Of the archive, if it is none of the chats'.
    beside: Option<Beside>,
    hang_up: bool,
    /// How many bytes there are, where a range of them was wanted.
    whole: Option<u64>,
}

/// The JSON of an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemShape<'a> {
    /// Names the kind of problem; the same for the same `code`.
    r#type: String,
    /// The code in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable name of the problem.
    code: &'static str,
    /// What was wrong this time; names the field if there is one.
    detail: &'a str,
    /// Whether the same request may succeed later, or at another node.
    retryable: bool,
    /// The request, in log lines too.
    request_id: &'a str,
    /// `not-committed`: it had no effect and never will. `unknown`: it may have one; the same key makes a
    /// retry safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    outcome: Option<RequestOutcome>,
    /// The id of the message that was refused. Nobody can read it; operators can ask by it why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The handler that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    /// The handler's reason, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<&'a str>,
    /// The handler's reason, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// When it makes sense to try again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    /// What the chat is archived as that is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ArchiveShape>,
}

impl Problem {
    /// A problem that its code and some words tell fully.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal::new(code, detail).into()
    }

    /// The request makes no sense.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// The rest of the request is not wanted: the connection ends with the answer.
    #[must_use]
    pub(crate) fn and_hang_up(mut self) -> Self {
        self.hang_up = true;
        self
    }

    /// A range of so many bytes begins behind the last.
    #[must_use]
    pub(crate) fn of_bytes(mut self, whole: u64) -> Self {
        self.whole = Some(whole);
        self
    }

    /// Its kind. What only the archive says counts as the nearest of the chats' own.
    pub(crate) fn code(&self) -> Code {
        self.refusal.code
    }

    /// Its stable name.
    pub(crate) fn name(&self) -> &'static str {
        self.beside.map_or_else(|| self.refusal.code.name(), Beside::name)
    }

    /// HTTP's number for it.
    pub(crate) fn status(&self) -> StatusCode {
        self.beside.map_or_else(|| status(self.refusal.code), Beside::status)
    }

    /// Whether the same may go better later.
    pub(crate) fn is_retryable(&self) -> bool {
        self.refusal.retryable
    }

    /// What was wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.refusal.detail
    }

    /// Its JSON.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let refusal = &*self.refusal;
        let shape = ProblemShape {
            r#type: format!("urn:carillon:problem:{}", self.name()),
            title: self.beside.map_or_else(|| title(refusal.code), Beside::title),
            status: self.status().as_u16(),
            code: self.name(),
            detail: &refusal.detail,
            retryable: refusal.retryable,
            request_id,
            outcome: refusal.outcome,
            message: refusal.message.as_ref().map(ToString::to_string),
            plugin: refusal.plugin.as_deref(),
            reason_code: refusal.reason_code.as_deref(),
            reason: refusal.reason.as_deref(),
            retry_after_ms: refusal.retry_after_ms,
            archive: refusal.archive.as_ref().map(|chat| ArchiveShape::new(**chat, None)),
        };
        serde_json::to_vec(&shape).unwrap_or_default()
    }

    /// The answer.
    pub(crate) fn into_response(self, request_id: &str) -> Response {
        let body = Bytes::from(self.body(request_id));
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(whole) = self.whole
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{whole}"))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        if self.refusal.code == Code::Unauthenticated {
            // No more than that: what is wrong with a token is nothing for those who guess.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.hang_up {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// What `Retry-After` says: what the refusal knows, rounded up; a second where waiting helps and
    /// nothing is known.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        if let Some(ms) = self.refusal.retry_after_ms {
            return Some(ms.div_ceil(1000));
        }
        let waiting_helps = matches!(
            self.refusal.code,
            Code::RateLimited | Code::NoQuorum | Code::NotReady | Code::Behind | Code::Overloaded
        );
        (waiting_helps && self.beside.is_none()).then_some(1)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self { refusal: Box::new(refusal), beside: None, hang_up: false, whole: None }
    }
}

impl From<archive::Refusal> for Problem {
    fn from(refusal: archive::Refusal) -> Self {
        let (refusal, beside) = translate(refusal);
        Self { beside, ..refusal.into() }
    }
}

/// HTTP's number for a code.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest => StatusCode::BAD_REQUEST,
        Code::UnknownChat | Code::UnknownMessage | Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::Timeout => StatusCode::REQUEST_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::IdempotencyConflict
        | Code::ChatEnded
        | Code::ChatFull
        | Code::IllegalTransition
        | Code::Needed
        | Code::PluginConflict => StatusCode::CONFLICT,
        Code::LengthRequired => StatusCode::LENGTH_REQUIRED,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::Rejected | Code::PluginUnusable => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::NoQuorum | Code::PluginFailed | Code::NotReady | Code::Behind | Code::Overloaded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// A code in words.
const fn title(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => "The request makes no sense",
        Code::UnknownChat => "There is no such chat",
        Code::UnknownMessage => "There is no such message",
        Code::NotFound => "Nothing is here",
        Code::Unauthenticated => "Who asks is not known",
        Code::Forbidden => "Not allowed",
        Code::MethodNotAllowed => "Not with this method",
        Code::Timeout => "It took too long",
        Code::Internal => "A fault of this server",
        Code::IdempotencyConflict => "The key was used for something else",
        Code::ChatEnded => "The chat is over",
        Code::ChatFull => "No more may join",
        Code::IllegalTransition => "The chat cannot go there from where it is",
        Code::Needed => "The others cannot do without it",
        Code::LengthRequired => "The body must say how long it is",
        Code::TooLarge => "Too many bytes",
        Code::UnsupportedMediaType => "Not a media type that is read here",
        Code::HeadersTooLarge => "Too many headers, or too long ones",
        Code::Rejected => "A handler refused it",
        Code::RateLimited => "Too often",
        Code::NoQuorum => "Too few nodes can answer",
        Code::PluginFailed => "A handler broke",
        Code::NotReady | Code::Behind => "This node is not ready for it",
        Code::Overloaded => "Too much at once",
        Code::StorageFull => "No room on the disk",
        Code::PluginUnusable => "The plugin cannot become live",
        Code::PluginConflict => "Somebody else changes the plugins",
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;
    use chat::{Code, Refusal, RequestOutcome};
    use serde_json::{Value, json};

    fn shown(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.body("r1")).unwrap()
    }

    #[test]
    fn a_plain_problem_has_its_seven_fields_and_no_more() {
        let shown = shown(&Problem::new(Code::UnknownChat, "no chat has this token"));
        let expected = json!({
            "type": "urn:carillon:problem:unknown-chat", "title": "There is no such chat",
            "status": 404, "code": "unknown-chat", "detail": "no chat has this token",
            "retryable": false, "request_id": "r1",
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_forgotten_chat_says_where_it_is() {
        let mut refusal = Refusal::new(Code::UnknownChat, "forgotten");
        refusal.archive = Some(Box::new(model::ChatToken([1; 16])));
        let expected = json!({"collection": "chats", "key": "01010101010101010101010101010101"});
        assert_eq!(shown(&refusal.into())["archive"], expected);
    }

    #[test]
    fn a_handlers_no_names_the_handler_and_when_to_try_again() {
        let mut refusal = Refusal::rejected("moderation", "badword", "not that word", Some(1500));
        refusal.message = model::MessageId::parse("0123456789abcdef0123456789abcdef").map(Box::new);
        let problem = Problem::from(refusal);
        let shown = shown(&problem);
        assert_eq!(shown["message"], "0123456789abcdef0123456789abcdef");
        assert_eq!(shown["plugin"], "moderation");
        assert_eq!(shown["reason_code"], "badword");
        assert_eq!(shown["reason"], "not that word");
        assert_eq!(shown["retry_after_ms"], 1500);
        let response = problem.into_response("r1");
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn a_lost_quorum_says_what_may_have_happened_and_that_waiting_helps() {
        let refusal =
            Refusal::new(Code::NoQuorum, "1 of 2").with_outcome(RequestOutcome::NotCommitted);
        let problem = Problem::from(refusal);
        assert_eq!(shown(&problem)["outcome"], "not-committed");
        assert_eq!(problem.into_response("r1").headers()["retry-after"], "1");
    }
}
