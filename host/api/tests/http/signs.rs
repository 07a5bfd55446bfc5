//! That somebody types, or has read: asked of the chats, answered with nothing.

use chat::{Code, Refusal, Request};
use model::Cursor;
use serde_json::json;

use crate::support::{TOKEN, edge, request};
use crate::tokens::Guarded;

fn typing() -> String {
    format!("/v1/chats/{TOKEN}/typing")
}

fn read() -> String {
    format!("/v1/chats/{TOKEN}/read")
}

#[tokio::test]
async fn who_types_or_has_read_is_told_to_the_chats_and_answered_with_nothing() {
    let edge = edge().await;
    let (token, alice) = (TOKEN.parse().unwrap(), || "alice".to_owned());
    for (path, body, request) in [
        (
            typing(),
            "{\"sender\": \"alice\"}",
            Request::Typing { token, sender: alice(), typing: true },
        ),
        (
            typing(),
            "{\"sender\": \"alice\", \"typing\": false}",
            Request::Typing { token, sender: alice(), typing: false },
        ),
        (
            read(),
            "{\"sender\": \"alice\", \"upto\": \"1-4\"}",
            Request::Mark { token, sender: alice(), upto: Cursor { epoch: 1, seq: 4 } },
        ),
    ] {
        let answer = edge.with("POST", &path, body).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path} {body}");
        assert_eq!(edge.pretender.last().0, request);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_asked_of_nobody() {
    let edge = edge().await;
    for (path, body, field) in [
        (typing(), "{}", "sender"),
        (typing(), "{\"sender\": \"\"}", "sender"),
        (typing(), "{\"sender\": \"system\"}", "sender"),
        (typing(), "{\"sender\": \"a\", \"typing\": \"yes\"}", "typing"),
        (typing(), "{\"sender\": \"a\", \"who\": \"b\"}", "who"),
        (read(), "{\"sender\": \"a\"}", "upto"),
        (read(), "{\"sender\": \"a\", \"upto\": \"last\"}", "upto"),
        (read(), "{\"sender\": \"a\", \"upto\": 4}", "upto"),
        (read(), "{\"upto\": \"1-4\"}", "sender"),
        (read(), "[]", "object"),
    ] {
        let answer = edge.with("POST", &path, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-request"), "{body}");
        assert!(answer.detail().contains(field), "{body}: {}", answer.detail());
    }
    let answer = edge.with("POST", &format!("{}?x=1", typing()), "{\"sender\": \"a\"}").await;
    assert_eq!(answer.status, 400);
    let answer = edge.get(&typing()).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "method-not-allowed"));
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_refusal_is_a_problem_like_any_other() {
    let edge = edge().await;
    for (code, status, name) in [
        (Code::ChatEnded, 409, "chat-ended"),
        (Code::Overloaded, 503, "overloaded"),
        (Code::UnknownChat, 404, "unknown-chat"),
        (Code::Behind, 503, "not-ready"),
    ] {
        edge.pretender.refuse_next(Refusal::new(code, "no"));
        let answer = edge.with("POST", &typing(), "{\"sender\": \"alice\"}").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, name));
    }
}

#[tokio::test]
async fn a_token_says_who_types_and_has_read() {
    let guarded = Guarded::start().await;
    let (edge, bearer) = (&guarded.edge, guarded.ed.token(json!({})));
    let bearer = format!("authorization: Bearer {bearer}\r\n");
    let (token, sender, upto) =
        (TOKEN.parse().unwrap(), "alice".to_owned(), "1-4".parse().unwrap());
    let typing_of = Request::Typing { token, sender: sender.clone(), typing: true };
    for (path, body, wanted) in [
        (typing(), "{}", typing_of),
        (read(), "{\"upto\": \"1-4\"}", Request::Mark { token, sender, upto }),
    ] {
        let answer = edge.raw(request("POST", &path, &bearer, body)).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(edge.pretender.last().0, wanted);
    }
    edge.pretender.forget();
    let others = "{\"sender\": \"bob\", \"upto\": \"1-4\"}";
    let answer = edge.raw(request("POST", &read(), &bearer, others)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-request"));
    assert!(edge.pretender.asked().is_empty());
}
