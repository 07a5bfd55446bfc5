//! What is refused, and that it never reaches the chats.

use serde_json::json;

use crate::support::{Answer, Edge, TOKEN, edge, request};

/// Sends messages that must be refused with 400, naming a field.
async fn refused_naming(edge: &Edge, cases: &[(&str, &str)]) {
    for (body, field) in cases {
        let refused = edge.send(body).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{body}");
        assert!(refused.detail().contains(field), "{body}: {}", refused.detail());
    }
    assert!(edge.pretender.asked().is_empty(), "it was asked all the same");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let edge = edge().await;
    let cases = [("hello", "JSON"), ("", "JSON"), ("{", "JSON"), ("{} {}", "JSON"), ("[]", "body")];
    refused_naming(&edge, &cases).await;
}

#[tokio::test]
async fn an_array_does_not_stand_for_an_object() {
    let edge = edge().await;
    let (chats, chat) = ("/v1/chats".to_owned(), format!("/v1/chats/{TOKEN}"));
    let message = r#"["alice", "text", "everyone", null, {"a": 1}, null, null, null, {}]"#;
    for (method, path, body) in [
        ("POST", chats.clone(), "[5, 3, {}]"),
        ("POST", chats, " \r\n\t[5, 3, {}]"),
        ("PUT", format!("{chat}/members/a"), r#"["x", {}]"#),
        ("POST", format!("{chat}/end"), r#"["mallory"]"#),
        ("POST", format!("{chat}/end"), "null"),
        ("POST", format!("{chat}/messages"), message),
    ] {
        let key = if path.ends_with("/messages") { "idempotency-key: k\r\n" } else { "" };
        let refused = edge.raw(request(method, &path, key, body)).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{body}");
        assert_eq!(refused.detail(), "the body must be a JSON object", "{body}");
    }
    let nested = [
        (r#"{"sender": "a", "text": "b", "route": ["only", ["c"]]}"#, "route"),
        (r#"{"sender": "a", "text": "b", "route": [["c"]]}"#, "route"),
        (r#"{"sender": "a", "text": "b", "route": {"only": {"0": "c"}}}"#, "route"),
        (r#"{"sender": "a", "text": "b", "attrs": [["x", "y"]]}"#, "attrs"),
    ];
    refused_naming(&edge, &nested).await;
}

#[tokio::test]
async fn an_unknown_or_missing_field_is_refused_by_name() {
    let edge = edge().await;
    refused_naming(
        &edge,
        &[
            (r#"{"sender": "a", "txet": "b"}"#, "txet"),
            (r#"{"text": "b"}"#, "sender"),
            (r#"{"sender": "a"}"#, "text"),
            (r#"{"sender": "a", "text": "b", "text": "c"}"#, "text"),
            (r#"{"sender": "a", "text": "b", "route": {"only": ["c"], "except": []}}"#, "route"),
            (r#"{"sender": "a", "base64": "AA=="}"#, "media_type"),
        ],
    )
    .await;
    for (method, path) in [("POST", ""), ("PUT", "/members/a"), ("POST", "/end")] {
        let under = if path.is_empty() { String::new() } else { format!("/{TOKEN}{path}") };
        let refused = edge.with(method, &format!("/v1/chats{under}"), r#"{"nmae": 1}"#).await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.detail().contains("nmae"), "{path}: {}", refused.detail());
    }
}

#[tokio::test]
async fn two_bodies_are_refused() {
    let edge = edge().await;
    refused_naming(
        &edge,
        &[
            (r#"{"sender": "a", "text": "b", "json": null}"#, "json"),
            (r#"{"sender": "a", "text": "b", "base64": "", "media_type": "a/b"}"#, "base64"),
            (r#"{"sender": "a", "json": 1, "base64": "", "media_type": "a/b"}"#, "base64"),
            (r#"{"sender": "a", "text": "b", "media_type": "a/b"}"#, "media_type"),
        ],
    )
    .await;
}

#[tokio::test]
async fn wrong_types_and_values_are_refused_by_name() {
    let edge = edge().await;
    let deep = format!(r#"{{"sender": "a", "json": {}{}}}"#, "[".repeat(65), "]".repeat(65));
    let long = format!(r#"{{"sender": "{}", "text": "b"}}"#, "x".repeat(129));
    refused_naming(
        &edge,
        &[
            (r#"{"sender": 1, "text": "b"}"#, "sender"),
            (r#"{"sender": "", "text": "b"}"#, "sender"),
            (r#"{"sender": "a\nb", "text": "b"}"#, "sender"),
            (&long, "sender"),
            (r#"{"sender": "a", "text": ["b"]}"#, "text"),
            (r#"{"sender": "a", "text": "b", "kind": "two words"}"#, "kind"),
            (r#"{"sender": "a", "text": "b", "kind": "member.join"}"#, "kind"),
            (r#"{"sender": "a", "text": "b", "route": "all"}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"only": []}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"only": [1]}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"only": "bob"}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"everyone": null}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"nobody": []}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "route": {"nobody": null}}"#, "route"),
            (r#"{"sender": "a", "text": "b", "attrs": {"x": 1}}"#, "attrs"),
            (r#"{"sender": "a", "text": "b", "attrs": []}"#, "attrs"),
            (r#"{"sender": "a", "text": "b", "sent_ms": -1}"#, "sent_ms"),
            (r#"{"sender": "a", "text": "b", "sent_ms": 1.5}"#, "sent_ms"),
            (r#"{"sender": "a", "text": "b", "sent_ms": 9007199254740992}"#, "sent_ms"),
            (r#"{"sender": "a", "base64": "A", "media_type": "a/b"}"#, "base64"),
            (r#"{"sender": "a", "base64": "AA==", "media_type": "nothing"}"#, "media_type"),
            (&deep, "json"),
        ],
    )
    .await;
    for body in
        [r#"{"max_participants": 0}"#, r#"{"max_duration_s": -1}"#, r#"{"attrs": {"": ""}}"#]
    {
        assert_eq!(edge.with("POST", "/v1/chats", body).await.status, 400, "{body}");
    }
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn invalid_utf_8_is_refused_wherever_it_is() {
    let edge = edge().await;
    let refused = edge.send(b"{\"sender\": \"a\", \"text\": \"\xff\"}").await;
    assert_eq!((refused.status, refused.detail().as_str()), (400, "the body is not UTF-8"));
    let refused = edge.send(b"{\"sender\": \"a\", \"json\": \"\xff\"}").await;
    assert_eq!(refused.status, 400);
    let refused = edge.bare("PUT", &format!("/v1/chats/{TOKEN}/members/%ff")).await;
    assert_eq!(refused.code(), "invalid-request");
    let refused = edge.get(&format!("/v1/chats/{TOKEN}/messages?as=%ff")).await;
    assert_eq!(refused.code(), "invalid-request");
    assert_eq!(edge.get("/v1/chats/%ff").await.code(), "unknown-chat");
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_message_of_65_kib_is_too_large_and_one_of_64_is_not() {
    let edge = edge().await;
    let text = |bytes: usize| format!(r#"{{"sender": "a", "text": "{}"}}"#, "x".repeat(bytes));
    let refused = edge.send(text(65 << 10)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too-large"));
    assert!(edge.pretender.asked().is_empty());
    assert_eq!(edge.send(text(64 << 10)).await.status, 201);
    let json = format!(r#"{{"sender": "a", "json": "{}"}}"#, "x".repeat(64 << 10));
    assert_eq!(edge.send(json).await.status, 413);
}

#[tokio::test]
async fn a_request_of_more_than_1_mib_is_too_large_and_its_sender_gets_to_know() {
    let edge = edge().await;
    let body = vec![b' '; (1 << 20) + 1];
    let refused = edge.send(&body).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too-large"));

    let path = format!("/v1/chats/{TOKEN}/messages");
    let mut chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        body.len(),
    )
    .into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(edge.raw(chunked).await.code(), "too-large");

    let asks_first = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: 2000000\r\n\r\n",
    );
    let refused = edge.raw(asks_first).await;
    assert_eq!((refused.status, refused.header("connection")), (413, Some("close")));
}

#[tokio::test]
async fn ten_thousand_headers_are_too_many_and_their_sender_gets_to_know() {
    let edge = edge().await;
    let many: String = (0..10_000).map(|n| format!("x-header-{n}: {n}\r\n")).collect();
    let refused = edge.raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
    assert_eq!((refused.status, refused.code().as_str()), (431, "headers-too-large"));

    let few: String = (0..101).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let refused = edge.raw(format!("GET / HTTP/1.1\r\nhost: a\r\n{few}\r\n")).await;
    assert_eq!(refused.code(), "headers-too-large");

    let long = "x".repeat(33 << 10);
    let refused = edge.raw(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")).await;
    assert_eq!(refused.code(), "headers-too-large");
}

#[tokio::test]
async fn what_is_not_http_is_told_so() {
    let edge = edge().await;
    for bytes in ["hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let refused = edge.raw(bytes).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{bytes}");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_one_visible_word() {
    let edge = edge().await;
    let path = format!("/v1/chats/{TOKEN}/messages");
    let body = r#"{"sender": "a", "text": "b"}"#;
    let key = |key: &str| format!("idempotency-key: {key}\r\n");
    for headers in [
        String::new(),
        key(""),
        key(&"k".repeat(256)),
        key("two words"),
        key("é"),
        key("tab\tin"),
        format!("{}{}", key("a"), key("b")),
    ] {
        let refused = edge.raw(request("POST", &path, &headers, body)).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "invalid-request"),
            "{headers}"
        );
        assert!(refused.detail().contains("Idempotency-Key"), "{}", refused.detail());
    }
    assert!(edge.pretender.asked().is_empty());
    let longest = key(&"k".repeat(255));
    assert_eq!(edge.raw(request("POST", &path, &longest, body)).await.status, 201);
}

#[tokio::test]
async fn only_json_is_read() {
    let edge = edge().await;
    let path = format!("/v1/chats/{TOKEN}/messages");
    let head = |headers: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\n{headers}\r\n{{}}")
    };
    for headers in [
        "content-length: 2\r\n",
        "content-length: 2\r\ncontent-type: text/plain\r\n",
        "content-length: 2\r\ncontent-type: application/json; charset=latin1\r\n",
        "content-length: 2\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n",
    ] {
        let refused = edge.raw(head(headers)).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (415, "unsupported-media-type"),
            "{headers}"
        );
    }
    let refused =
        edge.raw(format!("POST {path} HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\n\r\n")).await;
    assert_eq!((refused.status, refused.code().as_str()), (411, "length-required"));
}

#[tokio::test]
async fn what_cannot_be_a_token_names_no_chat() {
    let edge = edge().await;
    let upper = TOKEN.to_uppercase();
    for token in ["x", "", &TOKEN[1..], &upper, "..%2f..", "%00"] {
        if !token.is_empty() {
            assert_eq!(
                edge.get(&format!("/v1/chats/{token}")).await.code(),
                "unknown-chat",
                "{token}"
            );
        }
        let path = format!("/v1/chats/{token}/messages");
        let message =
            request("POST", &path, "idempotency-key: k\r\n", r#"{"sender":"a","text":"b"}"#);
        assert_eq!(edge.raw(message).await.status, 404, "{token}");
    }
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_query_is_as_strict_as_a_body() {
    let edge = edge().await;
    for query in [
        "after=here",
        "before=1",
        "limit=0",
        "limit=1001",
        "limit=ten",
        "wait=31",
        "wait=-1",
        "wait=NaN",
        "as=",
        "confirmed=yes",
        "aftre=1-1",
        "after=1-1&after=1-2",
    ] {
        let refused = edge.get(&format!("/v1/chats/{TOKEN}/messages?{query}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{query}");
        let field = query.split('=').next().unwrap();
        assert!(refused.detail().contains(field), "{query}: {}", refused.detail());
    }
    for query in ["w=0", "w=x", "n=0", "w=3&n=2", "acks=2"] {
        let path = format!("/v1/chats/{TOKEN}/messages?{query}");
        let message =
            request("POST", &path, "idempotency-key: k\r\n", r#"{"sender":"a","text":"b"}"#);
        assert_eq!(edge.raw(message).await.status, 400, "{query}");
    }
    assert_eq!(edge.get("/v1/ring?x=1").await.status, 400);
    let seen = format!("GET /v1/chats/{TOKEN} HTTP/1.1\r\nhost: a\r\ncarillon-seen: x\r\n\r\n");
    assert!(edge.raw(seen).await.detail().contains("Carillon-Seen"));
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_problems_too() {
    let edge = edge().await;
    let check = |answer: Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    };
    for path in ["/nothing", "/v1", "/v1/chats/", "/v2/chats", "/page/passwd"] {
        check(edge.get(path).await, 404, "not-found");
    }
    let put = edge.bare("PUT", "/v1/chats").await;
    assert_eq!(put.header("allow"), Some("POST"));
    check(put, 405, "method-not-allowed");
    check(edge.bare("BREW", "/healthz").await, 405, "method-not-allowed");
}

#[tokio::test]
async fn a_route_names_each_problem_the_same_way() {
    let edge = edge().await;
    let refused = edge.get("/nothing").await.json();
    let expected = json!("urn:carillon:problem:not-found");
    assert_eq!(refused["type"], expected);
}
