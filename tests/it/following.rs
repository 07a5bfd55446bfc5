//! Readers who keep a connection open, and what becomes of it when nodes die or take their leave.

use std::io;
use std::time::Duration;

use serde_json::json;
use tests::{Cluster, Deadline, Events, Http, Socket, texts};

/// A reader sees each message once and in order, over whatever happens to whoever it reads from.
#[tokio::test]
async fn a_stream_goes_on_when_the_primary_dies_and_when_its_own_node_leaves() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let (through, writer) = ((primary + 1) % 3, (primary + 2) % 3);
    let doors = vec![cluster.http(through).clone(), cluster.http(writer).clone()];
    let mut events = Events::new(doors, &token, "bob");
    let http = cluster.http(writer).clone();
    let mut seen = Vec::new();
    for number in 0..15 {
        match number {
            5 => cluster.kill(primary).await,
            // The reader's own node takes its leave; what is left cannot commit without another.
            10 => {
                cluster.restart(primary).await;
                cluster.led().await;
                assert_eq!(cluster.stop(through).await, Vec::<String>::new());
            }
            _ => {}
        }
        let text = format!("m{number}");
        http.send_surely(&token, "alice", &text, &text).await;
        seen.push(events.next().await["text"].as_str().unwrap_or_default().to_owned());
    }
    let sent: Vec<String> = (0..15).map(|number| format!("m{number}")).collect();
    assert_eq!(seen, sent);
    assert_eq!(
        events.returns, 2,
        "it came, and came back once: when its node left, not when the primary died"
    );
}

/// Somebody who follows and speaks over one socket, and opens another when it ends.
struct Speaker {
    doors: Vec<Http>,
    token: String,
    socket: Option<Socket>,
    /// The cursor of the last message that was heard.
    after: Option<String>,
    heard: Vec<String>,
    /// How often a socket was opened.
    opened: usize,
}

impl Speaker {
    fn new(doors: Vec<Http>, token: &str) -> Self {
        let (socket, after, heard) = (None, None, Vec::new());
        Self { doors, token: token.to_owned(), socket, after, heard, opened: 0 }
    }

    /// Says `text`, with one key however often that takes, until it is answered and heard.
    async fn says(&mut self, text: &str) {
        let deadline = Deadline::default();
        let mut answered = false;
        while !self.attempt(text, &mut answered).await.unwrap_or_default() {
            deadline.check(text, &(answered, &self.heard));
            runtime::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether it was answered and heard; an error ends the socket.
    async fn attempt(&mut self, text: &str, answered: &mut bool) -> io::Result<bool> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.open().await?,
        };
        if !*answered {
            let message = json!({"sender": "alice", "text": text});
            socket
                .say(&json!({"type": "send", "chat": self.token, "key": text, "message": message}))
                .await?;
        }
        while !(*answered && self.heard.iter().any(|heard| heard == text)) {
            let told = socket.hear().await?;
            match told["type"].as_str().unwrap_or_default() {
                "msg" => {
                    let message = &told["message"];
                    self.after = message["cursor"].as_str().map(str::to_owned);
                    self.heard.push(message["text"].as_str().unwrap_or_default().to_owned());
                }
                "passed" => self.after = told["cursor"].as_str().map(str::to_owned),
                "receipt" => *answered |= told["key"] == text,
                // The chat is not followed any more: it is followed again from where this one stands.
                "error" if told["key"].is_null() => return Ok(false),
                "error" => break,
                "subbed" | "presence" | "typing" | "read" => {}
                other => panic!("{other}: {told}"),
            }
        }
        self.socket = Some(socket);
        Ok(*answered && self.heard.iter().any(|heard| heard == text))
    }

    async fn open(&mut self) -> io::Result<Socket> {
        self.doors.rotate_left(1);
        let mut socket = Socket::open(&self.doors[0]).await?;
        let mut sub = json!({"type": "sub", "chat": self.token, "as": "alice"});
        if let Some(after) = &self.after {
            sub["after"] = json!(after);
        }
        socket.say(&sub).await?;
        self.opened += 1;
        Ok(socket)
    }
}

#[tokio::test]
async fn a_socket_goes_on_after_its_cursor_when_the_primary_dies_and_nothing_is_lost_or_comes_twice()
 {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let doors = [1, 2, 0].map(|step| cluster.http((primary + step) % 3).clone());
    // One whose socket is at the node that dies, and one whose node only asks that one.
    let mut there = Speaker::new(doors.iter().cycle().skip(1).take(3).cloned().collect(), &token);
    let mut elsewhere = Speaker::new(vec![doors[0].clone()], &token);
    let mut said = Vec::new();
    for number in 0..12 {
        if number == 5 {
            cluster.kill(primary).await;
        }
        let text = format!("m{number}");
        there.says(&text).await;
        said.push(text);
        let text = format!("e{number}");
        elsewhere.says(&text).await;
        said.push(text);
    }
    let last = said.last().cloned().unwrap_or_default();
    there.says(&last).await;
    assert_eq!(elsewhere.heard, said);
    assert_eq!(there.heard, said, "the key of what another said is the same message's");
    assert!(there.opened >= 2, "its node died");
    assert_eq!(elsewhere.opened, 1, "a socket outlives the node that leads its chat");
    let stored = cluster.http((primary + 1) % 3).all(&token).await;
    assert_eq!(texts(&stored), said);
}

/// What is said to nobody moves a reader on, and they are told how far: coming back, they need not go over it again.
#[tokio::test]
async fn a_socket_is_told_where_its_reader_stands_when_nothing_was_for_them() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let mut socket = Socket::open(cluster.http(1)).await.expect("a socket");
    let sub = json!({"type": "sub", "chat": token, "as": "bob"});
    socket.say(&sub).await.expect("it is followed");
    let message = json!({"sender": "alice", "route": "nobody", "text": "a secret"});
    let sent = cluster.http(2).send_with(&token, "", "k", &message).await;
    let sent = sent.expect("an answer").expect(201);
    loop {
        let told = socket.hear().await.expect("it goes on");
        assert_ne!(told["type"], "msg", "{told}");
        if told["type"] == "passed" && told["cursor"] == sent["cursor"] {
            break;
        }
    }
}
