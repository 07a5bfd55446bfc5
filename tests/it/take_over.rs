//! A node dies without goodbye; others go on with everything that was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tests::{Cluster, Deadline, Http, eventually, texts};

/// Sends numbered texts to a chat until it is told to stop; returns what was acknowledged, id by text.
struct Sender {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<BTreeMap<String, String>>,
}

impl Sender {
    fn start(doors: Vec<Http>, token: &str, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let (token, name) = (token.to_owned(), name.to_owned());
        let task = tokio::spawn(async move {
            let mut stored = BTreeMap::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let text = format!("{name}-{number}");
                let id = acknowledged_id(&doors, &token, &name, &text).await;
                stored.insert(text, id);
                count.fetch_add(1, Ordering::Relaxed);
            }
            stored
        });
        Self { stop, acknowledged, task }
    }

    /// Waits until so many more were acknowledged.
    async fn more(&self, count: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + count;
        eventually("more acknowledgements", async || {
            let seen = self.acknowledged.load(Ordering::Relaxed);
            if seen >= wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    async fn finish(self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Sends a text to whoever answers, with one key, so that it is stored once wherever it arrived.
async fn acknowledged_id(doors: &[Http], token: &str, name: &str, text: &str) -> String {
    let deadline = Deadline::default();
    loop {
        for door in doors {
            let sent = door.try_send(token, name, text, text).await;
            match sent {
                Ok(sent) if [200, 201].contains(&sent.status) => return sent.text("id"),
                Ok(sent) => deadline.check(text, &(sent.status, sent.body)),
                Err(error) => deadline.check(text, &error),
            }
        }
    }
}

/// Every acknowledged message is there once, in the order in which it was sent.
async fn check_nothing_lost(http: &Http, token: &str, stored: &BTreeMap<String, String>) {
    let messages = http.all(token).await;
    for (text, id) in stored {
        let found: Vec<_> = messages.iter().filter(|message| message["text"] == **text).collect();
        assert_eq!(found.len(), 1, "{text} is there {} times", found.len());
        assert_eq!(found[0]["id"], **id, "{text}");
    }
    let numbers: Vec<u32> = texts(&messages)
        .iter()
        .filter_map(|text| text.rsplit_once('-').and_then(|(_, number)| number.parse().ok()))
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_primary_dies_and_it_catches_up_when_it_returns() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let others = [(primary + 1) % 3, (primary + 2) % 3];
    let doors = [primary, others[0], others[1]].map(|index| cluster.http(index).clone());
    let sender = Sender::start(doors.to_vec(), &token, "alice");
    sender.more(20).await;
    cluster.kill(primary).await;
    sender.more(20).await;
    // It returns on its folder, at another port: the senders do not know it any more.
    cluster.restart(primary).await;
    sender.more(20).await;
    let stored = sender.finish().await;
    for index in 0..3 {
        check_nothing_lost(cluster.http(index), &token, &stored).await;
    }

    // It holds everything itself: with each of the others gone in turn the quorum needs it.
    for other in others {
        cluster.kill(other).await;
        cluster.led().await;
        check_nothing_lost(cluster.http(primary), &token, &stored).await;
        cluster.http(primary).send_surely(&token, "alice", &format!("q{other}"), "on").await;
        cluster.restart(other).await;
        cluster.led().await;
    }
}

#[tokio::test]
async fn all_three_die_and_everything_is_there_when_they_return() {
    let mut cluster = Cluster::start(3).await;
    let tokens = [cluster.http(0).create().await, cluster.http(1).create().await];
    let senders: Vec<_> = tokens
        .iter()
        .map(|token| {
            let doors = (0..3).map(|index| cluster.http(index).clone()).collect();
            Sender::start(doors, token, "bob")
        })
        .collect();
    for sender in &senders {
        sender.more(10).await;
        sender.stop.store(true, Ordering::Relaxed);
    }
    // In the middle of whatever they still do; what is not acknowledged by then never is.
    for sender in &senders {
        sender.task.abort();
    }
    let counts: Vec<_> =
        senders.iter().map(|sender| sender.acknowledged.load(Ordering::Relaxed)).collect();
    for index in 0..3 {
        cluster.kill(index).await;
    }
    cluster.restart_all(&[0, 1, 2]).await;
    cluster.led().await;
    for (token, count) in tokens.iter().zip(counts) {
        let texts = texts(&cluster.http(2).all(token).await);
        for number in 0..count {
            let text = format!("bob-{number}");
            assert_eq!(texts.iter().filter(|found| **found == text).count(), 1, "{text}");
        }
        cluster.http(1).send(token, "bob", "after", "after").await.expect(201);
    }
}
