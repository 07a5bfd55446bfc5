//! What the headers of an object's request and answer say.

use archive::{Found, META_BYTES_MAX, Md5};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, X_CONTENT_TYPE_OPTIONS,
};

use crate::problem::Problem;

/// What is kept with an object begins so.
const META: &str = "carillon-meta-";
/// The MD5 of a body, in base64.
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const VERSION: HeaderName = HeaderName::from_static("carillon-version");
const ADLER32: HeaderName = HeaderName::from_static("carillon-adler32");
const CREATED_MS: HeaderName = HeaderName::from_static("carillon-created-ms");

/// The MD5 that the body must have, if the request says it.
pub(super) fn md5(headers: &HeaderMap) -> Result<Option<Md5>, Problem> {
    let mut all = headers.get_all(CONTENT_MD5).iter();
    let wrong = || Problem::invalid("Content-MD5: one, 16 bytes in base64");
    let said = match (all.next(), all.next()) {
        (None, _) => return Ok(None),
        (Some(one), None) => one.to_str().map_err(|_not_ascii| wrong())?,
        (Some(_), Some(_)) => return Err(wrong()),
    };
    let bytes = STANDARD.decode(said).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Md5).map(Some).ok_or_else(wrong)
}

/// What is to be kept with an object.
pub(super) fn meta(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let mut meta: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(META) else { continue };
        if name.is_empty() {
            return Err(Problem::invalid("Carillon-Meta-: a name is missing behind it"));
        }
        if meta.iter().any(|(known, _)| known == name) {
            return Err(Problem::invalid(format!("Carillon-Meta-{name}: more than one")));
        }
        let not_text = || Problem::invalid(format!("Carillon-Meta-{name}: not UTF-8"));
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_not| not_text())?;
        bytes += name.len() + value.len();
        meta.push((name.to_owned(), value.to_owned()));
    }
    if bytes > META_BYTES_MAX {
        let detail =
            format!("Carillon-Meta-*: names and values have at most {META_BYTES_MAX} bytes");
        return Err(Problem::invalid(detail));
    }
    Ok(meta)
}

/// What tells an object's bytes from others, as a header has it.
pub(super) fn etag(found: &Found) -> String {
    format!("\"{}\"", found.etag())
}

/// Whether a list of tags, or `*`, names this one. Weak ones do here: nothing is given.
pub(super) fn names(list: &str, etag: &str) -> bool {
    let tag = |one: &str| {
        let one = one.trim();
        one.strip_prefix("W/").unwrap_or(one) == etag
    };
    list.trim() == "*" || list.split(',').any(tag)
}

/// What is told of an object with its bytes, or without them. `length` bytes of it follow.
pub(super) fn of(found: &Found, length: u64, whole: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // Whatever somebody stored: no browser must make a page of it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CREATED_MS, HeaderValue::from(found.time_ms));
    let adler32 = found.adler32().to_string();
    for (name, text) in
        [(VERSION, found.version.to_string()), (ADLER32, adler32), (ETAG, etag(found))]
    {
        put(&mut headers, name, &text);
    }
    if let ([part], false, true) = (found.parts.as_slice(), found.conjoined, whole) {
        put(&mut headers, CONTENT_MD5, &STANDARD.encode(part.md5.0));
    }
    for (name, value) in &found.meta {
        if let Ok(name) = HeaderName::try_from(format!("{META}{name}")) {
            put(&mut headers, name, value);
        }
    }
    headers
}

/// What was kept once came as a header, so it is one.
fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn what_is_kept_with_an_object_is_bounded_text_under_names_of_their_own() {
        let said = headers(&[("carillon-meta-colour", "blue"), ("carillon-meta-who", "Zoë")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(meta(&said).unwrap(), [pair("colour", "blue"), pair("who", "Zoë")]);
        assert_eq!(meta(&headers(&[("content-type", "a/b")])).unwrap(), []);
        let long = "x".repeat(META_BYTES_MAX);
        for bad in [
            headers(&[("carillon-meta-", "x")]),
            headers(&[("carillon-meta-a", "x"), ("carillon-meta-a", "y")]),
            headers(&[("carillon-meta-a", &long)]),
        ] {
            assert!(meta(&bad).is_err(), "{bad:?}");
        }
        let mut latin = HeaderMap::new();
        latin.insert("carillon-meta-a", HeaderValue::from_bytes(b"\xeb").unwrap());
        assert!(meta(&latin).is_err());
    }

    #[test]
    fn a_digest_is_sixteen_bytes_in_base64() {
        let good = headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]);
        assert_eq!(md5(&good).unwrap(), Some(Md5::of(b"")));
        assert_eq!(md5(&headers(&[])).unwrap(), None);
        for bad in ["", "1B2M2Y8AsgTpgAmY7PhCfg", "d41d8cd98f00b204e9800998ecf8427e", "AAAA", "ë"]
        {
            assert!(md5(&headers(&[("content-md5", bad)])).is_err(), "{bad}");
        }
        let twice = headers(&[("content-md5", "AAAA"), ("content-md5", "AAAA")]);
        assert!(md5(&twice).is_err());
    }

    #[test]
    fn a_tag_is_found_in_a_list() {
        for list in ["\"a\"", "*", "\"b\", \"a\"", "W/\"a\"", " \"a\" "] {
            assert!(names(list, "\"a\""), "{list}");
        }
        for list in ["", "a", "\"ab\"", "\"b\""] {
            assert!(!names(list, "\"a\""), "{list}");
        }
    }
}
