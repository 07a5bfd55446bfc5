//! Many chats over one WebSocket.

use chat::{Code, Refusal, Request};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::bounds::hasty;
use crate::support::{Edge, PATIENCE, TOKEN, edge, edge_with};

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A client's end.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a socket, and takes its greeting.
    async fn open(edge: &Edge) -> Self {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        let head = format!("GET /v1/ws HTTP/1.1\r\nhost: a\r\n{HANDSHAKE}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Not a byte beyond its end: what follows are frames.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(runtime::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        let wire = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut socket = Self(wire);
        assert_eq!(socket.next().await, json!({"type": "hello", "protocol": 1}));
        socket
    }

    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        let next = runtime::timeout(PATIENCE, self.0.next()).await.expect("a frame in time");
        next.expect("the socket goes on").unwrap()
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.message().await {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn ask(&mut self, frame: Value) -> Value {
        self.say(&frame).await;
        self.next().await
    }

    async fn follow(&mut self, chat: &str) {
        let told = self.ask(json!({"type": "sub", "chat": chat, "as": "bob"})).await;
        assert_eq!(
            (&told["type"], &told["chat"], &told["head"]),
            (&json!("subbed"), &json!(chat), &json!("1-1"))
        );
        let told = self.next().await;
        assert_eq!((&told["type"], &told["message"]["text"]), (&json!("msg"), &json!("hello")));
    }
}

fn send(key: &str) -> Value {
    json!({"type": "send", "chat": TOKEN, "key": key, "message": {"sender": "alice", "text": "hi"}})
}

fn is_error(told: &Value, code: &str) -> bool {
    told["type"] == "error" && told["code"] == code && told["problem"]["code"] == code
}

#[tokio::test]
async fn many_chats_are_followed_and_sent_to_over_one_socket() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    let other = "f".repeat(32);
    for chat in [TOKEN, &other] {
        socket.follow(chat).await;
    }
    edge.pretender.say("alpha");
    let mut told = [socket.next().await, socket.next().await];
    told.sort_by_key(|told| told["chat"].to_string());
    for (told, chat) in told.iter().zip([TOKEN, &other]) {
        assert_eq!((&told["chat"], &told["message"]["text"]), (&json!(chat), &json!("alpha")));
        assert_eq!(told["message"]["cursor"], "1-2");
    }
    let gone = socket.ask(json!({"type": "unsub", "chat": TOKEN})).await;
    assert_eq!(gone, json!({"type": "unsubbed", "chat": TOKEN}));
    edge.pretender.say("beta");
    assert_eq!(socket.next().await["chat"], json!(other), "the other goes on, and it alone");
    let receipt = socket.ask(send("k1")).await;
    assert_eq!((&receipt["type"], &receipt["key"]), (&json!("receipt"), &json!("k1")));
    assert_eq!(
        (&receipt["replay"], &receipt["sent"]["durability"]),
        (&json!(false), &json!("quorum"))
    );
    assert_eq!(socket.ask(json!({"type": "ping"})).await, json!({"type": "pong"}));
}

#[tokio::test]
async fn messages_are_answered_by_their_keys_however_many_are_on_their_way() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    for number in 0..200 {
        socket.say(&send(&format!("k{number}"))).await;
    }
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let receipt = socket.next().await;
        assert_eq!(receipt["type"], "receipt");
        assert!(keys.insert(receipt["key"].to_string()));
    }
    edge.pretender.refuse_next(Refusal::new(Code::ChatEnded, "the chat has ended"));
    let refused = socket.ask(send("late")).await;
    assert!(is_error(&refused, "chat-ended"), "{refused}");
    assert_eq!((&refused["chat"], &refused["key"]), (&json!(TOKEN), &json!("late")));
}

#[tokio::test]
async fn what_is_wrong_with_a_frame_is_told_and_the_socket_goes_on() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    for (frame, code, detail) in [
        (json!({"type": "sub", "chat": "x"}), "unknown-chat", ""),
        (json!({"type": "sub", "chat": TOKEN, "after": "x"}), "invalid-request", "after"),
        (json!({"type": "unsub", "chat": TOKEN}), "invalid-request", "chat"),
        (
            json!({"type": "send", "chat": TOKEN, "key": "", "message": {"sender": "a", "text": "b"}}),
            "invalid-request",
            "key",
        ),
        (
            json!({"type": "send", "chat": TOKEN, "key": "k", "message": {"text": "b"}}),
            "invalid-request",
            "sender",
        ),
        (
            json!({"type": "send", "chat": TOKEN, "key": "k", "w": 3, "n": 2, "message": {"sender": "a", "text": "b"}}),
            "invalid-request",
            "w",
        ),
        (json!(["sub"]), "invalid-request", "object"),
    ] {
        let told = socket.ask(frame.clone()).await;
        assert!(is_error(&told, code), "{frame}: {told}");
        assert!(told["detail"].as_str().unwrap().contains(detail), "{frame}: {told}");
    }
    socket.0.send(Message::binary(vec![1, 2])).await.unwrap();
    assert!(is_error(&socket.next().await, "invalid-request"));
    assert!(edge.pretender.asked().is_empty(), "nothing of it was asked of the chats");
    edge.pretender.refuse_next(Refusal::new(Code::UnknownChat, "no chat has this token"));
    let told = socket.ask(json!({"type": "sub", "chat": TOKEN})).await;
    assert!(is_error(&told, "unknown-chat") && told["chat"] == TOKEN, "{told}");
    socket.follow(TOKEN).await;
    let told = socket.ask(json!({"type": "sub", "chat": TOKEN})).await;
    assert!(is_error(&told, "invalid-request"), "{told}");
}

#[tokio::test]
async fn a_socket_follows_so_many_chats_and_no_more() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    let chat = |number: u32| format!("{number:032x}");
    for number in 0..1024 {
        socket.follow(&chat(number)).await;
    }
    for number in 1024..10_000 {
        let told = socket.ask(json!({"type": "sub", "chat": chat(number)})).await;
        assert!(is_error(&told, "overloaded") && told["chat"] == chat(number), "{told}");
        assert_eq!(told["detail"], "one socket follows at most 1024 chats");
    }
    assert_eq!(socket.ask(json!({"type": "ping"})).await, json!({"type": "pong"}));
    socket.ask(json!({"type": "unsub", "chat": chat(0)})).await;
    socket.follow(&chat(1024)).await;
    edge.pretender.say("alpha");
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 1024 {
        let told = socket.next().await;
        assert_eq!((&told["type"], &told["message"]["text"]), (&json!("msg"), &json!("alpha")));
        heard.insert(told["chat"].to_string());
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_or_none_ends_the_socket_with_a_reason() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    // The server may close before all of it is written.
    let _refused = socket.0.send(Message::text("x".repeat(2 << 20))).await;
    let Message::Close(Some(close)) = socket.message().await else { panic!("no close") };
    assert_eq!(u16::from(close.code), 1009);

    let mut socket = Socket::open(&edge).await;
    // A client's frames are masked; this one is not.
    socket.0.get_mut().write_all(&[0x81, 1, b'x']).await.unwrap();
    let Message::Close(Some(close)) = socket.message().await else { panic!("no close") };
    assert_eq!(u16::from(close.code), 1002);
}

#[tokio::test]
async fn a_node_that_stops_answers_what_is_on_its_way_and_takes_its_leave() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    socket.follow(TOKEN).await;
    let leave = async {
        let told = socket.next().await;
        assert_eq!(told["type"], "drain");
        let Message::Close(Some(close)) = socket.message().await else { panic!("no close") };
        assert_eq!(u16::from(close.code), 1001);
        // Its own end of the close.
        let _ended = runtime::timeout(PATIENCE, socket.0.next()).await;
    };
    let (drained, ()) = tokio::join!(edge.serving.drain(PATIENCE), leave);
    assert_eq!(drained, api::Drained::Done);
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_nobody_who_waits() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    socket.follow(TOKEN).await;
    drop(socket);
    let waiting = async {
        while edge.pretender.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    };
    runtime::timeout(PATIENCE, waiting).await.expect("nobody waits any more");
    // Its place among the connections is free again, too.
    assert_eq!(edge.serving.drain(PATIENCE).await, api::Drained::Done);
}

#[tokio::test]
async fn what_is_no_handshake_gets_an_answer_of_http() {
    let edge = edge().await;
    let plain = edge.get("/v1/ws").await;
    assert_eq!((plain.status, plain.code().as_str()), (400, "invalid-request"));
    let foreign = format!("GET /v1/ws HTTP/1.1\r\nhost: a\r\norigin: http://b\r\n{HANDSHAKE}\r\n");
    let foreign = edge.raw(foreign).await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "forbidden"));
    assert!(edge.pretender.asked().iter().all(|(request, _)| !matches!(request, Request::Read(_))));
}

#[tokio::test]
async fn who_types_and_has_read_is_said_and_told_in_frames() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    socket.follow(TOKEN).await;
    edge.pretender.tell(crate::streams::pulse(1));
    assert_eq!(socket.next().await, json!({"type": "typing", "chat": TOKEN, "typing": ["alice"]}));
    assert_eq!(
        socket.next().await,
        json!({"type": "read", "chat": TOKEN, "read": {"alice": "1-1"}})
    );
    let alice = json!({"id": "alice", "role": "guest", "status": "unavailable", "heard_ms": 7, "ordinal": 1});
    assert_eq!(
        socket.next().await,
        json!({"type": "presence", "chat": TOKEN, "status": "started", "participants": [alice]})
    );
    edge.pretender.forget();
    socket.say(&json!({"type": "typing", "chat": TOKEN, "sender": "bob"})).await;
    socket.say(&json!({"type": "typing", "chat": TOKEN, "sender": "bob", "typing": false})).await;
    socket.say(&json!({"type": "read", "chat": TOKEN, "sender": "bob", "upto": "1-1"})).await;
    // Neither has an answer; what comes after them has.
    assert_eq!(socket.ask(json!({"type": "ping"})).await, json!({"type": "pong"}));
    let (token, sender) = (TOKEN.parse().unwrap(), "bob".to_owned());
    let typing = |typing| Request::Typing { token, sender: sender.clone(), typing };
    let upto = model::Cursor { epoch: 1, seq: 1 };
    let mark = Request::Mark { token, sender: sender.clone(), upto };
    let asked = || {
        let asked = edge.pretender.asked().into_iter().map(|(request, _)| request);
        asked.filter(|request| !matches!(request, Request::Read(_))).collect::<Vec<_>>()
    };
    let all = async {
        while asked().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    runtime::timeout(PATIENCE, all).await.expect("all of it was asked");
    assert_eq!(asked(), [typing(true), typing(false), mark]);
    for (frame, detail) in [
        (json!({"type": "typing", "chat": TOKEN}), "sender"),
        (json!({"type": "read", "chat": TOKEN, "sender": "bob", "upto": "x"}), "upto"),
        (json!({"type": "read", "chat": TOKEN, "sender": "system", "upto": "1-1"}), "sender"),
    ] {
        let told = socket.ask(frame.clone()).await;
        assert!(is_error(&told, "invalid-request"), "{frame}: {told}");
        assert!(told["detail"].as_str().unwrap().contains(detail), "{frame}: {told}");
    }
    edge.pretender.refuse_next(Refusal::new(Code::ChatEnded, "the chat is over"));
    let told = socket.ask(json!({"type": "typing", "chat": TOKEN, "sender": "bob"})).await;
    assert!(is_error(&told, "chat-ended") && told["chat"] == TOKEN, "{told}");
}

#[tokio::test]
async fn a_socket_that_is_never_read_ends_and_is_counted_as_slow() {
    let edge = edge_with(hasty()).await;
    let series = "carillon_streams_ended_total{sort=\"websocket\",why=\"slow\"}";
    let before = edge.counted(series).await;
    // More than the buffers of two sockets hold.
    edge.pretender.answer_with_pages_of(400);
    let mut socket = Socket::open(&edge).await;
    socket.say(&json!({"type": "sub", "chat": TOKEN})).await;
    edge.counts_more(series, before).await;
    // Nothing of it goes on: neither who waits, nor its place among the connections.
    assert_eq!(edge.pretender.waiting(), 0);
    assert_eq!(edge.serving.drain(PATIENCE).await, api::Drained::Done);
}

#[tokio::test]
async fn a_socket_over_which_much_is_told_hears_that_its_client_has_enough() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    socket.follow(TOKEN).await;
    edge.pretender.never_pause();
    edge.pretender.say("alpha");
    // From here on something is always ready to be told.
    assert_eq!(socket.next().await["type"], "msg");
    socket.say(&json!({"type": "unsub", "chat": TOKEN})).await;
    let heard =
        async { while socket.next().await != json!({"type": "unsubbed", "chat": TOKEN}) {} };
    runtime::timeout(PATIENCE, heard).await.expect("what the client says is heard");
    assert_eq!(socket.ask(json!({"type": "ping"})).await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_socket_says_that_what_was_seen_was_withdrawn_before_it_goes_on() {
    let edge = edge().await;
    let mut socket = Socket::open(&edge).await;
    let told = socket.ask(json!({"type": "sub", "chat": TOKEN, "after": "0-5"})).await;
    assert_eq!(told["type"], "subbed");
    assert_eq!(socket.next().await, json!({"type": "gap", "chat": TOKEN, "after": "0-0"}));
    let told = socket.next().await;
    assert_eq!((&told["type"], &told["message"]["cursor"]), (&json!("msg"), &json!("1-1")));
    edge.pretender.say("alpha");
    assert_eq!(socket.next().await["message"]["text"], "alpha", "it is said once");
}

#[tokio::test]
async fn all_that_one_socket_follows_is_of_one_caller() {
    let edge = edge().await;
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open(&edge).await;
        edge.pretender.forget();
        socket.follow(TOKEN).await;
        socket.follow(&"f".repeat(32)).await;
        let asked = edge.pretender.asked();
        let all: std::collections::BTreeSet<u64> =
            asked.iter().map(|(_, context)| context.caller).collect();
        assert!(all.len() == 1 && !all.contains(&0), "{all:?}");
        callers.extend(all);
    }
    assert_ne!(callers[0], callers[1]);
}
