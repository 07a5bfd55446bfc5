//! What proves to a service who sends: a token, or a signature.
//!
//! Both are of one attempt: they are read from the node's files as they are then, and they are no part of
//! what a transaction is. A signature covers id, time and body, after Standard Webhooks; a file may hold
//! several keys, one a line, and all of them sign, so that a service can change its key without a gap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Dialect, Rendered, Secret};

/// What every key of Standard Webhooks begins with.
const KEY_PREFIX: &str = "whsec_";
/// Bytes of a key, after Standard Webhooks.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Keys in one file: the one that goes, the one that comes, and one more.
const KEYS_MAX: usize = 3;

/// A secret that cannot be used. Nothing was sent with it; the text says what belongs in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// No token, or more than one word. Nothing was sent; `token_file` holds one token.
    #[error("token_file does not hold one token of visible ASCII")]
    Token,
    /// No key of Standard Webhooks. Nothing was sent; `secret_file` holds `whsec_` and base64, one a line.
    #[error(
        "secret_file does not hold one to three keys, a line each: whsec_ and base64 of 24 to 64 bytes"
    )]
    Key,
}

/// Whether `secret` can be used as `dialect` wants it.
///
/// # Errors
/// [`InvalidSecret`].
pub fn check(dialect: Dialect, secret: &Secret) -> Result<(), InvalidSecret> {
    match dialect {
        Dialect::Matrix => token(secret).map(drop),
        Dialect::Webhook => keys(secret).map(drop),
    }
}

/// What tells a service at `url` with `secret` from one that is elsewhere, or has another secret. Anybody may read it: of
/// the secret it says two bytes, by which a change is noticed and nothing is found out.
pub fn mark(url: &str, secret: Option<&Secret>) -> String {
    let secret = secret.map_or("", Secret::reveal);
    let of = |text: &str| Sha256::digest(text.as_bytes());
    let bytes = of(url).into_iter().take(6).chain(of(secret).into_iter().take(2));
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The headers that prove who sends `request`, at `now_s` seconds after 1970.
pub(crate) fn headers(
    dialect: Dialect,
    secret: Option<&Secret>,
    request: &Rendered,
    now_s: u64,
) -> Result<Vec<(&'static str, String)>, InvalidSecret> {
    match dialect {
        Dialect::Matrix => {
            let token = secret.map(token).transpose()?;
            Ok(token
                .map(|token| ("authorization", format!("Bearer {token}")))
                .into_iter()
                .collect())
        }
        Dialect::Webhook => {
            let keys = secret.map(keys).transpose()?.unwrap_or_default();
            let time = now_s.to_string();
            let signed: Vec<String> =
                keys.iter().map(|key| sign(key, &request.id, &time, &request.body)).collect();
            let mut headers = vec![("webhook-id", request.id.clone()), ("webhook-timestamp", time)];
            if !signed.is_empty() {
                headers.push(("webhook-signature", signed.join(" ")));
            }
            Ok(headers)
        }
    }
}

/// `answer` without what is secret, should a service repeat what it was sent.
pub(crate) fn masked<'a>(answer: Vec<u8>, secrets: impl Iterator<Item = &'a Secret>) -> Vec<u8> {
    let words = secrets.flat_map(|secret| secret.reveal().split_whitespace());
    words.fold(answer, |answer, word| replaced(&answer, word.as_bytes()))
}

fn replaced(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut rest = text;
    let mut kept = Vec::with_capacity(text.len());
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(secret) {
            kept.extend_from_slice("…".as_bytes());
            rest = after;
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    kept
}

fn token(secret: &Secret) -> Result<&str, InvalidSecret> {
    let token = secret.reveal();
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(token).ok_or(InvalidSecret::Token)
}

fn keys(secret: &Secret) -> Result<Vec<Vec<u8>>, InvalidSecret> {
    let key = |word: &str| {
        let key = STANDARD.decode(word.strip_prefix(KEY_PREFIX)?).ok()?;
        KEY_BYTES.contains(&key.len()).then_some(key)
    };
    let keys: Option<Vec<_>> = secret.reveal().split_whitespace().map(key).collect();
    keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len())).ok_or(InvalidSecret::Key)
}

fn sign(key: &[u8], id: &str, time: &str, body: &[u8]) -> String {
    // HMAC takes a key of any length, so there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{InvalidSecret, check, headers, mark, masked};
    use crate::{Dialect, Rendered, Secret};

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn request() -> Rendered {
        Rendered {
            method: "POST",
            path: String::new(),
            content_type: "application/json",
            headers: Vec::new(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            body: Bytes::from_static(b"{\"test\": 2432232314}"),
            hash: [0; 32],
        }
    }

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // The vector that the libraries of Standard Webhooks are tested with.
        let made =
            headers(Dialect::Webhook, Some(&Secret::new(KEY)), &request(), 1_614_265_330).unwrap();
        let expected = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        assert_eq!(made, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn while_a_key_is_changed_both_sign() {
        let both = format!("{KEY}\nwhsec_{}\n", "A".repeat(32));
        let made = headers(Dialect::Webhook, Some(&Secret::new(&both)), &request(), 1_614_265_330)
            .unwrap();
        let signatures: Vec<&str> = made[2].1.split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[0], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(signatures[0], signatures[1]);
    }

    #[test]
    fn a_token_is_borne_and_a_service_without_one_is_sent_none() {
        let made = headers(Dialect::Matrix, Some(&Secret::new("hush\n")), &request(), 0).unwrap();
        assert_eq!(made, [("authorization", "Bearer hush".to_owned())]);
        assert_eq!(headers(Dialect::Matrix, None, &request(), 0), Ok(vec![]));
        assert_eq!(headers(Dialect::Webhook, None, &request(), 0).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_secret_is_said_before_it_is_used() {
        for bad in ["", "two words", "a\r\nx: y", "ä"] {
            assert_eq!(
                check(Dialect::Matrix, &Secret::new(bad)),
                Err(InvalidSecret::Token),
                "{bad}"
            );
        }
        let four = [KEY; 4].join("\n");
        for bad in
            ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", &four]
        {
            assert_eq!(
                check(Dialect::Webhook, &Secret::new(bad)),
                Err(InvalidSecret::Key),
                "{bad}"
            );
        }
        assert_eq!(check(Dialect::Webhook, &Secret::new(KEY)), Ok(()));
    }

    #[test]
    fn a_mark_tells_another_address_and_another_secret_and_says_little_of_that() {
        let (url, secret) = ("https://crm.example.org/hook", Secret::new("hush"));
        let of = mark(url, Some(&secret));
        assert_eq!(of, mark(url, Some(&Secret::new("hush\n"))));
        assert_eq!(of.len(), 16, "two bytes of it are the secret's");
        let (other, another) = ("https://crm.example.org/hook2", Secret::new("hush2"));
        let marks = [mark(other, Some(&secret)), mark(url, Some(&another)), mark(url, None)];
        assert!(!marks.contains(&of), "{marks:?}");
        assert_eq!((&marks[1][..12], &marks[2][..12]), (&of[..12], &of[..12]), "the address");
    }

    #[test]
    fn a_secret_that_comes_back_is_not_kept() {
        let secrets = [Secret::new("hush"), Secret::new("one\ntwo")];
        let answer = masked(b"you said Bearer hush, hush, two".to_vec(), secrets.iter());
        assert_eq!(String::from_utf8(answer).unwrap(), "you said Bearer …, …, …");
        assert_eq!(masked(b"plain".to_vec(), [].iter()), b"plain");
    }
}
