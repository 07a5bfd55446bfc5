//! One connection, and whatever a server may answer on it.

use std::io::ErrorKind;

use client::{Answer, Connection, Target, write_request};

use crate::server::{Act, Node};

async fn exchanged(answer: &'static str) -> std::io::Result<(u16, Vec<u8>, bool)> {
    let node = Node::start(move |_| Act::Raw(answer.to_owned())).await;
    let target: Target = node.url().parse().unwrap();
    let mut request = Vec::new();
    write_request(&mut request, "GET", &target, "/", "", None);
    let mut connection = Connection::open(&target).await?;
    let Answer { status, body, .. } = connection.exchange(&request).await?;
    let body = body.to_vec();
    Ok((status, body, connection.is_usable()))
}

#[tokio::test]
async fn a_body_with_a_length_leaves_the_connection_usable() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(exchanged(answer).await.unwrap(), (200, b"hi".to_vec(), true));
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(exchanged(empty).await.unwrap(), (204, vec![], true));
}

#[tokio::test]
async fn a_body_in_chunks_is_joined() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                  3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n";
    assert_eq!(exchanged(answer).await.unwrap(), (200, b"abc0123456789".to_vec(), true));
}

#[tokio::test]
async fn an_answer_that_closes_is_the_last_one() {
    let answer = "HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(exchanged(answer).await.unwrap(), (503, vec![], false));
}

#[tokio::test]
async fn what_was_not_asked_for_makes_a_connection_unusable() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n";
    assert_eq!(exchanged(answer).await.unwrap(), (200, b"hi".to_vec(), false));
}

#[tokio::test]
async fn a_first_answer_that_is_only_a_hint_is_skipped() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(exchanged(answer).await.unwrap(), (200, b"hi".to_vec(), true));
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for answer in [
        "hello, this is no answer\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nmany\r\n",
    ] {
        let error = exchanged(answer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{answer}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_none_after_an_error() {
    let node = Node::start(|request| match request {
        get if get.starts_with("GET") => Act::Say(200, "{}".to_owned()),
        _ => Act::HangUp,
    })
    .await;
    let target: Target = node.url().parse().unwrap();
    let mut connection = Connection::open(&target).await.unwrap();
    let mut request = Vec::new();
    for _ in 0..3 {
        write_request(&mut request, "GET", &target, "/", "", None);
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
    }
    write_request(&mut request, "POST", &target, "/", "a: b\r\n", Some(b"{}"));
    assert_eq!(connection.exchange(&request).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(!connection.is_usable());
    assert_eq!(connection.exchange(&request).await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(node.accepted(), 1);
    let post = node.heard().pop().unwrap();
    assert!(post.contains("\r\na: b\r\n") && post.ends_with("\r\n\r\n{}"), "{post}");
}
