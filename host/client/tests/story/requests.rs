//! A client among nodes that fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Body, Client, Cursor, Error, NewChat, NewMessage, Options, ReadOptions};
use model::ChatToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{Act, Node, TOKEN, hasty, hasty_at, key, message, problem, sent};

fn chat() -> ChatToken {
    TOKEN.parse().unwrap()
}

/// Says something else the first `count` times.
fn at_first(count: usize, first: fn() -> Act, then: fn() -> Act) -> impl Fn(&str) -> Act {
    let times = AtomicUsize::new(0);
    move |_request| if times.fetch_add(1, Ordering::SeqCst) < count { first() } else { then() }
}

#[tokio::test]
async fn a_send_is_tried_again_under_the_same_key_whatever_broke() {
    let failures: [fn() -> Act; 4] = [
        || Act::HangUp,
        || Act::Stall,
        || problem(503, "no-quorum", true),
        || Act::Say(502, "<html>bad gateway</html>".to_owned()),
    ];
    for failure in failures {
        let node = Node::start(at_first(2, failure, || sent("hi"))).await;
        let client = hasty(&[&node]);
        let sent = client.send(chat(), &NewMessage::text("alice", "hi")).await.unwrap();
        assert_eq!(sent.message.body, Body::Text("hi".to_owned()));
        let heard = node.heard();
        assert_eq!(heard.len(), 3);
        assert!(heard.iter().all(|request| key(request) == key(&heard[0])));
        assert!(heard[0].starts_with(&format!("POST /v1/chats/{TOKEN}/messages HTTP/1.1\r\n")));
    }
}

#[tokio::test]
async fn a_key_of_ones_own_is_used_and_a_made_one_is_fresh() {
    let node = Node::start(|_| sent("hi")).await;
    let client = hasty(&[&node]);
    let mut message = NewMessage::text("alice", "hi");
    for _ in 0..2 {
        client.send(chat(), &message).await.unwrap();
    }
    message.key = Some("mine".to_owned());
    message.acks = Some(3);
    client.send(chat(), &message).await.unwrap();
    let heard = node.heard();
    assert_ne!(key(&heard[0]), key(&heard[1]));
    assert_eq!(key(&heard[2]), "mine");
    assert!(heard[2].contains("/messages?w=3 "), "{}", heard[2]);
    assert_eq!(node.accepted(), 1, "the connection is kept");
}

#[tokio::test]
async fn a_refusal_is_final_and_told_as_it_is() {
    let node = Node::start(|_| {
        Act::Say(
            422,
            r#"{"status": 422, "code": "rejected", "detail": "d", "retryable": false,
                "plugin": "moderation", "reason_code": "badword", "reason": "not that", "new": 1}"#
                .to_owned(),
        )
    })
    .await;
    let error = hasty(&[&node]).send(chat(), &NewMessage::text("alice", "x")).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (422, "rejected"));
    assert_eq!(problem.plugin.as_deref(), Some("moderation"));
    assert_eq!(node.heard().len(), 1);
}

#[tokio::test]
async fn when_time_is_up_the_last_answer_is_the_error() {
    let node = Node::start(|_| problem(503, "no-quorum", true)).await;
    let error = hasty(&[&node]).send(chat(), &NewMessage::text("alice", "x")).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, "no-quorum");
    assert!(node.heard().len() > 2);
}

#[tokio::test]
async fn a_replay_is_marked() {
    let node = Node::start(|_| {
        let Act::Say(_, body) = sent("hi") else { panic!("it says") };
        let length = body.len();
        Act::Raw(format!(
            "HTTP/1.1 200 OK\r\nIdempotent-Replay: true\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    })
    .await;
    assert!(hasty(&[&node]).send(chat(), &NewMessage::text("alice", "hi")).await.unwrap().replay);
}

#[tokio::test]
async fn a_node_that_is_gone_is_passed_over() {
    let gone = Node::start(|_| Act::Stall).await.url().replace("127.0.0.1", "127.0.0.9");
    let node = Node::start(|_| sent("hi")).await;
    let client = hasty_at([gone, node.url()]);
    for _ in 0..4 {
        client.send(chat(), &NewMessage::text("alice", "hi")).await.unwrap();
    }
    assert_eq!(node.heard().len(), 4);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    // The port of a listener that is gone.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = hasty_at([format!("http://{free}")]).create(&NewChat::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(matches!(Client::new(["ftp://x"]), Err(Error::Url(_))));
    assert!(matches!(Client::new([""; 0]), Err(Error::NoUrl)));
}

#[tokio::test]
async fn where_nothing_listens_patience_can_end_sooner() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let day = Duration::from_secs(86_400);
    let options =
        Options { give_up: day, nobody: Some(Duration::from_millis(200)), ..Options::default() };
    let client = Client::with_options([format!("http://{free}")], options).unwrap();
    let ended = runtime::timeout(Duration::from_secs(20), client.show(chat())).await;
    let error = ended.expect("it does not wait for the day").unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_has_answered_is_waited_for() {
    // A loopback address of its own: no other test takes the port meanwhile.
    let answer_one = async |listener: TcpListener| {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).await.unwrap(), 0);
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(head.as_bytes()).await.unwrap();
    };
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { nobody: Some(Duration::ZERO), ..Options::default() };
    let client = Client::with_options([format!("http://{address}")], options).unwrap();
    let (first, ()) = tokio::join!(client.get("/"), answer_one(listener));
    assert_eq!(first.unwrap(), b"{}");
    // Refused once before the node is back.
    let back = async { answer_one(TcpListener::bind(address).await.unwrap()).await };
    let both = async { tokio::join!(client.get("/"), back) };
    let both = Box::pin(runtime::timeout(Duration::from_secs(20), both)).await;
    let (second, ()) = both.expect("it is asked again");
    assert_eq!(second.unwrap(), b"{}");
}

#[tokio::test]
async fn a_tail_goes_on_where_it_was_at_another_node() {
    let page = |messages: &str, cursor: &str| {
        Act::Say(
            200,
            format!(
                r#"{{"messages": [{messages}], "cursor": "{cursor}", "head": "1-2", "more": false}}"#
            ),
        )
    };
    let first = Node::start(move |request| {
        if request.contains("after=") { Act::HangUp } else { page(&message("one"), "1-1") }
    })
    .await;
    let second = Node::start(move |request| {
        if request.contains("after=1-1&") || request.contains("after=1-1 ") {
            page(&message("two"), "1-2")
        } else {
            page("", "1-2")
        }
    })
    .await;
    let client = hasty(&[&first, &second]);
    let mut tail = client.tail(chat(), None, Some("Zoë B".to_owned()));
    assert_eq!(tail.next().await.unwrap()[0].body, Body::Text("one".to_owned()));
    assert_eq!(tail.next().await.unwrap()[0].body, Body::Text("two".to_owned()));
    assert_eq!(tail.cursor(), Some(&Cursor("1-2".to_owned())));
    let asked = second.heard().pop().unwrap();
    assert!(asked.contains("as=Zo%C3%AB%20B"), "{asked}");
}

#[tokio::test]
async fn a_send_goes_to_the_leader_once_it_is_known() {
    let leader = Node::start(|_| sent("hi")).await;
    let ring = format!(
        r#"{{"version": 1, "stale_ms": 0, "positions": [], "nodes": [{{"id": "n2", "hostname": "h",
            "fqdn": "h", "http": "{}", "quic": "", "zone": "", "weight": 1, "state": "up"}}]}}"#,
        leader.url()
    );
    let guide = move |request: &str| {
        if request.starts_with("GET /v1/ring ") {
            Act::Say(200, ring.clone())
        } else if request.contains("/owners ") {
            let owners =
                r#"{"partition": 1, "epoch": 1, "primary": "n2", "ensemble": [], "wanted": []}"#;
            Act::Say(200, owners.to_owned())
        } else {
            problem(404, "unknown-chat", false)
        }
    };
    let (one, other) = (Node::start(guide.clone()).await, Node::start(guide).await);
    let client = Client::with_options([one.url(), other.url()], Options::default()).unwrap();
    for _ in 0..3 {
        client.send(chat(), &NewMessage::text("alice", "hi")).await.unwrap();
    }
    assert_eq!(leader.heard().len(), 3);
    assert_eq!(one.heard().len() + other.heard().len(), 2, "the leader is asked for once");
}

#[tokio::test]
async fn everything_else_asks_what_it_should() {
    let node = Node::start(|request| {
        let line = request.lines().next().unwrap();
        match line.split(' ').next().unwrap() {
            "PUT" => Act::Say(200, r#"{"ordinal": 2}"#.to_owned()),
            "DELETE" => Act::Raw("HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
            "POST" if line.contains("/end") => {
                Act::Say(200, r#"{"status": "ended", "cursor": "1-1", "ended_ms": 9}"#.to_owned())
            }
            "POST" => Act::Say(
                201,
                format!(r#"{{"token": "{TOKEN}", "cursor": "1-0", "status": "pending", "created_ms": 5}}"#),
            ),
            _ => problem(404, "unknown-chat", false),
        }
    })
    .await;
    let client = hasty(&[&node]);
    let created = client.create(&NewChat { max_participants: Some(2), ..NewChat::default() }).await;
    assert_eq!(created.unwrap().token, chat());
    assert_eq!(client.join(chat(), "a/b", Some("guest")).await.unwrap(), 2);
    client.leave(chat(), "a/b").await.unwrap();
    assert_eq!(client.end(chat(), Some("a")).await.unwrap().ended_ms, 9);
    let unknown =
        client.read(chat(), &ReadOptions { limit: Some(5), ..ReadOptions::default() }).await;
    assert_eq!(unknown.unwrap_err().problem().unwrap().code, "unknown-chat");
    let heard = node.heard();
    assert!(heard[0].ends_with(r#"{"max_participants":2}"#), "{}", heard[0]);
    assert!(heard[1].starts_with(&format!("PUT /v1/chats/{TOKEN}/members/a%2Fb ")), "{}", heard[1]);
    assert!(heard[1].ends_with(r#"{"role":"guest"}"#));
    assert!(heard[3].ends_with(r#"{"sender":"a"}"#));
    assert!(heard[4].contains("/messages?wait=0&limit=5 "), "{}", heard[4]);
}
