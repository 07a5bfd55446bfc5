//! How a connection stops being HTTP (RFC 6455, section 4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use sha1::{Digest, Sha1};

use crate::problem::Problem;

/// What every server adds to a client's key before it hashes it (RFC 6455, section 1.3).
const ADDED: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key.
const KEY_BYTES: usize = 16;

/// What to answer in `Sec-WebSocket-Accept`.
///
/// A page of another origin may not: elsewhere the browser would keep the answer from it, but here it does
/// not look.
///
/// # Errors
/// It is no opening handshake, or another origin's.
pub(crate) fn accept(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    if !has_word(headers, &CONNECTION, "upgrade") || !has_word(headers, &UPGRADE, "websocket") {
        return Err(Problem::invalid("Upgrade: websocket is what is spoken here"));
    }
    if text(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Problem::invalid("Sec-WebSocket-Version: 13 is what is spoken here"));
    }
    let key = text(headers, &SEC_WEBSOCKET_KEY).unwrap_or_default();
    if STANDARD.decode(key).ok().is_none_or(|bytes| bytes.len() != KEY_BYTES) {
        return Err(Problem::invalid("Sec-WebSocket-Key: 16 bytes in base64"));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let host = text(headers, &HOST);
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if host.is_none() || origin.map(|(_, authority)| authority) != host {
            return Err(Problem::new(chat::Code::Forbidden, "a page of another origin asks"));
        }
    }
    let hash = Sha1::new().chain_update(key.as_bytes()).chain_update(ADDED).finalize();
    let hash = HeaderValue::try_from(STANDARD.encode(hash));
    hash.map_err(|_never| Problem::new(chat::Code::Internal, "base64 that no header holds"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::accept;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    const GOOD: [(&str, &str); 5] = [
        ("host", "example.com:7081"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_answer_is_the_one_of_the_rfc() {
        let accepted = accept(&headers(&GOOD)).unwrap();
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for (at, value) in [(1, "close"), (2, "h2c"), (3, "12"), (4, "AAAA"), (4, "no base64")] {
            let mut bad = GOOD;
            bad[at].1 = value;
            assert!(accept(&headers(&bad)).is_err(), "{value}");
            let missing: Vec<_> =
                GOOD.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, pair)| *pair).collect();
            assert!(accept(&headers(&missing)).is_err(), "without {}", GOOD[at].0);
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        for (origin, good) in [
            ("http://example.com:7081", true),
            ("https://example.com:7081", true),
            ("http://example.com", false),
            ("http://evil.test", false),
            ("null", false),
        ] {
            let with = [&GOOD[..], &[("origin", origin)]].concat();
            assert_eq!(accept(&headers(&with)).is_ok(), good, "{origin}");
        }
    }
}
