//! A plugin's call to a service, as it is sent.
//!
//! It says what the plugin asked for and nothing else: where it goes is the service's URL, what proves who
//! sends it is the service's too, and where the plugin wrote `{{secret:NAME}}` in a header the secret stands
//! there for the one attempt. A plugin never holds it, and an answer that repeats it is masked.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::Outcall;
use sha2::{Digest, Sha256};

use crate::{Rendered, Secret};

/// What stands for a secret, before and after its name.
const MARKS: (&str, &str) = ("{{secret:", "}}");

/// Writes `outcall` out, as transaction `id`.
pub fn render_outcall(id: String, outcall: &Outcall) -> Rendered {
    let names_type = outcall.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    let mut hash = Sha256::new().chain_update(b"carillon outcall");
    let headers = outcall.headers.iter().flat_map(|(name, value)| [name, value]);
    for text in [&outcall.path].into_iter().chain(headers) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        hash = hash.chain_update(length.to_le_bytes()).chain_update(text);
    }
    let headers = outcall.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    Rendered {
        method: "POST",
        path: outcall.path.clone(),
        content_type: if names_type { "" } else { "application/octet-stream" },
        headers: headers.collect(),
        id,
        body: Bytes::from(outcall.body.clone()),
        hash: hash.chain_update(&outcall.body).finalize().into(),
    }
}

/// `value` with the secrets that it names; the name of one that there is not as an error.
pub(crate) fn filled(value: &str, secrets: &BTreeMap<String, Secret>) -> Result<String, String> {
    let mut rest = value;
    let mut filled = String::new();
    while let Some((before, after)) = rest.split_once(MARKS.0) {
        let (name, after) = after.split_once(MARKS.1).ok_or_else(|| after.to_owned())?;
        let secret = secrets.get(name).ok_or_else(|| name.to_owned())?;
        filled.push_str(before);
        filled.push_str(secret.reveal());
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Attrs, Outcall};

    use super::{filled, render_outcall};
    use crate::Secret;

    fn outcall() -> Outcall {
        Outcall {
            plugin: "crm".to_owned(),
            service: "crm".to_owned(),
            path: "/v1/notes?x=1".to_owned(),
            headers: Attrs::from([("X-Key".to_owned(), "{{secret:crm}}".to_owned())]),
            body: b"{}".to_vec(),
            correlation: String::new(),
            queued_ms: 0,
        }
    }

    #[test]
    fn an_outcall_is_sent_as_it_was_asked_for() {
        let rendered = render_outcall("id".to_owned(), &outcall());
        assert_eq!((rendered.method, rendered.path.as_str()), ("POST", "/v1/notes?x=1"));
        assert_eq!(rendered.headers, [("X-Key".to_owned(), "{{secret:crm}}".to_owned())]);
        assert_eq!((rendered.id.as_str(), rendered.body.as_ref()), ("id", &b"{}"[..]));
        assert_eq!(rendered.content_type, "application/octet-stream");
        let mut typed = outcall();
        typed.headers.insert("Content-Type".to_owned(), "text/plain".to_owned());
        let typed = render_outcall("id".to_owned(), &typed);
        assert_eq!(typed.content_type, "");
        assert_ne!(typed.hash, rendered.hash);
    }

    #[test]
    fn a_secret_stands_where_its_name_stood() {
        let secrets = BTreeMap::from([("a".to_owned(), Secret::new("{{secret:b}}"))]);
        let fill = |value: &str| filled(value, &secrets);
        assert_eq!(fill("plain {{x}}").as_deref(), Ok("plain {{x}}"));
        // What is filled in is not looked at again.
        assert_eq!(
            fill("k {{secret:a}}{{secret:a}}.").as_deref(),
            Ok("k {{secret:b}}{{secret:b}}.")
        );
        assert_eq!(fill("{{secret:b}}"), Err("b".to_owned()));
        assert_eq!(fill("{{secret:a"), Err("a".to_owned()));
        assert_eq!(fill("{{secret:}}"), Err(String::new()));
    }
}
