//! What an endpoint needs, by type.
//!
//! An endpoint says with the type of its request what it needs of whoever asks: [`Public`], [`Within`] the
//! cluster, [`Creating`] a chat, [`InChat`], or one of the archive's ([`super::archived`]). It runs only after [`permit`] said yes, the chat is in what
//! it is given, and nothing else can be asked of the chats with it ([`Grant::covers`]). So an endpoint
//! without a check cannot be written, and one with the wrong check is stopped when it asks.
//!
//! The same decides who speaks: where authentication is open the request says so, elsewhere the token.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use chat::{Code, Request, SYSTEM};
use hyper::Uri;
use model::ChatToken;

use super::Auth;
use super::claims::{Identity, Scope};
use super::reason::Reason;
use crate::check;
use crate::problem::Problem;

/// Where a chat is in a path, between its slashes: `/v1/chats/{token}/…`.
const TOKEN_AT: usize = 3;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Somebody, where authentication is open.
    Open,
    /// Somebody with a valid token.
    Known(Arc<Identity>),
}

impl Caller {
    /// A number that is another for everybody else, on every node the same; `None` for somebody without a name.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Open => None,
            Self::Known(identity) => Some(identity.number()),
        }
    }
}

/// A request was not let through.
#[derive(Debug)]
pub(crate) enum Denied {
    /// For want of a token, or of what it allows.
    Refused(Reason),
    /// They may, and the path names no chat.
    NoChat,
}

/// What an endpoint needs, and once it is there the proof of it.
pub(crate) trait Grant: Debug + Send + Sized + 'static {
    /// The scope; nothing if anybody may.
    const SCOPE: Option<Scope>;

    /// Whether `caller` has it. `chat` is what the path names in a chat's place, if it has one.
    fn check(caller: Caller, chat: Option<&str>) -> Result<Self, Denied>;

    /// Whether `caller` has it for this request.
    fn admit(caller: Caller, uri: &Uri) -> Result<Self, Denied> {
        Self::check(caller, uri.path().split('/').nth(TOKEN_AT))
    }

    /// Whether the chats may be asked this.
    fn covers(&self, request: &Request) -> bool;

    /// The chat that it is about.
    fn about(&self) -> Option<ChatToken> {
        None
    }

    /// Who asks, where that matters.
    fn caller(&self) -> Option<&Caller> {
        None
    }
}

/// A scope, as a type.
pub(crate) trait Needs: Debug + Send + 'static {
    const SCOPE: Scope;
}

/// Needs [`Scope::Send`].
#[derive(Debug)]
pub(crate) struct Sends;

/// Needs [`Scope::Read`].
#[derive(Debug)]
pub(crate) struct Reads;

/// Needs [`Scope::Service`].
#[derive(Debug)]
pub(crate) struct Serves;

/// Needs [`Scope::Admin`].
#[derive(Debug)]
pub(crate) struct Operating;

/// Anybody may: it says nothing about chats, and nothing that helps to guess.
#[derive(Debug)]
pub(crate) struct Public(());

/// Somebody with a scope may: it is about no chat.
#[derive(Debug)]
pub(crate) struct Within<S>(PhantomData<S>);

/// A new chat. Whoever makes one must be able to use it, whatever its token will be: so it takes a token
/// for all chats.
#[derive(Debug)]
pub(crate) struct Creating(());

/// Something of no chat alone: it takes a token for all chats.
#[derive(Debug)]
pub(crate) struct Everywhere<S>(PhantomData<S>);

/// Something in one chat.
#[derive(Debug)]
pub(crate) struct InChat<S> {
    caller: Caller,
    chat: ChatToken,
    scope: PhantomData<S>,
}

impl Needs for Sends {
    const SCOPE: Scope = Scope::Send;
}

impl Needs for Reads {
    const SCOPE: Scope = Scope::Read;
}

impl Needs for Serves {
    const SCOPE: Scope = Scope::Service;
}

impl Needs for Operating {
    const SCOPE: Scope = Scope::Admin;
}

/// The one place where it is decided. `chats` is what it is about: nothing, one chat, or any.
pub(super) fn permit(caller: &Caller, scope: Scope, reach: Reach) -> Result<(), Reason> {
    let Caller::Known(identity) = caller else { return Ok(()) };
    // Nobody is the node itself, whoever signed that.
    if identity.subject == SYSTEM {
        return Err(Reason::Subject);
    }
    if !identity.may(scope) {
        return Err(Reason::Scope);
    }
    let reaches = match reach {
        Reach::None => true,
        Reach::All => identity.reaches_all(),
        Reach::One(chat) => identity.reaches(chat),
    };
    if reaches { Ok(()) } else { Err(Reason::Chat) }
}

/// Which chats something is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    None,
    All,
    One(ChatToken),
}

/// The scope that a request to the chats takes.
const fn scope_of(request: &Request) -> Scope {
    match request {
        Request::Create { .. }
        | Request::Send(_)
        | Request::Join { .. }
        | Request::Leave { .. }
        | Request::End { .. }
        | Request::Redact(_)
        | Request::Typing { .. } => Scope::Send,
        Request::Show { .. } | Request::Read(_) | Request::Owners { .. } | Request::Mark { .. } => {
            Scope::Read
        }
        // Who delivers calls asks the first within the node; Twilio shows a signature. No token is for either.
        Request::OutcallDone(_) | Request::Twilio(_) => Scope::Service,
    }
}

impl Grant for Public {
    const SCOPE: Option<Scope> = None;

    fn check(_caller: Caller, _chat: Option<&str>) -> Result<Self, Denied> {
        Ok(Self(()))
    }

    fn covers(&self, _request: &Request) -> bool {
        false
    }
}

impl<S: Needs> Grant for Within<S> {
    const SCOPE: Option<Scope> = Some(S::SCOPE);

    fn check(caller: Caller, _chat: Option<&str>) -> Result<Self, Denied> {
        permit(&caller, S::SCOPE, Reach::None)?;
        Ok(Self(PhantomData))
    }

    fn covers(&self, _request: &Request) -> bool {
        false
    }
}

impl Grant for Creating {
    const SCOPE: Option<Scope> = Some(Scope::Send);

    fn check(caller: Caller, _chat: Option<&str>) -> Result<Self, Denied> {
        permit(&caller, Scope::Send, Reach::All)?;
        Ok(Self(()))
    }

    fn covers(&self, request: &Request) -> bool {
        matches!(request, Request::Create { .. })
    }
}

impl<S: Needs> Grant for Everywhere<S> {
    const SCOPE: Option<Scope> = Some(S::SCOPE);

    fn check(caller: Caller, _chat: Option<&str>) -> Result<Self, Denied> {
        permit(&caller, S::SCOPE, Reach::All)?;
        Ok(Self(PhantomData))
    }

    fn covers(&self, _request: &Request) -> bool {
        false
    }
}

impl<S: Needs> Grant for InChat<S> {
    const SCOPE: Option<Scope> = Some(S::SCOPE);

    fn check(caller: Caller, chat: Option<&str>) -> Result<Self, Denied> {
        // Digits are digits: a token needs no decoding.
        let Some(chat) = chat.and_then(|chat| chat.parse().ok()) else {
            // What cannot be a token names no chat. To those who have not all chats it is like any other
            // that is not theirs.
            permit(&caller, S::SCOPE, Reach::All)?;
            return Err(Denied::NoChat);
        };
        permit(&caller, S::SCOPE, Reach::One(chat))?;
        Ok(Self { caller, chat, scope: PhantomData })
    }

    fn covers(&self, request: &Request) -> bool {
        request.token() == Some(self.chat) && scope_of(request) == S::SCOPE
    }

    fn about(&self) -> Option<ChatToken> {
        Some(self.chat)
    }

    fn caller(&self) -> Option<&Caller> {
        Some(&self.caller)
    }
}

impl<S: Needs> InChat<S> {
    /// The chat.
    pub(crate) fn chat(&self) -> ChatToken {
        self.chat
    }

    /// Whether the token that this was granted to is one still. To be asked by what goes on for long.
    pub(crate) fn still_valid(&self, auth: &Auth) -> Result<(), Problem> {
        auth.still_valid(&self.caller).map_err(|reason| {
            auth.count(reason);
            reason.problem()
        })
    }

    /// Who speaks, if somebody has to: `said` is what the request says in `field`.
    pub(crate) fn speaker(&self, field: &str, said: Option<String>) -> Result<String, Problem> {
        let missing = || Problem::invalid(format!("{field}: missing"));
        self.speaker_if_any(field, said)?.ok_or_else(missing)
    }

    /// Who speaks, if anybody does: where authentication is open what the request says, or nobody;
    /// elsewhere the token's subject, and the request must not say it.
    pub(crate) fn speaker_if_any(
        &self,
        field: &str,
        said: Option<String>,
    ) -> Result<Option<String>, Problem> {
        match (&self.caller, said) {
            (Caller::Open, None) => Ok(None),
            (Caller::Open, Some(said)) => {
                check::speaker(field, &said)?;
                Ok(Some(said))
            }
            (Caller::Known(identity), None) => Ok(Some(identity.subject.clone())),
            (Caller::Known(_), Some(_)) => {
                let rule = format!("{field}: leave it out; the token says who it is");
                Err(Problem::invalid(rule))
            }
        }
    }

    /// Whether whoever asks may do to anybody's messages what others may do to their own.
    pub(crate) fn may_with_any(&self) -> bool {
        match &self.caller {
            Caller::Open => true,
            Caller::Known(identity) => identity.may(Scope::Admin),
        }
    }

    /// Whether whoever asks may do this to `member`: to themselves, or to anybody with [`Scope::Admin`].
    pub(crate) fn may_move(&self, member: &str) -> Result<(), Reason> {
        match &self.caller {
            Caller::Known(identity)
                if identity.subject != member && !identity.may(Scope::Admin) =>
            {
                Err(Reason::Subject)
            }
            Caller::Open | Caller::Known(_) => Ok(()),
        }
    }
}

impl From<Reason> for Denied {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl Denied {
    /// As it is told.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Refused(reason) => reason.problem(),
            Self::NoChat => Problem::new(Code::UnknownChat, "no chat has this token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Caller, Creating, Denied, Grant, InChat, Operating, Public, Reads, Sends, Within};
    use crate::auth::claims::{Expected, Identity};
    use crate::auth::reason::Reason;
    use chat::Request;
    use model::ChatToken;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const CHAT: ChatToken = ChatToken([7; 16]);

    fn known(scope: &str, chats: Value) -> Caller {
        let claims =
            json!({"sub": "alice", "aud": "a", "exp": 600, "scope": scope, "chats": chats});
        let expected = Expected { audience: "a".to_owned(), issuer: String::new() };
        let identity = Identity::read(claims.to_string().as_bytes(), &expected, 0).unwrap();
        Caller::Known(Arc::new(identity))
    }

    fn denied<G: Grant>(caller: &Caller, chat: Option<&str>) -> Option<Reason> {
        match G::check(caller.clone(), chat) {
            Ok(_) => None,
            Err(Denied::Refused(reason)) => Some(reason),
            Err(Denied::NoChat) => panic!("there is no chat"),
        }
    }

    #[test]
    fn a_grant_takes_its_scope_and_its_chat() {
        let (chat, other) = (CHAT.to_string(), ChatToken([8; 16]).to_string());
        let (chat, other) = (Some(chat.as_str()), Some(other.as_str()));
        let sender = known("send", json!([CHAT.to_string()]));
        assert_eq!(denied::<InChat<Sends>>(&sender, chat), None);
        assert_eq!(denied::<InChat<Sends>>(&sender, other), Some(Reason::Chat));
        assert_eq!(denied::<InChat<Reads>>(&sender, chat), Some(Reason::Scope));
        assert_eq!(denied::<Creating>(&sender, None), Some(Reason::Chat));
        assert_eq!(denied::<Within<Reads>>(&sender, None), Some(Reason::Scope));
        assert_eq!(denied::<Within<Operating>>(&sender, None), Some(Reason::Scope));
        assert_eq!(denied::<Public>(&sender, None), None);
        let everywhere = known("send read admin", json!("*"));
        assert_eq!(denied::<Creating>(&everywhere, None), None);
        assert_eq!(denied::<InChat<Reads>>(&everywhere, other), None);
        assert_eq!(denied::<Within<Operating>>(&everywhere, None), None);
    }

    #[test]
    fn a_token_for_what_the_node_speaks_as_allows_nothing() {
        let claims = json!({"sub": "system", "aud": "a", "exp": 600, "scope": "send read admin", "chats": "*"});
        let expected = Expected { audience: "a".to_owned(), issuer: String::new() };
        let identity = Identity::read(claims.to_string().as_bytes(), &expected, 0).unwrap();
        let system = Caller::Known(Arc::new(identity));
        let chat = CHAT.to_string();
        assert_eq!(denied::<InChat<Sends>>(&system, Some(&chat)), Some(Reason::Subject));
        assert_eq!(denied::<InChat<Reads>>(&system, Some(&chat)), Some(Reason::Subject));
        assert_eq!(denied::<Creating>(&system, None), Some(Reason::Subject));
        let token = CHAT.to_string();
        let open = InChat::<Sends>::check(Caller::Open, Some(&token)).unwrap();
        assert!(open.speaker("sender", Some("system".to_owned())).is_err());
    }

    #[test]
    fn who_asks_has_a_number_that_their_next_token_has_too() {
        let alice = known("send", json!([CHAT.to_string()]));
        let again = known("read", json!("*"));
        assert_eq!(alice.number(), again.number());
        // The first eight bytes of the SHA-256 of `alice`: nodes of other versions count by it, too.
        assert_eq!(alice.number(), Some(0x2bd8_06c9_7f0e_00af));
        assert_eq!(Caller::Open.number(), None);
    }

    #[test]
    fn what_is_no_token_is_told_only_to_those_who_have_all_chats() {
        let here = known("read", json!([CHAT.to_string()]));
        assert_eq!(denied::<InChat<Reads>>(&here, Some("x")), Some(Reason::Chat));
        let everywhere = known("read", json!("*"));
        let answer = InChat::<Reads>::check(everywhere, Some("x"));
        assert!(matches!(answer, Err(Denied::NoChat)));
        assert!(matches!(InChat::<Reads>::check(Caller::Open, Some("x")), Err(Denied::NoChat)));
    }

    #[test]
    fn a_grant_covers_requests_of_its_chat_and_scope_and_no_others() {
        let token = CHAT.to_string();
        let reads = InChat::<Reads>::check(Caller::Open, Some(&token)).unwrap();
        assert!(reads.covers(&Request::Show { token: CHAT, confirmed: false }));
        assert!(!reads.covers(&Request::Show { token: ChatToken([8; 16]), confirmed: false }));
        assert!(!reads.covers(&Request::End { token: CHAT, sender: None }));
        let sends = InChat::<Sends>::check(Caller::Open, Some(&token)).unwrap();
        assert!(sends.covers(&Request::End { token: CHAT, sender: None }));
        assert!(!Public(()).covers(&Request::Owners { token: CHAT }));
    }

    #[test]
    fn who_speaks_is_said_once() {
        let token = CHAT.to_string();
        let open = InChat::<Sends>::check(Caller::Open, Some(&token)).unwrap();
        assert_eq!(open.speaker("sender", Some("bob".to_owned())).unwrap(), "bob");
        assert!(open.speaker("sender", None).is_err());
        assert_eq!(open.speaker_if_any("sender", None).unwrap(), None);
        let alice = known("send", json!([token]));
        let alice = InChat::<Sends>::check(alice, Some(&token)).unwrap();
        assert_eq!(alice.speaker("sender", None).unwrap(), "alice");
        assert!(alice.speaker("sender", Some("alice".to_owned())).is_err());
        assert_eq!(alice.may_move("alice"), Ok(()));
        assert_eq!(alice.may_move("bob"), Err(Reason::Subject));
        assert!(open.may_with_any() && !alice.may_with_any());
        let admin = known("send admin", json!([token]));
        let admin = InChat::<Sends>::check(admin, Some(&token)).unwrap();
        assert_eq!(admin.may_move("bob"), Ok(()));
        assert!(admin.may_with_any());
    }
}
