//! A client that knows where things are, and what it has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Client, NewChat, NewMessage, Options, ReadOptions};
use model::ChatToken;

use crate::server::{Act, Node, TOKEN, hasty, key, problem, sent};

fn chat() -> ChatToken {
    TOKEN.parse().unwrap()
}

/// The line of a request's head that begins like this.
fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    let line = request.lines().take_while(|line| !line.is_empty());
    line.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, v)| v)
}

/// A ring of these nodes, named n1, n2, n3 …
fn ring(nodes: &[&Node]) -> String {
    let nodes: Vec<String> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            format!(
                r#"{{"id": "n{}", "hostname": "h", "http": "{}", "quic": "", "zone": "", "weight": 1,
                    "state": "up"}}"#,
                index + 1,
                node.url()
            )
        })
        .collect();
    format!(r#"{{"version": 1, "stale_ms": 0, "positions": [], "nodes": [{}]}}"#, nodes.join(","))
}

const OWNERS: &str = r#"{"partition": 1, "epoch": 1, "primary": "n1", "ensemble": ["n2", "n1", "n3"],
                         "wanted": []}"#;

/// Knows every node, and that n1 leads the chat.
async fn guide(ring: String) -> Node {
    Node::start(move |request| {
        if request.starts_with("GET /v1/ring ") {
            Act::Say(200, ring.clone())
        } else if request.contains("/owners ") {
            Act::Say(200, OWNERS.to_owned())
        } else {
            problem(503, "overloaded", true)
        }
    })
    .await
}

/// An answer with one more header.
fn with(header: &str, act: Act) -> Act {
    match act {
        Act::Say(status, body) => Act::Raw(format!(
            "HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )),
        other => other,
    }
}

#[tokio::test]
async fn a_send_goes_to_the_next_who_holds_the_chat_and_stays_with_the_new_primary() {
    let dies = Arc::new(AtomicBool::new(false));
    let dead = Arc::clone(&dies);
    let first = Node::start(move |_| match dead.load(Ordering::SeqCst) {
        true => Act::HangUp,
        false => sent("hi"),
    })
    .await;
    // It has not taken over yet, and then knows who has.
    let asked = AtomicBool::new(false);
    let second = Node::start(move |_| match asked.swap(true, Ordering::SeqCst) {
        false => problem(503, "no-quorum", true),
        true => with("Carillon-Primary: n3", sent("hi")),
    })
    .await;
    let third = Node::start(|_| sent("hi")).await;
    let ring = ring(&[&first, &second, &third]);
    let guides = [guide(ring.clone()).await, guide(ring).await];
    let urls = guides.iter().map(Node::url);
    let client = Client::with_options(urls, Options::default()).unwrap();

    let message = NewMessage::text("alice", "hi");
    client.send(chat(), &message).await.unwrap();
    assert_eq!((first.heard().len(), second.heard().len(), third.heard().len()), (1, 0, 0));
    dies.store(true, Ordering::SeqCst);
    client.send(chat(), &message).await.unwrap();
    let keys =
        [first.heard().pop().unwrap(), second.heard().pop().unwrap(), third.heard().pop().unwrap()];
    assert_eq!(key(&keys[0]), key(&keys[1]), "one message has one key, wherever it is tried");
    assert_eq!(key(&keys[0]), key(&keys[2]));

    // The one that said no leads nothing, but it knows who does.
    client.send(chat(), &message).await.unwrap();
    let before = (first.heard().len(), third.heard().len());
    client.send(chat(), &message).await.unwrap();
    assert_eq!((first.heard().len(), third.heard().len()), (before.0, before.1 + 1));
}

#[tokio::test]
async fn what_was_seen_at_one_node_is_told_to_the_next() {
    let first = Node::start(|request| match request.starts_with("POST") {
        true => sent("hi"),
        false => Act::HangUp,
    })
    .await;
    let page = r#"{"messages": [], "cursor": "1-1", "head": "1-1", "more": false}"#;
    let second = Node::start(move |_| Act::Say(200, page.to_owned())).await;
    let client = hasty(&[&first, &second]);
    client.send(chat(), &NewMessage::text("alice", "hi")).await.unwrap();
    client.read(chat(), &ReadOptions::default()).await.unwrap();
    let heard = second.heard().pop().unwrap();
    assert_eq!(header(&heard, "carillon-seen"), Some("1-1"));
    assert_eq!(header(&first.heard()[0], "carillon-seen"), None, "nothing was seen yet");
}

#[tokio::test]
async fn a_client_with_a_token_lets_it_say_who_asks() {
    let node = Node::start(|request| match request.lines().next().unwrap() {
        line if line.starts_with("POST /v1/chats ") => problem(403, "forbidden", false),
        line if line.starts_with("POST") && line.contains("/messages") => sent("hi"),
        line if line.starts_with("POST") => {
            Act::Say(200, r#"{"status": "ended", "cursor": "1-1", "ended_ms": 9}"#.to_owned())
        }
        _ => Act::Say(
            200,
            r#"{"messages": [], "cursor": "1-1", "head": "1-1", "more": false}"#.to_owned(),
        ),
    })
    .await;
    let client = hasty(&[&node]);
    assert!(!client.is_authorised());
    client.authorise("a.b.c".parse().unwrap());
    client.send(chat(), &NewMessage::text("mallory", "hi")).await.unwrap();
    let reader = ReadOptions { reader: Some("mallory".to_owned()), ..ReadOptions::default() };
    client.read(chat(), &reader).await.unwrap();
    client.end(chat(), Some("mallory")).await.unwrap();
    client.authorise("d.e.f".parse().unwrap());
    let refused = client.create(&NewChat::default()).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "forbidden");
    let heard = node.heard();
    assert_eq!(heard.len(), 4, "what is forbidden is not tried again");
    for request in &heard[..3] {
        assert_eq!(header(request, "authorization"), Some("Bearer a.b.c"));
        assert!(!request.contains("mallory"), "{request}");
    }
    assert_eq!(header(&heard[3], "authorization"), Some("Bearer d.e.f"));
    assert!(!format!("{client:?}").contains("d.e.f"), "a token is never shown");
}
