//! Who asks, and what they may do.
//!
//! Where authentication is open everybody says who they are and may do everything. Otherwise a request
//! brings a JSON web token: signed by a key of a small set in a file, in one of two algorithms, which the
//! *key* decides and never the token. Its claims name the subject, scopes and chats. One function
//! (`permit` in `grant.rs`) looks at all three, and an endpoint cannot be written without it: what it is given
//! is the grant, not the token in the path.
//!
//! Refusals tell an outsider nothing: every token that is not valid gets the same 401, everything that a
//! valid one does not cover the same 403, decided before any chat is looked at, so that a chat that
//! exists and one that does not cannot be told apart. Why it really was is counted, and never said.
//!
//! A request that another node runs for this one is not checked there again: the node that took it from
//! the client has checked it, and nodes know each other by their certificates.

mod archived;
mod cache;
mod claims;
mod compact;
mod file;
mod grant;
mod keys;
mod mint;
mod reason;
mod time;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use runtime::Tasks;

use cache::Cache;
use claims::{Expected, Identity};
use compact::Compact;
use file::KeyFile;
use reason::{Counters, Reason};
use time::Time;

pub(crate) use archived::InArchive;
pub(crate) use claims::Scope;
pub(crate) use grant::{
    Caller, Creating, Denied, Everywhere, Grant, InChat, Needs, Operating, Public, Reads, Sends,
    Serves, Within,
};
pub use keys::KeySetError;
pub use mint::{Chats, MintError, NewToken, SigningKey, SigningKeyError, add_to_key_set};

/// How the node tells who asks. Clones are the same.
#[derive(Clone, Debug)]
pub struct Auth(Option<Arc<Jwt>>);

/// What tokens must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The file of the keys that tokens are signed with: a JSON web key set of public halves.
    pub key_set: PathBuf,
    /// For whom a token must be: its `aud`, or one of them.
    pub audience: String,
    /// Whose a token must be: its `iss`. Empty: anybody's who has a key.
    pub issuer: String,
}

/// The checker of tokens.
#[derive(Debug)]
struct Jwt {
    file: KeyFile,
    expected: Expected,
    time: Time,
    counters: Counters,
}

impl Auth {
    /// Everybody says who they are.
    pub fn open() -> Self {
        Self(None)
    }

    /// Tokens like `config` says, with the keys that are in its file now. It blocks for as long as reading
    /// a small file takes.
    ///
    /// # Errors
    /// [`KeySetError`]: the file cannot be used, or nobody could be let in with it.
    pub fn jwt(config: &JwtConfig) -> Result<Self, KeySetError> {
        let file = KeyFile::open(&config.key_set)?;
        let expected =
            Expected { audience: config.audience.clone(), issuer: config.issuer.clone() };
        let (time, counters) = (Time::begin(), Counters::new());
        Ok(Self(Some(Arc::new(Jwt { file, expected, time, counters }))))
    }

    /// Looks whether a key set could be used, without using it: how many keys it has.
    ///
    /// # Errors
    /// Like [`Auth::jwt`].
    pub fn look(key_set: &Path) -> Result<usize, KeySetError> {
        KeyFile::open(key_set).map(|file| file.current().len())
    }

    /// Follows the key set's file, in a task of `tasks`.
    pub(crate) fn follow(&self, tasks: &Tasks) {
        let Some(jwt) = self.0.as_ref().map(Arc::clone) else { return };
        let stop = tasks.stop().clone();
        tasks.spawn("auth keys", async move { jwt.file.follow(&stop).await });
    }

    /// Who asks with these headers. What they brought to prove it is taken out of them.
    ///
    /// # Errors
    /// Why they are nobody.
    pub(crate) async fn identify(&self, headers: &mut HeaderMap) -> Result<Caller, Reason> {
        // Out of the request whatever the mode: what prints a request must not print a token.
        let Some(jwt) = &self.0 else {
            headers.remove(AUTHORIZATION);
            return Ok(Caller::Open);
        };
        let brought = brought(headers);
        headers.remove(AUTHORIZATION);
        let identified = match brought {
            Ok(header) => jwt.identify(&header).await,
            Err(reason) => Err(reason),
        };
        identified.map(Caller::Known)
    }

    /// Whether somebody who was let in may stay: a token ends also while something goes on for it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn still_valid(&self, caller: &Caller) -> Result<(), Reason> {
        match (&self.0, caller) {
            (Some(jwt), Caller::Known(identity)) => identity.still_valid(jwt.time.now_s()),
            (None, _) | (_, Caller::Open) => Ok(()),
        }
    }

    /// Counts a refusal.
    pub(crate) fn count(&self, reason: Reason) {
        if let Some(jwt) = &self.0 {
            jwt.counters.refused(reason);
        }
    }
}

impl Jwt {
    async fn identify(&self, header: &HeaderValue) -> Result<Arc<Identity>, Reason> {
        let token = bearer(header)?;
        let (now_s, name) = (self.time.now_s(), Cache::name(token));
        let keys = self.file.current();
        if let Some(identity) = keys.cache().get(&name) {
            self.counters.known.increment(1);
            return identity.still_valid(now_s).map(|()| identity);
        }
        let compact = Compact::split(token)?;
        let mut keys = keys;
        if !keys.has(&compact.kid) {
            // It may be new: the file is looked at again, but not for every made-up name.
            self.file.look_again().await;
            keys = self.file.current();
        }
        self.counters.verified.increment(1);
        keys.verify(&compact)?;
        let identity = Arc::new(Identity::read(&compact.payload()?, &self.expected, now_s)?);
        keys.cache().put(name, &identity);
        Ok(identity)
    }
}

/// The one `Authorization` header. Taking it is cheap: nothing of it is copied.
fn brought(headers: &HeaderMap) -> Result<HeaderValue, Reason> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => Err(Reason::Missing),
        (Some(_), Some(_)) => Err(Reason::TwoHeaders),
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(header: &HeaderValue) -> Result<&str, Reason> {
    let text = header.to_str().map_err(|_not_ascii| Reason::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Reason::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Reason::Malformed);
    }
    if token.len() > compact::TOKEN_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    Ok(token)
}
#[cfg(test)]
mod tests {
    use super::{Auth, Caller, Chats, JwtConfig, NewToken, SigningKey, add_to_key_set};
    use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
    use std::time::Duration;

    fn token(key: &SigningKey, subject: usize) -> String {
        let new = NewToken {
            subject: format!("person-{subject}"),
            scopes: vec!["send".to_owned(), "read".to_owned()],
            chats: Chats::All,
            life_s: 600,
            audience: "carillon".to_owned(),
            issuer: String::new(),
        };
        key.mint(&new, runtime::wall_ms() / 1000).unwrap()
    }

    /// The quickest of some requests, one for each of these tokens.
    async fn quickest(auth: &Auth, tokens: &[String]) -> Duration {
        let mut quickest = Duration::MAX;
        for token in tokens {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            headers.insert(AUTHORIZATION, value);
            let begun = runtime::now();
            let caller = auth.identify(&mut headers).await;
            quickest = quickest.min(begun.elapsed());
            assert!(matches!(caller, Ok(Caller::Known(_))), "{caller:?}");
            assert!(headers.is_empty(), "the token stays nowhere");
        }
        quickest
    }

    #[tokio::test]
    async fn a_token_that_is_known_costs_a_fraction_of_its_signature() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = SigningKey::generate().unwrap();
        let key_set = folder.path().join("jwks.json");
        std::fs::write(&key_set, add_to_key_set(None, &key).unwrap()).unwrap();
        let audience = "carillon".to_owned();
        let config = JwtConfig { key_set, audience, issuer: String::new() };
        let auth = Auth::jwt(&config).unwrap();
        let tokens: Vec<String> = (0..500).map(|subject| token(&key, subject)).collect();
        let first = quickest(&auth, &tokens).await;
        let again = quickest(&auth, &tokens).await;
        let open = quickest_open(&tokens).await;
        println!("a token's first request {first:?}, its next {again:?}; open {open:?}");
        assert!(again * 4 < first, "{again:?} is not far below {first:?}");
    }

    async fn quickest_open(tokens: &[String]) -> Duration {
        let (auth, mut quickest) = (Auth::open(), Duration::MAX);
        for _ in tokens {
            let mut headers = HeaderMap::new();
            let begun = runtime::now();
            assert!(matches!(auth.identify(&mut headers).await, Ok(Caller::Open)));
            quickest = quickest.min(begun.elapsed());
        }
        quickest
    }
}
