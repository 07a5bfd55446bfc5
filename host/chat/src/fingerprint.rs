//! When two requests say the same.

use model::{Attrs, Body, Route};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Send;

/// What "the same body" compares: everything decoded, without the sender's clock. The key and the sender
/// are what it is looked up by, and how many should hold it is no part of what was said.
#[derive(Serialize)]
struct Said<'a> {
    kind: &'a str,
    route: &'a Route,
    body: &'a Body,
    attrs: &'a Attrs,
}

/// What most messages say beside their body takes less, so that most need one allocation.
const ROOM_BYTES: usize = 128;

/// SHA-256 over what was said, in postcard.
pub(crate) fn fingerprint(send: &Send) -> [u8; 32] {
    let said = Said { kind: &send.kind, route: &send.route, body: &send.body, attrs: &send.attrs };
    // Cannot fail: texts, lists and maps into memory.
    let room = Vec::with_capacity(send.body.len() + ROOM_BYTES);
    let bytes = postcard::to_extend(&said, room).unwrap_or_default();
    // What refers to nothing has the hash it had before anything could.
    let Some(archive) = &send.archive else {
        return Sha256::new()
            .chain_update(b"carillon body 1")
            .chain_update(bytes)
            .finalize()
            .into();
    };
    let bytes = postcard::to_extend(archive, bytes).unwrap_or_default();
    Sha256::new().chain_update(b"carillon body 2").chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use model::{Attrs, Body, ChatToken, Route};

    use super::fingerprint;
    use crate::{Naming, Send};

    fn send() -> Send {
        Send {
            token: ChatToken([1; 16]),
            key: "k".into(),
            acks: None,
            copies: None,
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("hello".into()),
            archive: None,
            attrs: Attrs::new(),
            sent_ms: None,
        }
    }

    /// These stand in logs: another hash for the same message would call an honest repeat a conflict.
    #[test]
    fn what_was_said_has_the_hash_it_always_had() {
        let hex: String = fingerprint(&send()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "f538ebe592b6304f4578257d0f5edc866854ddfc7b7a5c03554ab10f14d852fa");
    }

    #[test]
    fn what_it_refers_to_is_said_and_leaving_a_version_out_is_another_thing() {
        let refers = |key: &str, version| {
            let (collection, key) = ("attachments".into(), key.into());
            let archive = Some(Box::new(Naming { collection, key, version }));
            fingerprint(&Send { archive, ..send() })
        };
        let all = [
            fingerprint(&send()),
            refers("a", None),
            refers("a", Some(0)),
            refers("a", Some(1)),
            refers("b", Some(1)),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
        assert_eq!(refers("a", None), refers("a", None));
    }

    #[test]
    fn the_clock_and_the_quorum_are_not_what_was_said() {
        let first = fingerprint(&send());
        let again = Send { sent_ms: Some(7), acks: Some(3), copies: Some(3), ..send() };
        assert_eq!(fingerprint(&again), first);
        for other in [
            Send { body: Body::Json("hello".into()), ..send() },
            Send { kind: "note".into(), ..send() },
            Send { route: Route::Nobody, ..send() },
            Send { attrs: Attrs::from([("a".into(), "b".into())]), ..send() },
        ] {
            assert_ne!(fingerprint(&other), first);
        }
    }
}
