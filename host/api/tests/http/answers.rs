//! What is answered when nothing is wrong, and when the chats say no.

use std::time::Duration;

use chat::{Code, Readiness, Refusal, Request, RequestOutcome};
use model::{Body, Cursor, Route};
use serde_json::json;

use crate::support::{TOKEN, edge, request};

#[tokio::test]
async fn a_chat_is_created_shown_and_ended() {
    let edge = edge().await;
    let body = r#"{"max_duration_s": 60, "max_participants": 2, "attrs": {"a": "b"}}"#;
    let created = edge.with("POST", "/v1/chats", body).await;
    assert_eq!(created.status, 201);
    let expected = json!({"token": TOKEN, "cursor": "1-0", "status": "pending", "created_ms": 5});
    assert_eq!(created.json(), expected);
    assert_eq!(created.header("location"), Some(format!("/v1/chats/{TOKEN}").as_str()));
    let Request::Create { max_duration_s, max_participants, attrs } = edge.pretender.last().0
    else {
        panic!("something else was asked")
    };
    assert_eq!((max_duration_s, max_participants), (Some(60), Some(2)));
    assert_eq!(attrs["a"], "b");

    let shown = edge.get(&format!("/v1/chats/{TOKEN}?confirmed=true")).await;
    assert_eq!(shown.status, 200);
    let expected = json!({
        "token": TOKEN, "status": "started", "cursor": "1-1", "created_ms": 5, "started_ms": 6,
        "max_participants": 2, "participants": [], "attrs": {}, "plugins": {"status": "0.1.0"},
    });
    assert_eq!(shown.json(), expected);
    assert!(matches!(edge.pretender.last().0, Request::Show { confirmed: true, .. }));

    let ended = edge.bare("POST", &format!("/v1/chats/{TOKEN}/end")).await;
    assert_eq!(ended.json(), json!({"status": "ended", "cursor": "1-1", "ended_ms": 9}));
    assert_eq!(edge.bare("POST", "/v1/chats").await.status, 201, "no body is an empty one");
}

#[tokio::test]
async fn members_join_and_leave() {
    let edge = edge().await;
    let path = format!("/v1/chats/{TOKEN}/members/Zo%C3%AB%20B");
    let joined = edge.with("PUT", &path, r#"{"role": "guest"}"#).await;
    assert_eq!((joined.status, joined.json()), (200, json!({"ordinal": 3})));
    let Request::Join { id, role, .. } = edge.pretender.last().0 else { panic!("no join") };
    assert_eq!((id.as_str(), role.as_deref()), ("Zoë B", Some("guest")));
    assert_eq!(edge.bare("DELETE", &path).await.status, 204);
    assert!(matches!(edge.pretender.last().0, Request::Leave { id, .. } if id == "Zoë B"));
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let edge = edge().await;
    let body =
        r#"{"sender": "alice", "text": "hé\n\u0000", "sent_ms": 3, "route": {"only": ["bob"]}}"#;
    let sent = edge.send(body).await;
    assert_eq!(sent.status, 201);
    assert_eq!(sent.header("idempotent-replay"), None);
    let answer = sent.json();
    assert_eq!(answer["id"], "01".repeat(16));
    assert_eq!(answer["durability"], "quorum");
    assert_eq!(answer["skew_ms"], -7);
    assert_eq!(answer["also"], json!(["02".repeat(16)]));
    assert_eq!(answer["message"]["text"], "hé\n\u{0}");
    assert_eq!(answer["message"]["route"], json!({"only": ["bob"]}));
    assert_eq!(answer["stamps"], answer["message"]["stamps"]);
    let (Request::Send(send), context) = edge.pretender.last() else { panic!("no send") };
    assert_eq!((send.key.as_str(), send.kind.as_str()), ("k", "text"));
    assert_eq!(send.route, Route::Only(vec!["bob".to_owned()]));
    assert_eq!(send.body, Body::Text("hé\n\0".to_owned()));
    assert!(context.deadline > runtime::now() && context.hop == 0);
}

#[tokio::test]
async fn json_and_bytes_are_bodies_too() {
    let edge = edge().await;
    edge.send(r#"{"sender": "a", "kind": "x.y", "json": {"big": 123456789012345678901}}"#).await;
    let Request::Send(send) = edge.pretender.last().0 else { panic!("no send") };
    assert_eq!(send.body, Body::Json(r#"{"big": 123456789012345678901}"#.to_owned()));
    let sent = edge.send(r#"{"sender": "a", "base64": "AP8=", "media_type": "image/png"}"#).await;
    assert_eq!(sent.json()["message"]["base64"], "AP8=");
    let Request::Send(send) = edge.pretender.last().0 else { panic!("no send") };
    assert_eq!(send.body, Body::Bytes { media_type: "image/png".to_owned(), bytes: vec![0, 255] });
}

#[tokio::test]
async fn what_a_message_refers_to_is_passed_on_and_told_with_its_version() {
    let edge = edge().await;
    let key = format!("{TOKEN}/bell.jpg");
    let refers =
        |archive: serde_json::Value| json!({"sender": "a", "archive": archive}).to_string();
    let archive = json!({"collection": "attachments", "key": key});
    let sent = edge.send(&refers(archive)).await;
    assert_eq!(sent.status, 201);
    let told = json!({"collection": "attachments", "key": key, "version": "29360128"});
    assert_eq!(
        (&sent.json()["message"]["archive"], &sent.json()["message"]["text"]),
        (&told, &json!(""))
    );
    let Request::Send(send) = edge.pretender.last().0 else { panic!("no send") };
    let naming = send.archive.expect("it refers to something");
    assert_eq!((naming.key.as_str(), naming.version), (key.as_str(), None));
    assert_eq!(send.body, Body::Text(String::new()), "it needs no words");
    let archive = json!({"collection": "photos", "key": "a/b", "version": "18446744073709551615"});
    let text = json!({"sender": "a", "text": "look", "archive": archive}).to_string();
    assert_eq!(edge.send(&text).await.json()["message"]["archive"], archive);
    edge.pretender.forget();
    for (bad, field) in [
        (json!({"key": key}), "collection"),
        (json!({"collection": "attachments"}), "key"),
        (json!({"collection": "attachments", "key": ""}), "archive.key"),
        (json!({"collection": "attachments", "key": format!("{TOKEN}/../x")}), "archive.key"),
        (json!({"collection": "attachments", "key": "x".repeat(1_025)}), "archive.key"),
        (json!({"collection": "a/b", "key": key}), "archive.collection"),
        (json!({"collection": "attachments", "key": key, "version": "+7"}), "archive.version"),
        (json!({"collection": "attachments", "key": key, "version": "x"}), "archive.version"),
        (json!({"collection": "attachments", "key": key, "version": 7}), "archive.version"),
        (json!({"collection": "attachments", "key": key, "size": 7}), "size"),
        (json!(["attachments", key]), "archive"),
        (json!("attachments"), "archive"),
    ] {
        let refused = edge.send(&refers(bad.clone())).await;
        let detail = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{bad}");
        assert!(detail.contains(field), "{bad}: {detail}");
    }
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn what_a_message_said_is_taken_back() {
    let edge = edge().await;
    let path = format!("/v1/chats/{TOKEN}/messages/{}", "01".repeat(16));
    let body = r#"{"reason": "private", "sender": "bob", "cursor": "1-a"}"#;
    let answer = edge.with("DELETE", &path, body).await;
    assert_eq!(answer.status, 200);
    let message = json!({
        "id": "01".repeat(16), "cursor": "1-1", "sender": "alice", "kind": "text", "route": "everyone",
        "redacted": {"by": "bob", "reason": "private", "time_ms": 9},
        "attrs": {}, "time_ms": 8, "stamps": [],
    });
    assert_eq!(answer.json(), json!({"message": message}));
    let Request::Redact(redact) = edge.pretender.last().0 else { panic!("nothing is taken back") };
    assert_eq!((redact.cursor, redact.any), (Some(Cursor { epoch: 1, seq: 10 }), true));
    // Nothing has to be said; and what is archived is named.
    edge.pretender.replay_from_now();
    let answer = edge.bare("DELETE", &path).await.json();
    assert_eq!(answer["message"]["redacted"]["reason"], "");
    assert_eq!(answer["archive"]["key"], TOKEN);
    edge.pretender.forget();
    let long = json!({"reason": "x".repeat(513)}).to_string();
    for bad in [
        long.as_str(),
        r#"{"cursor": "x"}"#,
        r#"{"why": "x"}"#,
        r#"{"reason": "a
b"}"#,
    ] {
        assert_eq!(edge.with("DELETE", &path, bad).await.status, 400, "{bad}");
    }
    let other = format!("/v1/chats/{TOKEN}/messages/hello");
    let unknown = edge.bare("DELETE", &other).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown-message"));
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_repeated_answer_is_marked() {
    let edge = edge().await;
    edge.pretender.replay_from_now();
    let sent = edge.send(r#"{"sender": "alice", "text": "again"}"#).await;
    assert_eq!((sent.status, sent.header("idempotent-replay")), (200, Some("true")));
}

#[tokio::test]
async fn acks_and_copies_are_passed_on() {
    let edge = edge().await;
    let path = format!("/v1/chats/{TOKEN}/messages?w=2&n=300");
    let message = r#"{"sender": "a", "text": "b"}"#;
    edge.raw(request("POST", &path, "idempotency-key: k\r\n", message)).await;
    let Request::Send(send) = edge.pretender.last().0 else { panic!("no send") };
    assert_eq!((send.acks, send.copies), (Some(2), Some(255)));
}

#[tokio::test]
async fn reading_passes_on_every_wish() {
    let edge = edge().await;
    let page = edge.get(&format!("/v1/chats/{TOKEN}/messages")).await.json();
    assert_eq!(page["messages"][0]["text"], "hello");
    assert_eq!((&page["cursor"], &page["more"]), (&json!("1-1"), &json!(false)));

    let path = format!(
        "/v1/chats/{TOKEN}/messages?after=1-a&before=2-b&limit=5&wait=0.05&as=Zo%C3%AB+B&confirmed=true"
    );
    let headers = "carillon-seen: 1-a\r\n";
    let page = edge.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
    assert_eq!(page.json()["messages"], json!([]));
    let (Request::Read(read), context) = edge.pretender.last() else { panic!("no read") };
    assert_eq!(read.after, Some(Cursor { epoch: 1, seq: 10 }));
    assert_eq!(read.before, Some(Cursor { epoch: 2, seq: 11 }));
    assert_eq!((read.limit, read.wait_ms, read.confirmed), (5, 50, true));
    assert_eq!(read.reader.as_deref(), Some("Zoë B"));
    assert_eq!(context.seen, Some(Cursor { epoch: 1, seq: 10 }));
}

#[tokio::test]
async fn every_refusal_of_the_chats_has_its_number() {
    let edge = edge().await;
    for (code, status, retryable) in [
        (Code::UnknownChat, 404, false),
        (Code::IdempotencyConflict, 409, false),
        (Code::ChatEnded, 409, false),
        (Code::ChatFull, 409, false),
        (Code::RateLimited, 429, true),
        (Code::PluginFailed, 503, true),
        (Code::NotReady, 503, true),
        (Code::Behind, 503, true),
        (Code::Overloaded, 503, true),
        (Code::StorageFull, 507, true),
        (Code::Internal, 500, true),
    ] {
        edge.pretender.refuse_next(Refusal::new(code, "because"));
        let refused = edge.send(r#"{"sender": "alice", "text": "hi"}"#).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code.name()));
        assert_eq!(refused.json()["retryable"], retryable);
        assert_eq!(refused.detail(), "because");
    }
}

#[tokio::test]
async fn a_handlers_no_and_a_lost_quorum_say_what_they_know() {
    let edge = edge().await;
    edge.pretender.refuse_next(Refusal::rejected("moderation", "badword", "not that", Some(2500)));
    let refused = edge.send(r#"{"sender": "alice", "text": "hi"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "rejected"));
    assert_eq!(refused.header("retry-after"), Some("3"));
    let problem = refused.json();
    assert_eq!(problem["plugin"], "moderation");
    assert_eq!(
        (&problem["reason_code"], &problem["reason"]),
        (&json!("badword"), &json!("not that"))
    );

    let refusal = Refusal::rejected("status", "illegal-transition", "it has ended", None);
    edge.pretender.refuse_next(refusal);
    let refused = edge.send(r#"{"sender": "alice", "text": "hi"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "illegal-transition"));

    let refusal = Refusal::new(Code::NoQuorum, "1 of 2").with_outcome(RequestOutcome::Unknown);
    edge.pretender.refuse_next(refusal);
    let refused = edge.send(r#"{"sender": "alice", "text": "hi"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "no-quorum"));
    assert_eq!(refused.json()["outcome"], "unknown");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_request_keeps_the_name_its_client_gave() {
    let edge = edge().await;
    let named =
        |id: &str| format!("GET /healthz HTTP/1.1\r\nhost: a\r\ncarillon-request-id: {id}\r\n\r\n");
    let own = edge.raw(named("mine-1")).await;
    assert_eq!(own.header("carillon-request-id"), Some("mine-1"));
    let bad = edge.raw(named("two words")).await;
    assert_eq!(bad.header("carillon-request-id").map(str::len), Some(32));
    edge.get(&format!("/v1/chats/{TOKEN}")).await;
    assert_eq!(edge.pretender.last().1.request_id.len(), 32);
}

#[tokio::test]
async fn owners_and_ring_are_shown() {
    let edge = edge().await;
    let owners = edge.get(&format!("/v1/chats/{TOKEN}/owners")).await.json();
    let expected = json!({
        "partition": 7, "epoch": 2, "primary": "n1", "ensemble": ["n1", "n2"], "wanted": ["n2"],
    });
    assert_eq!(owners, expected);
    let ring = edge.get("/v1/ring").await.json();
    assert_eq!(ring, json!({"version": 4, "stale_ms": 0, "nodes": [], "positions": []}));
}

#[tokio::test]
async fn answers_about_chats_say_where_things_are() {
    let edge = edge().await;
    let (path, body) = (format!("/v1/chats/{TOKEN}"), r#"{"sender": "alice", "text": "hi"}"#);
    for answer in [edge.get(&path).await, edge.send(body).await, edge.get("/v1/ring").await] {
        assert_eq!(answer.header("carillon-ring"), Some("4"));
        assert_eq!(answer.header("carillon-primary"), None, "this node leads it");
    }
    edge.pretender.set_led_elsewhere("n2");
    assert_eq!(edge.get(&path).await.header("carillon-primary"), Some("n2"));
    edge.pretender.refuse_next(Refusal::new(Code::ChatEnded, "it has"));
    let refused = edge.send(body).await;
    assert_eq!((refused.status, refused.header("carillon-primary")), (409, Some("n2")));
    assert_eq!(edge.get("/healthz").await.header("carillon-ring"), None);
}

#[tokio::test]
async fn a_node_is_healthy_at_once_and_ready_when_its_partitions_are_led() {
    let edge = edge().await;
    assert_eq!(edge.get("/healthz").await.json(), json!({"status": "ok"}));
    let before = edge.get("/readyz").await;
    assert_eq!((before.status, before.code().as_str()), (503, "not-ready"));
    for (led, stopping, status) in [(255, false, 503), (256, true, 503), (256, false, 200)] {
        edge.pretender.set_readiness(Readiness { partitions: 256, led, thin: 9, stopping });
        assert_eq!(edge.get("/readyz").await.status, status, "{led} {stopping}");
    }
    let ready = json!({"ready": true, "partitions": 256, "led": 256, "thin": 9});
    assert_eq!(edge.get("/readyz").await.json(), ready);
}

#[tokio::test]
async fn requests_are_counted() {
    let edge = edge().await;
    edge.get("/v1/ring").await;
    edge.get("/nothing").await;
    let metrics = edge.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(
        text.contains("carillon_http_requests_total{endpoint=\"ring\",status=\"2xx\"}"),
        "{text}"
    );
    assert!(
        text.contains("carillon_http_request_seconds_bucket{endpoint=\"ring\",le=\"0.001\"}"),
        "{text}"
    );
    assert!(text.contains("carillon_http_connections "), "{text}");
    assert!(text.contains("carillon_http_problems_total{code=\"not-found\"}"), "{text}");
}

#[tokio::test]
async fn a_reader_is_given_the_time_it_wants_on_top() {
    let edge = edge().await;
    edge.get(&format!("/v1/chats/{TOKEN}/messages?wait=0.02")).await;
    let context = edge.pretender.last().1;
    let left = context.deadline.saturating_duration_since(runtime::now());
    assert!(left > Duration::from_secs(7) && left < Duration::from_secs(9), "{left:?}");
}

#[tokio::test]
async fn a_page_says_that_what_was_seen_was_withdrawn_and_else_nothing_of_it() {
    let edge = edge().await;
    let messages = format!("/v1/chats/{TOKEN}/messages");
    let page = edge.get(&format!("{messages}?after=0-5&wait=30")).await.json();
    assert_eq!((&page["gap"], &page["cursor"]), (&json!("0-0"), &json!("1-1")));
    assert_eq!(page["messages"][0]["text"], "hello");
    let page = edge.get(&messages).await.json();
    assert!(page.get("gap").is_none(), "{page}");
}
