//! What Twilio signs: the address that it was told, then every field that it posts, by name.
//!
//! The address is the configured one. What a request says about where it was sent proves nothing, and behind
//! a proxy it is wrong. Of fields that are posted more than once every value counts once, in order. A body that is no
//! form is in the address, as its SHA-256 in `bodySHA256`.
//!
//! There is no time in it: whoever has seen a request can send it again, word for word. That is what the
//! chat remembers answers for, under [`Words::name`].

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::form::Fields;

/// A secret, ready to check signatures with.
#[derive(Clone)]
pub(super) struct Token(Hmac<Sha1>);

/// Never with the secret.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    /// An account's auth token.
    pub(super) fn new(secret: &str) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
        Self(mac)
    }

    /// Whether `signature` is this token's for `address` and `posted`. Takes as long for any wrong one.
    fn signed(&self, address: &str, posted: &str, signature: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(address.as_bytes());
        mac.update(posted.as_bytes());
        mac.verify_slice(signature).is_ok()
    }
}

/// The beginning of every address, in the ways in which Twilio writes it: it does not always say the port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addresses(Vec<String>);

impl Addresses {
    /// Of the configured one.
    pub(super) fn of(public_url: &str) -> Self {
        let url = public_url.trim_end_matches('/');
        let mut all = vec![url.to_owned()];
        if let Some((scheme, rest)) = url.split_once("://") {
            let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            // A colon within brackets is a part of the host.
            let bare = match host.rsplit_once(':') {
                Some((bare, port)) if !port.contains(']') => Some(bare),
                _ => None,
            };
            let port = if scheme == "https" { 443 } else { 80 };
            all.push(match bare {
                Some(bare) => format!("{scheme}://{bare}{path}"),
                None => format!("{scheme}://{host}:{port}{path}"),
            });
        }
        Self(all)
    }
}

/// What is signed.
#[derive(Debug)]
pub(super) struct Words<'a> {
    /// The path and query of the request, as they came.
    pub(super) target: &'a str,
    /// What was posted.
    pub(super) posted: &'a Fields,
}

impl Words<'_> {
    /// Whether one of `tokens` signed it.
    pub(super) fn are_signed(
        &self,
        addresses: &Addresses,
        tokens: &[Token],
        signature: &str,
    ) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let posted = self.posted();
        let mut signed = false;
        // All of them: how long it takes must not say which was nearly right.
        for address in addresses.0.iter().map(|begin| format!("{begin}{}", self.target)) {
            for token in tokens {
                signed |= token.signed(&address, &posted, &signature);
            }
        }
        signed
    }

    /// What was signed, in 64 hex digits: the same for the same words, however they were sent and with whichever token.
    pub(super) fn name(&self, addresses: &Addresses) -> String {
        let begin = addresses.0.first().map(String::as_str).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(b"carillon twilio words 1")
            .chain_update(begin)
            .chain_update(self.target)
            .chain_update(self.posted())
            .finalize();
        hex(&digest)
    }

    fn posted(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.posted.iter() {
            text.push_str(name);
            text.push_str(value);
        }
        text
    }
}

/// Whether `said`, the value of `bodySHA256`, is that of `body`.
pub(super) fn is_hash_of(said: &str, body: &[u8]) -> bool {
    // It is in the open, so how long this takes tells nothing.
    said.eq_ignore_ascii_case(&hex(&Sha256::digest(body)))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Fields, Token, Words, is_hash_of};

    /// The example of Twilio's documentation, and of the tests of its libraries.
    const TARGET: &str = "/myapp.php?foo=1&bar=2";
    const FORM: &[u8] =
        b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

    fn tokens() -> [Token; 2] {
        [Token::new("another"), Token::new("12345")]
    }

    fn signed(url: &str, target: &str, form: &[u8], signature: &str) -> bool {
        let posted = Fields::posted(form).unwrap();
        let words = Words { target, posted: &posted };
        words.are_signed(&Addresses::of(url), &tokens(), signature)
    }

    #[test]
    fn the_published_example_is_signed_and_nothing_near_it_is() {
        let url = "https://mycompany.com";
        assert!(signed(url, TARGET, FORM, SIGNATURE));
        assert!(signed("https://mycompany.com/", TARGET, FORM, SIGNATURE));
        assert!(!signed("http://mycompany.com", TARGET, FORM, SIGNATURE), "another scheme");
        assert!(!signed("https://mycompany.org", TARGET, FORM, SIGNATURE), "another host");
        assert!(!signed(url, "/myapp.php?foo=1&bar=3", FORM, SIGNATURE), "another query");
        assert!(!signed(url, TARGET, &FORM[..FORM.len() - 1], SIGNATURE), "another form");
        for bad in ["", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "****"] {
            assert!(!signed(url, TARGET, FORM, bad), "{bad}");
        }
    }

    #[test]
    fn the_order_of_a_form_and_repeats_in_it_are_not_signed() {
        let turned = b"To=%2B18005551212&Digits=1234&From=%2B14158675309&Caller=%2B14158675309&CallSid=CA1234567890ABCDE&Digits=1234";
        assert!(signed("https://mycompany.com", TARGET, turned, SIGNATURE));
        let second = [FORM, b"&Digits=1"].concat();
        assert!(!signed("https://mycompany.com", TARGET, &second, SIGNATURE));
    }

    #[test]
    fn a_port_is_said_or_not() {
        let of = |url: &str| Addresses::of(url).0;
        assert_eq!(of("https://a.example"), ["https://a.example", "https://a.example:443"]);
        assert_eq!(of("http://a.example/x/"), ["http://a.example/x", "http://a.example:80/x"]);
        assert_eq!(of("https://a.example:8443"), ["https://a.example:8443", "https://a.example"]);
        assert_eq!(of("https://[::1]"), ["https://[::1]", "https://[::1]:443"]);
    }

    #[test]
    fn the_same_words_have_the_same_name_whoever_signed_them() {
        let name = |target: &str, form: &[u8]| {
            let posted = Fields::posted(form).unwrap();
            let words = Words { target, posted: &posted };
            words.name(&Addresses::of("https://a.example"))
        };
        assert_eq!(name("/a", b"x=1&y=2"), name("/a", b"y=2&x=1&x=1"));
        assert_ne!(name("/a", b"x=1&y=2"), name("/a", b"x=1&y=3"));
        assert_ne!(name("/a", b""), name("/b", b""));
        assert_eq!(name("/a", b"").len(), 64);
    }

    #[test]
    fn a_body_has_one_hash() {
        let hash = "6b7fc9a0bd69b9ef5d0d8c3b7e7a9b25a54e1e34a2f8ca7cf0f3cb0a5f0a3b27";
        assert!(!is_hash_of(hash, b"{}"));
        let right = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert!(is_hash_of(right, b"{}") && is_hash_of(&right.to_uppercase(), b"{}"));
    }
}
