//! The keys that tokens are signed with: the public halves, by name.
//!
//! A JSON web key set (RFC 7517). Two kinds of key are used: Ed25519, which signs with EdDSA, and P-256,
//! which signs with ES256. A key has one algorithm, so what a token's header says can only agree with it.
//! Keys of other kinds are passed over, as an issuer may have them for others; a key that should not be
//! in such a file at all, a secret or a private half, spoils it.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cache::Cache;
use super::compact::{Compact, KID_BYTES_MAX};
use super::reason::Reason;

/// Bytes of the file.
pub(super) const FILE_BYTES_MAX: usize = 64 << 10;
/// Keys in the file: a handful is usual, two while one replaces the other.
const KEYS_MAX: usize = 64;
/// Bytes of one coordinate, of either curve.
const COORDINATE_BYTES: usize = 32;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The file cannot be read. No key of it is used; see the cause.
    #[error("{file}")]
    File {
        /// Which.
        file: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than any key set. No key of it is used; it may be another file.
    #[error("a key set has at most {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// It is not a JSON web key set. No key of it is used; it wants {"keys": […]}.
    #[error("it is not a JSON web key set: {0}")]
    NotASet(String),
    /// There are more keys than anybody needs. No key of it is used; leave out the old ones.
    #[error("a key set has at most {KEYS_MAX} keys")]
    TooMany,
    /// A key has no name, or one that is no name. No key of it is used; give it a kid.
    #[error("key {0} has no kid of 1 to {KID_BYTES_MAX} visible ASCII characters")]
    NoName(usize),
    /// Two keys have one name. No key of it is used; rename one.
    #[error("two keys have the kid {0:?}")]
    Twice(String),
    /// A key is secret. No key of it is used; this file is for public halves, so take it out, and take it
    /// out of use.
    #[error("the key {0:?} is secret: it has a private half, or is symmetric")]
    Secret(String),
    /// A key is broken. No key of it is used; write it again.
    #[error("the key {kid:?}: {what}")]
    Broken {
        /// Its name.
        kid: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no key that can be used. Nobody could be let in; add one, Ed25519 or P-256.
    #[error("it has no key that is used here: Ed25519 (EdDSA) or P-256 (ES256)")]
    Empty,
}

/// The keys of one file at one time, and the tokens that were found valid with them.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Key>,
    cache: Cache,
}

#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    public: DecodingKey,
}

#[derive(Deserialize)]
struct File {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private half.
    d: Option<IgnoredAny>,
    /// A secret.
    k: Option<IgnoredAny>,
}

impl KeySet {
    /// Reads a key set. It may be empty: then every token is refused.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| KeySetError::NotASet(error.to_string()))?;
        if file.keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut keys = HashMap::new();
        for (at, entry) in file.keys.into_iter().enumerate() {
            let kid = entry.name().ok_or(KeySetError::NoName(at + 1))?;
            if entry.d.is_some() || entry.k.is_some() || entry.kty == "oct" {
                return Err(KeySetError::Secret(kid));
            }
            let broken = |what| KeySetError::Broken { kid: kid.clone(), what };
            let Some(key) = entry.key().map_err(broken)? else {
                tracing::warn!(kid, kty = entry.kty, "a key of a kind that is not used here");
                continue;
            };
            if keys.insert(kid.clone(), key).is_some() {
                return Err(KeySetError::Twice(kid));
            }
        }
        Ok(Self { keys, cache: Cache::default() })
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has a key of this name.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// The tokens that were found valid with these keys.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether a token was signed with one of these keys, the one it names.
    pub(super) fn verify(&self, token: &Compact<'_>) -> Result<(), Reason> {
        let key = self.keys.get(&token.kid).ok_or(Reason::UnknownKey)?;
        if token.algorithm != name(key.algorithm) {
            return Err(Reason::Algorithm);
        }
        match crypto::verify(token.signature, token.message, &key.public, key.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Reason::Signature),
        }
    }
}

impl Entry {
    fn name(&self) -> Option<String> {
        let kid = self.kid.as_deref()?;
        let fits = (1..=KID_BYTES_MAX).contains(&kid.len());
        (fits && kid.bytes().all(|byte| byte.is_ascii_graphic())).then(|| kid.to_owned())
    }

    /// The key; nothing if it is of a kind, or for a use, that is none of ours.
    fn key(&self) -> Result<Option<Key>, &'static str> {
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
            ("EC", Some("P-256")) => Algorithm::ES256,
            _ => return Ok(None),
        };
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        if self.alg.as_deref().is_some_and(|alg| alg != name(algorithm)) {
            return Err("its alg is not the one of its curve");
        }
        let (x, y) = (coordinate(self.x.as_deref()), coordinate(self.y.as_deref()));
        let public = match (algorithm, x, y) {
            (Algorithm::EdDSA, Some(x), None) if self.y.is_none() => DecodingKey::from_ed_der(&x),
            (Algorithm::ES256, Some(x), Some(y)) => {
                let mut point = vec![4];
                point.extend_from_slice(&x);
                point.extend_from_slice(&y);
                DecodingKey::from_ec_der(&point)
            }
            _ => return Err("its coordinates are not those of its curve"),
        };
        Ok(Some(Key { algorithm, public }))
    }
}

/// An algorithm as headers and keys name it. There are only two.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    if algorithm == Algorithm::ES256 { "ES256" } else { "EdDSA" }
}

fn coordinate(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
    (bytes.len() == COORDINATE_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{KeySet, KeySetError};
    use serde_json::{Value, json};

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": X})
    }

    fn with(change: Value) -> Value {
        let mut key = ed("a");
        for (name, value) in change.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn parse(keys: Value) -> Result<usize, KeySetError> {
        KeySet::parse(json!({"keys": keys, "more": 1}).to_string().as_bytes()).map(|set| set.len())
    }

    #[test]
    fn keys_of_two_kinds_are_used_and_others_passed_over() {
        let p256 = json!({"kty": "EC", "crv": "P-256", "kid": "b", "x": X, "y": X, "alg": "ES256"});
        let rsa = json!({"kty": "RSA", "kid": "c", "n": "AQAB", "e": "AQAB", "alg": "RS256"});
        let other = json!({"kty": "EC", "crv": "P-384", "kid": "d", "x": X, "y": X});
        let sealing = with(json!({"kid": "e", "use": "enc"}));
        let signing = with(json!({"kid": "f", "use": "sig", "alg": "EdDSA"}));
        assert_eq!(parse(json!([ed("a"), p256, rsa, other, sealing, signing])).unwrap(), 3);
        assert_eq!(parse(json!([])).unwrap(), 0);
    }

    #[test]
    fn a_set_with_one_bad_key_is_no_set() {
        let long = "k".repeat(129);
        for (key, what) in [
            (json!({"kty": "OKP", "crv": "Ed25519", "x": X}), "no kid"),
            (with(json!({"kid": ""})), "no kid"),
            (with(json!({"kid": "two words"})), "no kid"),
            (with(json!({"kid": long})), "no kid"),
            (with(json!({"d": X})), "secret"),
            (json!({"kty": "oct", "kid": "a", "k": "AAAA"}), "secret"),
            (json!({"kty": "RSA", "kid": "a", "d": "AAAA"}), "secret"),
            (with(json!({"alg": "HS256"})), "alg"),
            (with(json!({"alg": "ES256"})), "alg"),
            (with(json!({"x": "AAAA"})), "coordinates"),
            (with(json!({"y": X})), "coordinates"),
            (json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": X}), "coordinates"),
            (ed("other"), "two keys"),
            (json!({"kid": "a"}), "not a JSON web key set"),
            (json!("a"), "not a JSON web key set"),
        ] {
            let error = parse(json!([ed("other"), key])).unwrap_err().to_string();
            assert!(error.contains(what), "{key}: {error}");
        }
        let many: Vec<Value> = (0..65).map(|n| ed(&n.to_string())).collect();
        assert!(matches!(parse(json!(many)), Err(KeySetError::TooMany)));
        assert!(matches!(KeySet::parse(&[b' '; 70_000]), Err(KeySetError::TooLarge)));
        for text in ["", "[]", "{}", "{\"keys\": {}}"] {
            assert!(
                matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::NotASet(_))),
                "{text}"
            );
        }
    }
}
