//! The name of a request, in its answer, in problems and in log lines on every node.
//!
//! It travels as the request's own header: what the client sent, if that is usable, otherwise ours.

use std::fmt::Write;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("carillon-request-id");

/// Longer names would make every log line long.
const LENGTH_MAX: usize = 128;

/// Makes sure that the request has a usable name, and returns it.
pub(crate) fn ensure(headers: &mut HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(own) if is_usable(own) => own.clone(),
        _ => {
            let id = fresh();
            headers.insert(REQUEST_ID, id.clone());
            id
        }
    }
}

/// A name nobody has used.
pub(crate) fn fresh() -> HeaderValue {
    let mut text = String::with_capacity(32);
    // Writing to a string cannot fail, and a short name would still be a name.
    let _infallible = write!(text, "{:032x}", rand::random::<u128>());
    HeaderValue::try_from(text).unwrap_or_else(|_not_hex| HeaderValue::from_static("none"))
}

/// The name of a request that went through [`ensure`].
pub(crate) fn of(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none")
}

fn is_usable(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_ID, ensure, of};
    use hyper::header::{HeaderMap, HeaderValue};

    #[test]
    fn a_clients_own_name_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("mine-1"));
        assert_eq!(ensure(&mut headers), "mine-1");
    }

    #[test]
    fn a_name_that_would_spoil_a_log_line_is_replaced() {
        for bad in ["", "two words", &"x".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(bad).unwrap());
            let given = ensure(&mut headers);
            assert_eq!(given.len(), 32);
            assert_eq!(of(&headers), given);
        }
    }
}
