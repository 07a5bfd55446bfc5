//! What a token says, once its signature was found good.
//!
//! | claim | | |
//! |---|---|---|
//! | `sub` | required | who asks: the sender, the reader, the member |
//! | `aud` | required | the configured audience, alone or in a list |
//! | `exp` | required | when it ends: at most an hour from now, and from `iat` if that is there |
//! | `iss` | if configured | the configured issuer |
//! | `nbf`, `iat` | optional | not in the future |
//! | `scope` | | words between spaces: `send`, `read`, `admin`, `service`; others mean nothing here |
//! | `chats` | | a list of chat tokens, or `"*"` for all of them |
//!
//! Without `scope` or `chats` a token is valid and allows nothing. Clocks may differ by [`LEEWAY_S`].

use model::ChatToken;
use serde::Deserialize;
use serde_json::Number;
use sha2::{Digest, Sha256};

use super::reason::Reason;
use crate::check;
use crate::json::is_object;

/// By how many seconds the clocks of those who sign and those who check may differ.
pub(super) const LEEWAY_S: u64 = 30;
/// How many seconds a token may live.
pub(super) const LIFE_S_MAX: u64 = 3600;
/// Chats in one token.
pub(super) const CHATS_MAX: usize = 128;

/// What a token can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Create chats, join, leave and end them, send to them.
    Send,
    /// Show chats, read them, see who holds them and the ring.
    Read,
    /// For application services: say that they are there.
    Service,
    /// Let others join and leave, see what the node has counted.
    Admin,
}

/// What every token must say.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) audience: String,
    /// Empty: anybody.
    pub(super) issuer: String,
}

/// Somebody with a valid token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) subject: String,
    /// Another for everybody else, on every node the same: readers who wait are told apart by it, and it is made once for
    /// as long as the token is remembered.
    number: u64,
    scopes: u8,
    chats: Chats,
    /// From when on it is no longer valid, in Unix seconds, leeway included.
    ends_s: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Chats {
    All,
    /// In order.
    These(Box<[ChatToken]>),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: OneOrMany,
    exp: Number,
    nbf: Option<Number>,
    iat: Option<Number>,
    iss: Option<String>,
    scope: Option<String>,
    chats: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Scope {
    pub(super) const ALL: [Self; 4] = [Self::Send, Self::Read, Self::Service, Self::Admin];

    /// As tokens and the document name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Send => 1,
            Self::Read => 2,
            Self::Service => 4,
            Self::Admin => 8,
        }
    }
}

impl Identity {
    /// Reads the claims of a token that was signed as it should be.
    pub(super) fn read(payload: &[u8], expected: &Expected, now_s: u64) -> Result<Self, Reason> {
        // Serde reads a struct from an array too; that is no token of anybody's.
        if !is_object(payload) {
            return Err(Reason::Claim);
        }
        let claims: Claims = serde_json::from_slice(payload).map_err(|_no_claims| Reason::Claim)?;
        let ends_s = ends(&claims, now_s)?;
        let is_for_us = match &claims.aud {
            OneOrMany::One(audience) => *audience == expected.audience,
            OneOrMany::Many(audiences) => audiences.contains(&expected.audience),
        };
        if !is_for_us {
            return Err(Reason::Audience);
        }
        if !expected.issuer.is_empty() && claims.iss.as_deref() != Some(expected.issuer.as_str()) {
            return Err(Reason::Issuer);
        }
        check::name("sub", &claims.sub).map_err(|_no_name| Reason::Claim)?;
        let words = claims.scope.as_deref().unwrap_or_default().split(' ');
        let known = words.filter_map(|word| Scope::ALL.into_iter().find(|s| s.name() == word));
        let scopes = known.fold(0, |scopes, scope| scopes | scope.bit());
        let (number, chats) = (number(&claims.sub), Chats::read(claims.chats)?);
        Ok(Self { subject: claims.sub, number, scopes, chats, ends_s })
    }

    /// What tells who asks from everybody else.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether a token that was valid still is.
    pub(super) fn still_valid(&self, now_s: u64) -> Result<(), Reason> {
        if now_s < self.ends_s { Ok(()) } else { Err(Reason::Expired) }
    }

    /// Whether it has the scope.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }

    /// Whether it is for this chat.
    pub(super) fn reaches(&self, chat: ChatToken) -> bool {
        match &self.chats {
            Chats::All => true,
            Chats::These(chats) => chats.binary_search(&chat).is_ok(),
        }
    }

    /// Whether it is for every chat, also for those that do not exist yet.
    pub(super) fn reaches_all(&self) -> bool {
        self.chats == Chats::All
    }
}

impl Chats {
    fn read(claim: Option<OneOrMany>) -> Result<Self, Reason> {
        match claim {
            None => Ok(Self::These(Box::default())),
            Some(OneOrMany::One(all)) if all == "*" => Ok(Self::All),
            Some(OneOrMany::Many(chats)) if chats.len() <= CHATS_MAX => {
                let chats = chats.iter().map(|chat| chat.parse::<ChatToken>());
                let mut chats: Vec<_> =
                    chats.collect::<Result<_, _>>().map_err(|_no_token| Reason::Claim)?;
                chats.sort_unstable();
                Ok(Self::These(chats.into()))
            }
            Some(OneOrMany::One(_) | OneOrMany::Many(_)) => Err(Reason::Claim),
        }
    }
}

/// The beginning of its hash; 0 is nobody in particular.
fn number(subject: &str) -> u64 {
    let digest = Sha256::digest(subject);
    let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    number.max(1)
}

/// When it ends, if it has begun and its times make sense.
fn ends(claims: &Claims, now_s: u64) -> Result<u64, Reason> {
    let exp = seconds(&claims.exp)?;
    if now_s >= exp.saturating_add(LEEWAY_S) {
        return Err(Reason::Expired);
    }
    let begins = [&claims.nbf, &claims.iat];
    for begins in begins.into_iter().flatten() {
        if seconds(begins)? > now_s.saturating_add(LEEWAY_S) {
            return Err(Reason::NotYet);
        }
    }
    let issued = claims.iat.as_ref().map(seconds).transpose()?;
    let too_long = |since: u64, leeway: u64| exp > since.saturating_add(LIFE_S_MAX + leeway);
    if too_long(now_s, LEEWAY_S) || issued.is_some_and(|issued| too_long(issued, 0)) {
        return Err(Reason::TooLong);
    }
    Ok(exp.saturating_add(LEEWAY_S))
}

/// Unix seconds, whole or not.
fn seconds(number: &Number) -> Result<u64, Reason> {
    if let Some(whole) = number.as_u64() {
        return Ok(whole);
    }
    let seconds = number.as_f64().and_then(|seconds| {
        std::time::Duration::try_from_secs_f64(seconds).ok().map(|since| since.as_secs())
    });
    seconds.ok_or(Reason::Claim)
}

#[cfg(test)]
mod tests {
    use super::{CHATS_MAX, Expected, Identity, LEEWAY_S, LIFE_S_MAX, Reason, Scope};
    use model::ChatToken;
    use serde_json::{Value, json};

    const NOW: u64 = 1_700_000_000;
    const CHAT: ChatToken = ChatToken([7; 16]);

    /// A good token's claims, changed.
    fn read(change: Value) -> Result<Identity, Reason> {
        read_at(change, NOW)
    }

    fn read_at(change: Value, now_s: u64) -> Result<Identity, Reason> {
        let mut claims = json!({
            "sub": "alice", "aud": "carillon", "iss": "us", "exp": NOW + 600,
            "scope": "send read", "chats": [CHAT.to_string()],
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
                value => claims[name] = value.clone(),
            }
        }
        let expected = Expected { audience: "carillon".to_owned(), issuer: "us".to_owned() };
        Identity::read(claims.to_string().as_bytes(), &expected, now_s)
    }

    #[test]
    fn a_token_allows_what_it_says_and_nothing_else() {
        let identity = read(json!({})).unwrap();
        assert_eq!(identity.subject, "alice");
        assert!(identity.may(Scope::Send) && identity.may(Scope::Read));
        assert!(!identity.may(Scope::Admin) && !identity.may(Scope::Service));
        assert!(identity.reaches(CHAT) && !identity.reaches(ChatToken([8; 16])));
        assert!(!identity.reaches_all());
        let all = read(json!({"chats": "*", "scope": "admin other sender"})).unwrap();
        assert!(all.reaches_all() && all.reaches(CHAT));
        assert!(all.may(Scope::Admin) && !all.may(Scope::Send));
        let nothing = read(json!({"chats": null, "scope": null})).unwrap();
        assert!(!nothing.reaches(CHAT) && !nothing.may(Scope::Read));
    }

    #[test]
    fn a_token_has_an_hour_at_most_and_half_a_minute_of_leeway() {
        for (change, reason) in [
            (json!({"exp": NOW - LEEWAY_S}), Some(Reason::Expired)),
            (json!({"exp": NOW - LEEWAY_S + 1}), None),
            (json!({"exp": NOW + LIFE_S_MAX + LEEWAY_S}), None),
            (json!({"exp": NOW + LIFE_S_MAX + LEEWAY_S + 1}), Some(Reason::TooLong)),
            (json!({"exp": u64::MAX}), Some(Reason::TooLong)),
            (json!({"exp": NOW + 600, "iat": NOW + 600 - LIFE_S_MAX}), None),
            (json!({"exp": NOW + 600, "iat": NOW + 599 - LIFE_S_MAX}), Some(Reason::TooLong)),
            (json!({"iat": NOW + LEEWAY_S}), None),
            (json!({"iat": NOW + LEEWAY_S + 1}), Some(Reason::NotYet)),
            (json!({"nbf": NOW + LEEWAY_S + 1}), Some(Reason::NotYet)),
            (json!({"nbf": NOW + LEEWAY_S}), None),
            (json!({"exp": 1_700_000_600.5}), None),
            (json!({"exp": -1}), Some(Reason::Claim)),
            (json!({"exp": "1700000600"}), Some(Reason::Claim)),
            (json!({"exp": null}), Some(Reason::Claim)),
        ] {
            assert_eq!(read(change.clone()).err(), reason, "{change}");
        }
        let identity = read(json!({})).unwrap();
        assert_eq!(identity.still_valid(NOW + 600 + LEEWAY_S - 1), Ok(()));
        assert_eq!(identity.still_valid(NOW + 600 + LEEWAY_S), Err(Reason::Expired));
    }

    #[test]
    fn a_token_for_others_or_of_others_is_none() {
        for (change, reason) in [
            (json!({"aud": "other"}), Some(Reason::Audience)),
            (json!({"aud": ["other"]}), Some(Reason::Audience)),
            (json!({"aud": []}), Some(Reason::Audience)),
            (json!({"aud": ["other", "carillon"]}), None),
            (json!({"aud": null}), Some(Reason::Claim)),
            (json!({"iss": "them"}), Some(Reason::Issuer)),
            (json!({"iss": null}), Some(Reason::Issuer)),
            (json!({"iss": ["us"]}), Some(Reason::Claim)),
        ] {
            assert_eq!(read(change.clone()).err(), reason, "{change}");
        }
    }

    #[test]
    fn a_claim_that_makes_no_sense_spoils_the_token() {
        let many: Vec<String> = (0..=CHATS_MAX).map(|n| format!("{n:032x}")).collect();
        for change in [
            json!({"sub": ""}),
            json!({"sub": "a\nb"}),
            json!({"sub": null}),
            json!({"sub": "x".repeat(129)}),
            json!({"scope": ["send"]}),
            json!({"chats": "all"}),
            json!({"chats": ["*"]}),
            json!({"chats": ["0123"]}),
            json!({"chats": CHAT.to_string()}),
            json!({"chats": many}),
        ] {
            assert_eq!(read(change.clone()).err(), Some(Reason::Claim), "{change}");
        }
        let expected = Expected { audience: "a".to_owned(), issuer: String::new() };
        let array = r#"["alice", "a", 1700000600, null, null, null, null, "*"]"#;
        for payload in ["", "[]", "null", array, r#"{"sub":"a","sub":"b"}"#] {
            assert!(Identity::read(payload.as_bytes(), &expected, NOW).is_err(), "{payload}");
        }
    }
}
