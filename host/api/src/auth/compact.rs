//! A token as text: three parts between dots, and what its header says.
//!
//! The header is read before anything is verified, so it is believed in nothing: it names a key of the
//! set, and an algorithm that must be that key's own. What it may hold is a closed list. Everything else
//! asks for something that is not done here (`crit`, `b64`, `zip`) or offers a key or the place of one
//! (`jwk`, `jku`, `x5c`, `x5u`), and is refused whole.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::reason::Reason;
use crate::json::is_object;

/// Bytes of a token: a hundred chats and then some. The head of a request has 32 KiB.
pub(super) const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Characters of the header's part.
const HEADER_BYTES_MAX: usize = 1 << 10;
/// Bytes of a key's name.
pub(super) const KID_BYTES_MAX: usize = 128;

/// A token in its parts.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    /// Which key it claims to be signed with.
    pub(super) kid: String,
    /// The algorithm it claims.
    pub(super) algorithm: String,
    /// What is signed.
    pub(super) message: &'t [u8],
    /// The signature, in base64.
    pub(super) signature: &'t str,
    payload: &'t str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'h> {
    #[serde(borrow)]
    alg: Cow<'h, str>,
    #[serde(borrow)]
    kid: Cow<'h, str>,
    #[serde(borrow)]
    typ: Option<Cow<'h, str>>,
}

impl<'t> Compact<'t> {
    /// Takes a token apart. Nothing of it is verified.
    pub(super) fn split(token: &'t str) -> Result<Self, Reason> {
        let (message, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::Malformed)?;
        if payload.contains('.') || payload.is_empty() {
            return Err(Reason::Malformed);
        }
        if header.len() > HEADER_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        let header = decode(header)?;
        if serde_json::from_slice::<serde::de::IgnoredAny>(&header).is_err() {
            return Err(Reason::Malformed);
        }
        if !is_object(&header) {
            return Err(Reason::Header);
        }
        let Header { alg, kid, typ } =
            serde_json::from_slice(&header).map_err(|_asks_for_more| Reason::Header)?;
        // A token for something else, with the same keys, says so here.
        let is_ours =
            |typ: &str| typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt");
        if typ.as_deref().is_some_and(|typ| !is_ours(typ)) || kid.len() > KID_BYTES_MAX {
            return Err(Reason::Header);
        }
        let (kid, algorithm) = (kid.into_owned(), alg.into_owned());
        Ok(Self { kid, algorithm, message: message.as_bytes(), signature, payload })
    }

    /// The claims, as JSON.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode(self.payload)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_not_base64| Reason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::{Compact, Reason, URL_SAFE_NO_PAD};
    use base64::Engine;

    fn split(header: &str) -> Result<(String, String), Reason> {
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        Compact::split(&token).map(|compact| (compact.kid, compact.algorithm))
    }

    #[test]
    fn a_header_names_a_key_and_an_algorithm() {
        let named = Ok(("k1".to_owned(), "EdDSA".to_owned()));
        assert_eq!(split(r#"{"alg":"EdDSA","kid":"k1"}"#), named);
        assert_eq!(split(r#"{"typ":"JWT","alg":"EdDSA","kid":"k1"}"#), named);
        assert_eq!(split(r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k1"}"#), named);
    }

    #[test]
    fn a_header_that_asks_for_more_is_refused_whole() {
        for header in [
            r#"{"alg":"EdDSA"}"#,
            r#"{"kid":"k1"}"#,
            r#"{"alg":"EdDSA","kid":"k1","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","kid":"k1","crit":null}"#,
            r#"{"alg":"EdDSA","kid":"k1","b64":false}"#,
            r#"{"alg":"EdDSA","kid":"k1","jku":"http://127.0.0.1/keys"}"#,
            r#"{"alg":"EdDSA","kid":"k1","jwk":{"kty":"oct","k":"AA"}}"#,
            r#"{"alg":"EdDSA","kid":"k1","kid":"k2"}"#,
            r#"{"alg":"EdDSA","kid":"k1","typ":"JWE"}"#,
            r#"{"alg":"EdDSA","kid":["k1"]}"#,
            r#"["EdDSA","k1",null]"#,
        ] {
            let refused = split(header).unwrap_err();
            assert_eq!(refused, Reason::Header, "{header}");
        }
        assert_eq!(
            split(&format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "k".repeat(129))),
            Err(Reason::Header)
        );
        assert_eq!(
            split(&format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "k".repeat(999))),
            Err(Reason::TooLarge)
        );
        assert_eq!(split("not json"), Err(Reason::Malformed));
    }

    #[test]
    fn three_parts_are_a_token() {
        for token in ["", ".", "..", "a.b", "a.b.c.d", "e30=.e30.c2ln", "e30..c2ln", "%.e30.c2ln"] {
            assert_eq!(Compact::split(token).unwrap_err(), Reason::Malformed, "{token}");
        }
    }
}
