//! A request that Twilio signed, and what is asked of the chats for it.
//!
//! Nothing of a request is looked at further than its signature needs before that is known to be good. Every word
//! that goes on to a plugin was signed, but for Twilio's own key for a repeat.

use std::collections::BTreeMap;

use chat::{Request, Telephone, TwilioRequest};
use hyper::Uri;
use model::ChatToken;

use super::Telephones;
use super::form::{Fields, TooMany, members, pairs};
use super::signature::{Words, is_hash_of};
use crate::asked::unescape;
use crate::json::is_json;

/// Below this is what Twilio asks.
const BELOW: &str = "/v1/twilio/";
/// The chat, in the query.
const CHAT: &str = "chat_token";
/// The hash of a body that is no form, in the query.
const BODY_HASH: &str = "bodySHA256";

/// What a request brought.
#[derive(Debug)]
pub(crate) struct Brought<'a> {
    pub(crate) uri: &'a Uri,
    /// The one `X-Twilio-Signature`.
    pub(crate) signature: Option<&'a str>,
    /// Its `Content-Type`.
    pub(crate) media_type: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// Twilio's own key for a repeat.
    pub(crate) idempotency: Option<&'a str>,
}

/// A request that Twilio signed, about a chat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed(Telephone);

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// Twilio did not sign it, or not for here.
    Forged,
    /// Nobody answers this channel.
    Channel,
    /// It names no chat, or more than one.
    Chat,
    /// More fields than Twilio sends.
    Fields,
    /// A body that is neither a form nor JSON.
    MediaType,
    /// A signed body that is no JSON object.
    Json,
}

impl From<TooMany> for Unsigned {
    fn from(_too_many: TooMany) -> Self {
        Self::Fields
    }
}

impl Signed {
    /// Looks whether Twilio signed it, and only then what it says.
    pub(crate) fn look(telephones: &Telephones, brought: &Brought<'_>) -> Result<Self, Unsigned> {
        let query = pairs(brought.uri.query().unwrap_or_default().as_bytes())?;
        let body = Body::of(brought, &query)?;
        let target = brought.uri.path_and_query().map_or("/", |target| target.as_str());
        let nothing = Fields::default();
        let posted = match &body {
            Body::Form(fields) => fields,
            Body::Nothing | Body::Hashed => &nothing,
        };
        let words = Words { target, posted };
        let tokens = telephones.tokens.current();
        let signature = brought.signature.ok_or(Unsigned::Forged)?;
        if !words.are_signed(&telephones.addresses, &tokens, signature) {
            return Err(Unsigned::Forged);
        }
        let key = words.name(&telephones.addresses);
        let (plugin, channel, path) = channel(telephones, brought.uri.path())?;
        let token = the_one(&query, CHAT).and_then(|token| token.parse::<ChatToken>().ok());
        let token = token.ok_or(Unsigned::Chat)?;
        let params = params(&body, brought.body, query)?;
        let idempotency = brought.idempotency.map(str::to_owned);
        let request = request(channel, path, params, idempotency);
        Ok(Self(Telephone { token, plugin, key, request }))
    }

    /// What the chats are asked.
    pub(crate) fn into_request(self) -> Request {
        Request::Twilio(Box::new(self.0))
    }

    /// Whether it is about a call: what can be said to somebody.
    pub(crate) fn is_call(&self) -> bool {
        self.0.request.params.iter().any(|(name, _)| name == "CallSid")
    }

    /// The chat.
    pub(crate) fn chat(&self) -> ChatToken {
        self.0.token
    }
}

/// How a body is signed.
#[derive(Debug)]
enum Body {
    Nothing,
    Form(Fields),
    /// By its hash, which is right, in the query.
    Hashed,
}

impl Body {
    fn of(brought: &Brought<'_>, query: &[(String, String)]) -> Result<Self, Unsigned> {
        let body = brought.body;
        if query.iter().any(|(name, _)| name == BODY_HASH) {
            // Whatever it is: a hash that is signed must be that of what came.
            let hash = the_one(query, BODY_HASH).filter(|hash| is_hash_of(hash, body));
            return hash.map(|_right| Self::Hashed).ok_or(Unsigned::Forged);
        }
        match brought.media_type {
            _ if body.is_empty() => Ok(Self::Nothing),
            Some(form) if is_form(form) => Ok(Self::Form(Fields::posted(body)?)),
            // Nothing that was signed covers it.
            Some(json) if is_json(json) => Err(Unsigned::Forged),
            _ => Err(Unsigned::MediaType),
        }
    }
}

/// The plugin that answers, the channel, and what comes after that in the path.
fn channel(telephones: &Telephones, path: &str) -> Result<(String, String, String), Unsigned> {
    let below = path.strip_prefix(BELOW).ok_or(Unsigned::Channel)?;
    let (channel, rest) = below.split_once('/').unwrap_or((below, ""));
    let plugin = telephones.channels.get(channel).ok_or(Unsigned::Channel)?;
    let rest = unescape(rest).ok_or(Unsigned::Channel)?;
    Ok((plugin.clone(), channel.to_owned(), rest))
}

/// Everything that was said: what was posted, then the query. Where both say the same, Twilio's word is first.
fn params(
    body: &Body,
    bytes: &[u8],
    query: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, Unsigned> {
    let mut params = match body {
        Body::Nothing => Vec::new(),
        Body::Form(fields) => {
            fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }
        Body::Hashed if bytes.is_empty() => Vec::new(),
        Body::Hashed => members(bytes).ok_or(Unsigned::Json)?,
    };
    let ours = [CHAT, BODY_HASH];
    params.extend(query.into_iter().filter(|(name, _)| !ours.contains(&name.as_str())));
    Ok(params)
}

/// As a plugin is asked.
fn request(
    channel: String,
    path: String,
    params: Vec<(String, String)>,
    idempotency: Option<String>,
) -> TwilioRequest {
    let mut first = BTreeMap::new();
    for (name, value) in &params {
        first.entry(name.as_str()).or_insert(value.as_str());
    }
    let of = |names: &[&str]| {
        let found = names.iter().find_map(|name| first.get(name));
        found.copied().unwrap_or_default().to_owned()
    };
    let sid = of(&["CallSid", "MessageSid", "SmsSid", "ConferenceSid"]);
    let (caller, callee) = (of(&["From", "Caller"]), of(&["To", "Called"]));
    drop(first);
    TwilioRequest { channel, path, sid, caller, callee, params, idempotency }
}

/// The value of a field that is there once.
fn the_one<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// `application/x-www-form-urlencoded`, whatever comes after it.
fn is_form(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
