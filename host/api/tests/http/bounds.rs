//! Time, connections, and the end.

use std::time::Duration;

use api::{Config, Drained, Patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Edge, PATIENCE, TOKEN, answer, edge, edge_with, request};

/// Long enough to tell from at once, short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(80);

pub(crate) fn hasty() -> Config {
    let patience = Patience {
        first_byte: SHORT,
        head: SHORT,
        body: SHORT,
        stall: SHORT,
        ..Patience::default()
    };
    Config { patience, ..Config::default() }
}

async fn connect(edge: &Edge) -> TcpStream {
    TcpStream::connect(edge.address).await.unwrap()
}

/// Waits until the server closes the connection; what it still said.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = runtime::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // A reset is an end too.
    let _end = read.expect("the server closes the connection");
    rest
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    runtime::timeout(PATIENCE, waiting).await.expect("it becomes so");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let edge = edge_with(hasty()).await;
    assert_eq!(closed(&mut connect(&edge).await).await, b"");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let edge = edge_with(hasty()).await;
    let mut stream = connect(&edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    closed(&mut stream).await;
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let edge = edge_with(hasty()).await;
    let mut stream = connect(&edge).await;
    let path = format!("/v1/chats/{TOKEN}/messages");
    let whole = request("POST", &path, "idempotency-key: k\r\n", r#"{"sender": "a", "text": "b"}"#);
    stream.write_all(&whole[..whole.len() - 1]).await.unwrap();
    let refused = answer(&mut stream).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (408, "timeout"));
    closed(&mut stream).await;
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let edge = edge_with(hasty()).await;
    // More than the buffers of two sockets hold.
    edge.pretender.answer_with_pages_of(400);
    let mut stream = connect(&edge).await;
    let poll = format!("GET /v1/chats/{TOKEN}/messages HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(poll.as_bytes()).await.unwrap();
    until(|| !edge.pretender.asked().is_empty()).await;
    assert_eq!(edge.serving.drain(PATIENCE).await, Drained::Done);
    let taken = closed(&mut stream).await;
    assert!(taken.starts_with(b"HTTP/1.1 200 OK") && taken.len() < 400 * 60_000, "{}", taken.len());
}

#[tokio::test]
async fn a_reader_that_hangs_up_is_not_waited_for() {
    let edge = edge().await;
    let mut stream = connect(&edge).await;
    let poll =
        format!("GET /v1/chats/{TOKEN}/messages?after=1-1&wait=30 HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(poll.as_bytes()).await.unwrap();
    until(|| edge.pretender.waiting() == 1).await;
    drop(stream);
    until(|| edge.pretender.waiting() == 0).await;
}

/// Where nobody needs a token; a socket and a stream are one connection, too, however many chats they follow.
#[tokio::test]
async fn who_asks_without_a_token_is_a_connection() {
    let edge = edge().await;
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&edge).await;
        for _ in 0..2 {
            let poll = format!("GET /v1/chats/{TOKEN}/messages HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(poll.as_bytes()).await.unwrap();
            assert_eq!(answer(&mut stream).await.unwrap().status, 200);
            callers.push(edge.pretender.last().1.caller);
        }
    }
    let [one, again, other, other_again] = callers[..] else { panic!("{callers:?}") };
    assert!(one == again && other == other_again && one != other && one != 0, "{callers:?}");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let edge = edge().await;
    let mut stream = connect(&edge).await;
    for _ in 0..3 {
        let path = format!("/v1/chats/{TOKEN}/messages");
        let message =
            request("POST", &path, "idempotency-key: k\r\n", r#"{"sender":"a","text":"b"}"#);
        stream.write_all(&message).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap().status, 201);
        // A refusal does not cost the connection.
        stream.write_all(&request("POST", &path, "", "{}")).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap().status, 400);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_next_is_served() {
    let edge = edge_with(Config { connections: 1, ..Config::default() }).await;
    let mut first = connect(&edge).await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut first).await.unwrap().status, 200);
    let refused = edge.get("/healthz").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(first);
    let again = async {
        while edge.get("/healthz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    runtime::timeout(PATIENCE, again).await.expect("a place becomes free");
}

#[tokio::test]
async fn draining_answers_who_waits_and_closes_who_rests() {
    let edge = edge().await;
    let mut resting = connect(&edge).await;
    resting.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut resting).await.unwrap().status, 200);
    let mut silent = connect(&edge).await;
    let mut waiting = connect(&edge).await;
    let path = format!("/v1/chats/{TOKEN}/messages?after=1-1&wait=30");
    let poll = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    waiting.write_all(poll.as_bytes()).await.unwrap();
    until(|| edge.pretender.waiting() == 1).await;

    let drained = async { edge.serving.drain(PATIENCE).await };
    let read = async {
        let page = answer(&mut waiting).await.unwrap();
        assert_eq!((page.status, page.json()["cursor"].as_str()), (200, Some("1-1")));
        assert_eq!(page.header("connection"), Some("close"));
        closed(&mut waiting).await;
        closed(&mut resting).await;
        closed(&mut silent).await;
        drop((waiting, resting, silent));
    };
    let (drained, ()) = tokio::join!(drained, read);
    assert_eq!(drained, Drained::Done);
    assert!(TcpStream::connect(edge.address).await.is_err(), "nobody is accepted any more");
    edge.tasks.finish().await;
    assert_eq!(edge.tasks.failed(), None);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_and_counted() {
    let edge = edge().await;
    let mut slow = connect(&edge).await;
    let path = format!("/v1/chats/{TOKEN}/messages");
    let whole = request("POST", &path, "idempotency-key: k\r\n", r#"{"sender": "a", "text": "b"}"#);
    slow.write_all(&whole[..whole.len() - 1]).await.unwrap();
    // Something to know by that the server has begun to read.
    assert_eq!(edge.get("/healthz").await.status, 200);
    let drained = edge.serving.drain(SHORT).await;
    assert!(matches!(drained, Drained::Done | Drained::Cut { connections: 1 }), "{drained:?}");
    edge.tasks.finish().await;
    closed(&mut slow).await;
}

#[tokio::test]
async fn stopping_ends_every_task_at_once() {
    let edge = edge().await;
    let mut waiting = connect(&edge).await;
    let path = format!("/v1/chats/{TOKEN}/messages?after=1-1&wait=30");
    let poll = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    waiting.write_all(poll.as_bytes()).await.unwrap();
    runtime::timeout(PATIENCE, edge.tasks.finish()).await.expect("nothing holds a stop up");
    closed(&mut waiting).await;
}
