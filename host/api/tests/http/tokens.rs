//! Keys, a key set in a file, and tokens of every kind: good ones, and ones that no honest issuer signs.

use std::path::PathBuf;

use api::auth::{SigningKey, add_to_key_set};
use api::{Auth, Config, JwtConfig};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Edge, TOKEN, edge_for};

/// Made by another program.
const P256: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2x+pYOQUgMIbuB9X\n\
    kUbAHnwnwZFp20KPhRZtAynNwIuhRANCAAQO1IOxQOAhY1M4S+lkvaDBfy/y5UQS\n\
    Q2mWtLtmBe3Q7raYZGZYZdfp0V5U5qz4D/4ki4q95rel8GswYOHuymML\n\
    -----END PRIVATE KEY-----\n";

/// A chat that a good token is not for.
pub(crate) const OTHER: &str = "ffffffffffffffffffffffffffffffff";

/// An edge that wants tokens, and the keys to sign them with.
pub(crate) struct Guarded {
    pub(crate) edge: Edge,
    pub(crate) ed: Signer,
    pub(crate) ec: Signer,
    folder: TempDir,
}

/// A key that signs whatever it is given.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) private: EncodingKey,
    pub(crate) algorithm: Algorithm,
}

impl Signer {
    pub(crate) fn ed() -> Self {
        let (key, text) = SigningKey::generate().unwrap();
        let private = EncodingKey::from_ed_pem(text.as_bytes()).unwrap();
        Self { key, private, algorithm: Algorithm::EdDSA }
    }

    fn ec() -> Self {
        let key = SigningKey::read(P256).unwrap();
        let private = EncodingKey::from_ec_pem(P256.as_bytes()).unwrap();
        Self { key, private, algorithm: Algorithm::ES256 }
    }

    /// A good header.
    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.key.kid()})
    }

    /// Signs, whatever it is.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// A good token whose claims are changed.
    pub(crate) fn token(&self, change: Value) -> String {
        self.sign(&self.header(), &claims(change))
    }
}

/// What is signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Now, in Unix seconds.
pub(crate) fn now_s() -> u64 {
    runtime::wall_ms() / 1000
}

/// Good claims, changed; `null` takes one out.
pub(crate) fn claims(change: Value) -> Value {
    let mut claims = json!({
        "sub": "alice", "aud": "carillon", "iss": "us", "exp": now_s() + 600,
        "scope": "send read", "chats": [TOKEN],
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (ed, ec) = (Signer::ed(), Signer::ec());
        let path = folder.path().join("jwks.json");
        let set = add_to_key_set(None, &ed.key).unwrap();
        std::fs::write(&path, add_to_key_set(Some(&set), &ec.key).unwrap()).unwrap();
        let config =
            JwtConfig { key_set: path, audience: "carillon".to_owned(), issuer: "us".to_owned() };
        let edge = edge_for(Config::default(), Auth::jwt(&config).unwrap()).await;
        Self { edge, ed, ec, folder }
    }

    pub(crate) fn key_set(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }
}
