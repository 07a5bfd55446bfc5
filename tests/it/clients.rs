//! A program with the client library, while nodes die under it: it need not know that they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use client::{Client, Cursor, NewChat, NewMessage, ReadOptions};
use model::ChatToken;
use tests::carillon::Carillon;
use tests::{Cluster, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A client that knows the nodes of a cluster.
fn client_of(cluster: &Cluster, nodes: &[usize]) -> Client {
    let urls: Vec<String> = nodes.iter().map(|index| cluster.http(*index).url()).collect();
    Client::new(urls).unwrap_or_else(|error| panic!("{error}"))
}

async fn new_chat(client: &Client) -> ChatToken {
    client.create(&NewChat::default()).await.unwrap_or_else(|error| panic!("{error}")).token
}

/// Sends numbered texts until it is told to stop. Every one must succeed.
struct Loop {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<BTreeMap<String, Cursor>>,
}

impl Loop {
    fn start(client: Client, chat: ChatToken, name: &'static str) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let mut stored = BTreeMap::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let text = format!("{name}-{number}");
                let message = NewMessage::text(name, text.as_str());
                let sent = client.send(chat, &message).await;
                // What the client could not cure is a failed send.
                let sent = sent.unwrap_or_else(|error| panic!("{text}: {error}"));
                stored.insert(text, sent.cursor);
                count.fetch_add(1, Ordering::Relaxed);
            }
            stored
        });
        Self { stop, sent, task }
    }

    async fn more(&self, count: usize) {
        let wanted = self.sent.load(Ordering::Relaxed) + count;
        eventually("more messages", async || {
            let seen = self.sent.load(Ordering::Relaxed);
            assert!(!self.task.is_finished(), "the loop has ended");
            if seen >= wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    async fn finish(self) -> BTreeMap<String, Cursor> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_else(|error| panic!("{error}"))
    }
}

#[tokio::test]
async fn no_send_fails_and_no_reader_goes_back_while_primaries_die() {
    let mut cluster = Cluster::start(3).await;
    let client = client_of(&cluster, &[0, 1, 2]);
    let chat = new_chat(&client).await;
    let senders = ["alice", "bob"].map(|name| Loop::start(client.clone(), chat, name));
    // A reader of its own, who has to notice by itself.
    let mut tail = client_of(&cluster, &[0, 1, 2]).tail(chat, None, None);
    let read = Arc::new(std::sync::Mutex::new(Vec::new()));
    let reads = Arc::clone(&read);
    let reader = tokio::spawn(async move {
        loop {
            let messages = tail.next().await.unwrap_or_else(|error| panic!("{error}"));
            reads.lock().unwrap_or_else(|error| panic!("{error}")).extend(messages);
        }
    });
    for _ in 0..2 {
        for sender in &senders {
            sender.more(20).await;
        }
        let primary = cluster.primary(&chat.to_string()).await;
        cluster.kill(primary).await;
        for sender in &senders {
            sender.more(20).await;
        }
        // It comes back at another port: the ring says where.
        cluster.restart(primary).await;
        cluster.led().await;
    }
    let mut stored = BTreeMap::new();
    for sender in senders {
        sender.more(20).await;
        stored.extend(sender.finish().await);
    }
    eventually("the reader to be there", async || {
        let read = read.lock().unwrap_or_else(|error| panic!("{error}"));
        if read.len() >= stored.len() { Ok(()) } else { Err(read.len()) }
    })
    .await;
    reader.abort();
    let read = read.lock().unwrap_or_else(|error| panic!("{error}"));
    let mut seen: BTreeMap<String, Cursor> = BTreeMap::new();
    for message in read.iter() {
        let client::Body::Text(text) = &message.body else { panic!("{:?}", message.body) };
        let before = seen.insert(text.clone(), message.cursor.clone());
        assert_eq!(before, None, "{text} is there twice");
    }
    assert_eq!(seen, stored, "what was read is what was stored, each at its place");
}

#[tokio::test]
async fn a_client_that_knew_only_nodes_that_are_gone_has_learned_the_others() {
    let mut cluster = Cluster::start(3).await;
    let client = client_of(&cluster, &[0, 1]);
    let chat = new_chat(&client).await;
    let send = async |text: &str| {
        let sent = client.send(chat, &NewMessage::text("alice", text)).await;
        sent.unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    send("one").await;
    // Both nodes that it was given come back somewhere else, one after the other.
    for index in [0, 1] {
        cluster.kill(index).await;
        send(&format!("without {index}")).await;
        cluster.restart(index).await;
        cluster.led().await;
        send(&format!("with {index}")).await;
    }
    let page = client.read(chat, &ReadOptions::default()).await;
    assert_eq!(page.unwrap_or_else(|error| panic!("{error}")).messages.len(), 5);
}

/// Whoever sits at a shell is told why nothing comes, and it is tried on.
#[tokio::test]
async fn a_command_that_waits_says_what_for() {
    let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", node.local_addr().expect("an address"));
    let enough = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&enough);
    let answers = tokio::spawn(async move {
        loop {
            let (mut client, _) = node.accept().await.expect("a connection");
            let (status, code, retry) = match ends.load(Ordering::Relaxed) {
                true => (410, "chat-ended", false),
                false => (503, "no-quorum", true),
            };
            let body = format!(
                r#"{{"status": {status}, "code": "{code}", "detail": "the words", "retryable": {retry}}}"#
            );
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut request = [0; 4096];
            // A client that goes away meanwhile asks again.
            if client.read(&mut request).await.is_ok() {
                drop(client.write_all(answer.as_bytes()).await);
            }
        }
    });
    let command = Carillon::spawn(&["chat", "create", "--url", &url]);
    eventually("what it waits for", async || {
        let said = command.said();
        if said.contains("waiting: no-quorum (503): the words") { Ok(()) } else { Err(said) }
    })
    .await;
    enough.store(true, Ordering::Relaxed);
    let ended = command.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.err.matches("waiting: ").count(), 1, "once for a reason: {ended:?}");
    answers.abort();
}

#[tokio::test]
async fn an_answer_from_another_node_names_the_primary_and_the_ring() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    for index in 0..3 {
        let sent = cluster.http(index).send(&token, "alice", &format!("k{index}"), "hi").await;
        let version = sent.headers.get("carillon-ring").cloned();
        let named = sent.headers.get("carillon-primary").cloned();
        let ring = cluster.http(index).get("/v1/ring").await.expect(200);
        assert_eq!(version, Some(ring["version"].to_string()));
        let expected = (index != primary).then(|| format!("n{}", primary + 1));
        assert_eq!(named, expected, "asked at node {index}, led by {primary}");
    }
}
