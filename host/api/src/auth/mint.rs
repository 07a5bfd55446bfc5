//! Tokens for development, and the keys to sign them with.
//!
//! A service that people log in to signs its own tokens, with its own library. What is here lets
//! somebody at a shell try a node that wants tokens: a key, its public half for the node's key set, and
//! tokens of at most an hour.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use model::ChatToken;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::claims::{CHATS_MAX, LIFE_S_MAX, Scope};
use super::keys::{KeySet, KeySetError, name};
use crate::check;

/// What comes before the 32 bytes of an Ed25519 key in PKCS #8.
const ED25519_HEAD: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// What comes before the 32 bytes of a P-256 key in PKCS #8, with its public half behind it.
const P256_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
];
/// What stands between the two halves.
const P256_MIDDLE: [u8; 6] = [0xa1, 0x44, 3, 0x42, 0, 4];

/// A private key that signs tokens. It is never shown.
#[derive(Debug)]
pub struct SigningKey {
    private: EncodingKey,
    algorithm: Algorithm,
    public: Jwk,
    kid: String,
}

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Who asks with it.
    pub subject: String,
    /// Words: `send`, `read`, `service`, `admin`.
    pub scopes: Vec<String>,
    /// For which chats.
    pub chats: Chats,
    /// How many seconds it lives from now on: 1 to 3600.
    pub life_s: u64,
    /// For whom.
    pub audience: String,
    /// Whose; empty: it does not say.
    pub issuer: String,
}

/// For which chats a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chats {
    /// All of them, also those that do not exist yet.
    All,
    /// These.
    These(Vec<ChatToken>),
}

/// A private key cannot be used. Nothing was signed with it.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The text is no private key in PKCS #8 or as a JSON web key. Nothing was signed; name a file that
    /// holds one, which for PEM begins with `BEGIN PRIVATE KEY`.
    #[error("it is no private Ed25519 or P-256 key, in PKCS #8 PEM or as a JSON web key")]
    NotAKey,
    /// The system gives no random numbers. No key was made; see the system's log.
    #[error("no random numbers")]
    Random,
}

/// A token cannot be made. Nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// No node would take it. Nothing was signed; the text says what to change.
    #[error("{0}")]
    Refused(String),
    /// The key did not sign. Nothing was made; it may be damaged.
    #[error("the key does not sign")]
    Key,
}

/// A private key as a JSON web key.
#[derive(Deserialize)]
struct PrivateJwk {
    kty: String,
    crv: String,
    kid: Option<String>,
    d: String,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    scope: String,
    chats: Value,
}

impl SigningKey {
    /// A new Ed25519 key, and its text for a file that its owner alone can read.
    ///
    /// # Errors
    /// [`SigningKeyError::Random`].
    pub fn generate() -> Result<(Self, String), SigningKeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_none| SigningKeyError::Random)?;
        let der = [ED25519_HEAD.as_slice(), &seed].concat();
        let text = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(&der)
        );
        let key = Self::new(EncodingKey::from_ed_der(&der), Algorithm::EdDSA, None)?;
        Ok((key, text))
    }

    /// Reads a private key: PKCS #8 in PEM, or a JSON web key.
    ///
    /// # Errors
    /// [`SigningKeyError::NotAKey`].
    pub fn read(text: &str) -> Result<Self, SigningKeyError> {
        if text.trim_start().starts_with('{') {
            return Self::read_jwk(text);
        }
        let bytes = text.as_bytes();
        if let Ok(key) = EncodingKey::from_ed_pem(bytes) {
            return Self::new(key, Algorithm::EdDSA, None);
        }
        let key = EncodingKey::from_ec_pem(bytes).map_err(|_neither| SigningKeyError::NotAKey)?;
        Self::new(key, Algorithm::ES256, None)
    }

    fn read_jwk(text: &str) -> Result<Self, SigningKeyError> {
        let jwk: PrivateJwk =
            serde_json::from_str(text).map_err(|_no_key| SigningKeyError::NotAKey)?;
        let part = |text: Option<&str>| {
            let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.filter(|bytes| bytes.len() == 32).ok_or(SigningKeyError::NotAKey)
        };
        let d = part(Some(&jwk.d))?;
        match (jwk.kty.as_str(), jwk.crv.as_str()) {
            ("OKP", "Ed25519") => {
                let der = [ED25519_HEAD.as_slice(), &d].concat();
                Self::new(EncodingKey::from_ed_der(&der), Algorithm::EdDSA, jwk.kid)
            }
            ("EC", "P-256") => {
                let (x, y) = (part(jwk.x.as_deref())?, part(jwk.y.as_deref())?);
                let der = [P256_HEAD.as_slice(), &d, &P256_MIDDLE, &x, &y].concat();
                Self::new(EncodingKey::from_ec_der(&der), Algorithm::ES256, jwk.kid)
            }
            _ => Err(SigningKeyError::NotAKey),
        }
    }

    fn new(
        private: EncodingKey,
        algorithm: Algorithm,
        kid: Option<String>,
    ) -> Result<Self, SigningKeyError> {
        let mut public = Jwk::from_encoding_key(&private, algorithm)
            .map_err(|_no_key| SigningKeyError::NotAKey)?;
        // The name follows from the key (RFC 7638), so that nobody has to remember which is which.
        let kid = match kid {
            Some(kid) => kid,
            None => public
                .thumbprint(ThumbprintHash::SHA256)
                .map_err(|_no_key| SigningKeyError::NotAKey)?,
        };
        public.common.key_id = Some(kid.clone());
        Ok(Self { private, algorithm, public, kid })
    }

    /// Gives it another name: the one that the key set has for it.
    #[must_use]
    pub fn named(mut self, kid: String) -> Self {
        self.public.common.key_id = Some(kid.clone());
        self.kid = kid;
        self
    }

    /// Its name, which tokens carry.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public half, as a JSON web key.
    pub fn public(&self) -> Value {
        let alg = name(self.algorithm);
        match &self.public.algorithm {
            AlgorithmParameters::EllipticCurve(point) => json!({
                "kty": "EC", "crv": "P-256", "x": point.x, "y": point.y,
                "kid": self.kid, "alg": alg, "use": "sig",
            }),
            AlgorithmParameters::OctetKeyPair(point) => json!({
                "kty": "OKP", "crv": "Ed25519", "x": point.x,
                "kid": self.kid, "alg": alg, "use": "sig",
            }),
            _ => Value::Null,
        }
    }

    /// A token that says `new`, from `now_s` on.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, new: &NewToken, now_s: u64) -> Result<String, MintError> {
        let refused = |why: String| Err(MintError::Refused(why));
        if let Err(problem) = check::name("sub", &new.subject) {
            return refused(problem.detail().to_owned());
        }
        let unknown = |word: &&String| Scope::ALL.into_iter().all(|scope| scope.name() != **word);
        if let Some(word) = new.scopes.iter().find(unknown) {
            return refused(format!(
                "there is no scope {word:?}; there are send, read, service, admin"
            ));
        }
        if !(1..=LIFE_S_MAX).contains(&new.life_s) {
            return refused(format!("a token lives 1 to {LIFE_S_MAX} seconds, not {}", new.life_s));
        }
        let chats = match &new.chats {
            Chats::All => json!("*"),
            Chats::These(chats) if chats.len() > CHATS_MAX => {
                return refused(format!(
                    "a token names at most {CHATS_MAX} chats; * is all of them"
                ));
            }
            Chats::These(chats) => chats.iter().map(ToString::to_string).collect(),
        };
        let claims = Claims {
            sub: &new.subject,
            aud: &new.audience,
            iss: &new.issuer,
            iat: now_s,
            nbf: now_s,
            exp: now_s.saturating_add(new.life_s),
            scope: new.scopes.join(" "),
            chats,
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, &claims, &self.private).map_err(|_not_signed| MintError::Key)
    }
}

/// A key set with `key`'s public half: `set` with the key added, or in the place of one of the same name;
/// a new one if there is none.
///
/// # Errors
/// [`KeySetError`]: `set` is not a key set, or would not be one with this key.
pub fn add_to_key_set(set: Option<&str>, key: &SigningKey) -> Result<String, KeySetError> {
    let not_a_set = |text: String| KeySetError::NotASet(text);
    let mut set: Value = match set {
        Some(text) => {
            KeySet::parse(text.as_bytes())?;
            serde_json::from_str(text).map_err(|error| not_a_set(error.to_string()))?
        }
        None => json!({"keys": []}),
    };
    let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) else {
        return Err(not_a_set("it has no keys".to_owned()));
    };
    keys.retain(|one| one.get("kid").and_then(Value::as_str) != Some(key.kid()));
    keys.push(key.public());
    let text = serde_json::to_string_pretty(&set).map_err(|error| not_a_set(error.to_string()))?;
    KeySet::parse(text.as_bytes())?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::{Chats, NewToken, SigningKey, add_to_key_set};
    use serde_json::Value;

    /// Made by another program.
    const P256: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCTLuxJnfdagge9pL\n\
        H02FOQVBE/g/N6+jKQiGaNRMnmChRANCAARmg27U+LOvrktFCcthHmzGmc7c35/w\n\
        MV6l5HsMcWnyMXoEoP637kYdmfbGkYFytH4t9zlxxgSh/a8XJZJwIVrP\n\
        -----END PRIVATE KEY-----\n";

    fn new() -> NewToken {
        NewToken {
            subject: "alice".to_owned(),
            scopes: vec!["send".to_owned(), "read".to_owned()],
            chats: Chats::All,
            life_s: 3600,
            audience: "carillon".to_owned(),
            issuer: String::new(),
        }
    }

    #[test]
    fn a_key_is_the_same_after_reading_it_again_in_either_form() {
        let (made, text) = SigningKey::generate().unwrap();
        let read = SigningKey::read(&text).unwrap();
        assert_eq!((made.public(), made.kid()), (read.public(), read.kid()));
        let p256 = SigningKey::read(P256).unwrap();
        assert_eq!(p256.public()["alg"], "ES256");
        let jwk = r#"{"kty":"EC","crv":"P-256",
            "d":"CTLuxJnfdagge9pLH02FOQVBE_g_N6-jKQiGaNRMnmA",
            "x":"ZoNu1Pizr65LRQnLYR5sxpnO3N-f8DFepeR7DHFp8jE",
            "y":"egSg_rfuRh2Z9saRgXK0fi33OXHGBKH9rxclknAhWs8"}"#;
        assert_eq!(SigningKey::read(jwk).unwrap().public(), p256.public());
        // RFC 8037, appendix A: the key and its thumbprint.
        let jwk = r#"{"kty":"OKP","crv":"Ed25519",
            "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let ed = SigningKey::read(jwk).unwrap();
        assert_eq!(ed.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(ed.public()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        for bad in ["", "{}", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(SigningKey::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_that_no_node_would_take_is_not_made() {
        let (key, _) = SigningKey::generate().unwrap();
        assert!(key.mint(&new(), 1000).is_ok());
        for bad in [
            NewToken { subject: String::new(), ..new() },
            NewToken { life_s: 3601, ..new() },
            NewToken { life_s: 0, ..new() },
            NewToken { scopes: vec!["write".to_owned()], ..new() },
            NewToken { chats: Chats::These(vec![model::ChatToken([1; 16]); 129]), ..new() },
        ] {
            assert!(key.mint(&bad, 1000).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_set_holds_each_key_once() {
        let (one, other) = (SigningKey::generate().unwrap().0, SigningKey::generate().unwrap().0);
        let set = add_to_key_set(None, &one).unwrap();
        let set = add_to_key_set(Some(&set), &other).unwrap();
        let set = add_to_key_set(Some(&set), &one).unwrap();
        let read: Value = serde_json::from_str(&set).unwrap();
        let names: Vec<_> =
            read["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        assert_eq!(names, [other.kid(), one.kid()]);
        assert!(!set.contains("\"d\""));
        assert!(add_to_key_set(Some("{}"), &one).is_err());
    }
}
