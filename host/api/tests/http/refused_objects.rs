//! What the archive's surface refuses, in which words, and that nobody is asked for it then.

use archive::{Code, Md5};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::objects::{KEY, ask, bare, data};
use crate::support::{TOKEN, edge};

#[tokio::test]
async fn bad_names_are_refused_and_never_asked_for() {
    let edge = edge().await;
    let long = format!("/v1/archive/1001/{}", "k".repeat(1025));
    for path in [
        "/v1/archive/1001/",
        "/v1/archive/1001/a/../b",
        "/v1/archive/1001/..",
        "/v1/archive/1001/%2e%2e/b",
        "/v1/archive/1001/a%2F..%2Fb",
        "/v1/archive/1001/a%00b",
        "/v1/archive/1001/%ff",
        "/v1/archive/1001/a%zz",
        "/v1/archive/.x/a",
        long.as_str(),
    ] {
        for method in ["GET", "DELETE"] {
            let refused = bare(&edge, method, path, "").await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (400, "invalid-request"),
                "{path}"
            );
        }
        let refused = ask(&edge, "PUT", path, "", b"data").await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{path}");
        let refused = bare(&edge, "POST", &format!("{path}?action=start"), "").await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{path}");
    }
    assert_eq!(edge.shelf.asked(), []);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let edge = edge().await;
    for (query, headers, field) in [
        ("?part=1", "", "conjoined"),
        ("?conjoined=5", "", "part"),
        ("?conjoined=5&part=0", "", "part"),
        ("?conjoined=5&part=10001", "", "part"),
        ("?conjoined=x&part=1", "", "conjoined"),
        ("?version=5", "", "version"),
        ("", "content-md5: x\r\n", "Content-MD5"),
        ("", "content-md5: AAAA\r\n", "Content-MD5"),
        ("", "carillon-meta-: x\r\n", "Carillon-Meta-"),
        ("", "idempotency-key: \u{eb}\r\n", "Idempotency-Key"),
        ("", "if-none-match: *\r\n", "if-none-match"),
        ("", "if-match: \"a\"\r\n", "if-match"),
    ] {
        let refused = ask(&edge, "PUT", &format!("{KEY}{query}"), headers, b"data").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "invalid-request"),
            "{query}{headers}"
        );
        assert!(refused.detail().contains(field), "{query}{headers}: {}", refused.detail());
    }
    for (query, field) in [
        ("", "action"),
        ("?action=begin", "action"),
        ("?action=start&conjoined=5", "conjoined"),
        ("?action=finish", "conjoined"),
        ("?action=abort&conjoined=x", "conjoined"),
        ("?action=start&part=1", "part"),
    ] {
        let refused = bare(&edge, "POST", &format!("{KEY}{query}"), "").await;
        assert_eq!(refused.code(), "invalid-request", "{query}");
        assert!(refused.detail().contains(field), "{query}: {}", refused.detail());
    }
    for (method, query) in [("GET", "?version="), ("DELETE", "?version=-1"), ("GET", "?x=1")] {
        let refused = bare(&edge, method, &format!("{KEY}{query}"), "").await;
        assert_eq!(refused.code(), "invalid-request", "{method}{query}");
    }
    let refused = ask(&edge, "DELETE", KEY, "", b"{}").await;
    assert_eq!(refused.code(), "invalid-request", "a delete with a body");
    assert_eq!(edge.shelf.asked(), []);
}

#[tokio::test]
async fn how_long_a_body_is_must_be_said_in_front() {
    let edge = edge().await;
    let missing = bare(&edge, "PUT", KEY, "").await;
    assert_eq!((missing.status, missing.code().as_str()), (411, "length-required"));
    let request = format!(
        "PUT {KEY} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n"
    );
    let chunked = edge.raw(request).await;
    assert_eq!((chunked.status, chunked.code().as_str()), (411, "length-required"));
    let encoded = ask(&edge, "PUT", KEY, "content-encoding: gzip\r\n", b"data").await;
    assert_eq!((encoded.status, encoded.code().as_str()), (415, "unsupported-media-type"));
    assert_eq!(edge.shelf.asked(), []);
}

#[tokio::test]
async fn every_refusal_of_the_archive_has_its_number_and_its_name() {
    let edge = edge().await;
    edge.shelf.keep("aaa/bbb/ccc", &data(10));
    let put = async || ask(&edge, "PUT", KEY, "", b"data").await;
    let get = async || edge.get(KEY).await;
    for (code, status, name, retryable) in [
        (Code::Md5Mismatch, 400, "md5-mismatch", false),
        (Code::SizeMismatch, 400, "size-mismatch", false),
        (Code::WrongOrder, 400, "wrong-order", false),
        (Code::UnknownCollection, 404, "unknown-collection", false),
        (Code::NotFound, 404, "not-found", false),
        (Code::UnknownVersion, 404, "unknown-version", false),
        (Code::Timeout, 408, "timeout", true),
        (Code::AlreadyFinal, 409, "already-final", false),
        (Code::SegmentBusy, 409, "segment-busy", true),
        (Code::IdempotencyConflict, 409, "idempotency-conflict", false),
        (Code::TooLarge, 413, "too-large", false),
        (Code::Damaged, 500, "damaged", true),
        (Code::NoQuorum, 503, "no-quorum", true),
        (Code::NotReady, 503, "not-ready", true),
        (Code::Overloaded, 503, "overloaded", true),
        (Code::StorageFull, 507, "storage-full", true),
    ] {
        for answer in [
            {
                edge.shelf.refuse_next(code);
                put().await
            },
            {
                edge.shelf.refuse_next(code);
                get().await
            },
        ] {
            assert_eq!((answer.status, answer.code().as_str()), (status, name));
            assert_eq!(answer.json()["retryable"], retryable, "{name}");
        }
    }
    let wrong = format!("content-md5: {}\r\n", STANDARD.encode(Md5::of(b"other").0));
    let refused = ask(&edge, "PUT", KEY, &wrong, b"data").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "md5-mismatch"));
    let none = edge.get("/v1/archive/1001/none").await;
    assert_eq!((none.status, none.code().as_str()), (404, "not-found"));
    let other = bare(&edge, "PATCH", KEY, "").await;
    assert_eq!((other.status, other.code().as_str()), (405, "method-not-allowed"));
}

#[tokio::test]
async fn who_is_refused_early_gets_to_read_why() {
    let edge = edge().await;
    edge.shelf.refuse_next(Code::UnknownCollection);
    let refused = ask(&edge, "PUT", KEY, "", &data(3 << 20)).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "unknown-collection"));
}

/// Who is in a chat could have it archived as something else, before it is over.
#[tokio::test]
async fn what_a_whole_chat_is_kept_as_is_stored_by_nodes_only() {
    let edge = edge().await;
    let path = format!("/v1/archive/chats/{TOKEN}");
    assert_eq!(ask(&edge, "PUT", &path, "", b"data").await.status, 400);
    assert_eq!(ask(&edge, "POST", &format!("{path}?action=start"), "", b"").await.status, 400);
    assert_eq!(ask(&edge, "PUT", &format!("{path}/x"), "", b"data").await.status, 201);
}
