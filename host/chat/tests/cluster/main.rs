//! Chats on three nodes, real QUIC and real files: what was acknowledged is there, once, in its order.

#[cfg(test)]
mod nodes;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use chat::{Chats, Page, Read, Redact, Request, Response, Send, Trim};
    use model::{Attrs, Body, ChatToken, Cursor, Route};
    use runtime::Stop;

    use crate::nodes::{Cluster, NAMES, persist};

    fn create() -> Request {
        Request::Create { max_duration_s: None, max_participants: None, attrs: Attrs::new() }
    }

    fn send(token: ChatToken, sender: &str, text: &str) -> Request {
        Request::Send(message(token, sender, text))
    }

    fn message(token: ChatToken, sender: &str, text: &str) -> Send {
        Send {
            token,
            key: text.into(),
            acks: None,
            copies: None,
            sender: sender.into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text(text.into()),
            archive: None,
            attrs: Attrs::new(),
            sent_ms: None,
        }
    }

    fn read(token: ChatToken, after: Option<Cursor>, wait_ms: u32) -> Request {
        let (before, reader, limit, confirmed, pulse) = (None, None, 1000, false, None);
        Request::Read(Read { token, after, before, limit, wait_ms, reader, confirmed, pulse })
    }

    fn new_chat(cluster: &Cluster, name: &str) -> ChatToken {
        match cluster.ask(name, &create()) {
            Ok(Response::Created(created)) => created.token,
            other => panic!("{other:?}"),
        }
    }

    fn texts(page: &Page) -> Vec<String> {
        let text = |stored: &chat::Stored| match &stored.message.body {
            Body::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        page.messages.iter().map(text).collect()
    }

    fn all(cluster: &Cluster, name: &str, token: ChatToken) -> Vec<String> {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            match cluster.ask(name, &read(token, after, 0)) {
                Ok(Response::Page(page)) => {
                    found.extend(texts(&page));
                    after = Some(page.cursor);
                    if !page.more {
                        return found;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_chat_is_the_same_on_every_node_and_wakes_readers_of_all() {
        let cluster = Cluster::three(8);
        for name in NAMES {
            let token = new_chat(&cluster, name);
            let readers: Vec<_> = NAMES
                .map(|reader| {
                    let chats = cluster.chats(reader);
                    let request = read(token, None, 20_000);
                    let context = chat::CallContext {
                        caller: 0,
                        deadline: runtime::now() + Duration::from_secs(30),
                        request_id: String::new(),
                        seen: None,
                        hop: 0,
                    };
                    cluster.waiting.spawn(async move { chats.call(request, context).await })
                })
                .into();
            assert!(matches!(
                cluster.ask(name, &send(token, "alice", "hello")),
                Ok(Response::Sent(_))
            ));
            for reader in readers {
                match cluster.waiting.block_on(reader).unwrap() {
                    Ok(Response::Page(page)) => assert_eq!(texts(&page), ["hello"]),
                    other => panic!("{other:?}"),
                }
            }
            for other in NAMES {
                assert_eq!(all(&cluster, other, token), ["hello"]);
            }
        }
    }

    /// A sender that repeats each message until it hears that it is stored, and ends when told to. Returns
    /// how many it sent.
    async fn chatter(
        chats: Chats,
        token: ChatToken,
        name: &str,
        stored: Arc<AtomicUsize>,
        stop: Stop,
    ) -> usize {
        let mut count = 0;
        while !stop.is_stopped() {
            let text = format!("{name}-{count}");
            match persist(&chats, &send(token, name, &text)).await {
                Ok(Response::Sent(_)) => stored.fetch_add(1, Ordering::SeqCst),
                other => panic!("{other:?}"),
            };
            count += 1;
        }
        count
    }

    /// Waits until something more is stored.
    fn more(cluster: &Cluster, stored: &AtomicUsize) {
        let target = stored.load(Ordering::SeqCst) + 20;
        let deadline = runtime::now() + Duration::from_secs(60);
        while stored.load(Ordering::SeqCst) < target {
            assert!(runtime::now() < deadline, "nothing is stored any more");
            cluster.waiting.block_on(runtime::sleep(Duration::from_millis(2)));
        }
    }

    /// All nodes die and come back: once with their snapshots, then with each of them damaged, then with none.
    #[test]
    fn what_is_there_after_a_restart_does_not_depend_on_snapshots() {
        let mut cluster = Cluster::three(2);
        let token = new_chat(&cluster, "n1");
        for count in 0..60 {
            let text = format!("text {count}");
            assert!(matches!(
                cluster.ask("n1", &send(token, "alice", &text)),
                Ok(Response::Sent(_))
            ));
        }
        let before = all(&cluster, "n1", token);
        let partition = cluster.partition(token);
        let file = format!("{:03}.snapshot", partition.0);
        for spoil in ["nothing", "a byte", "all"] {
            for name in NAMES {
                // Of most of the 60 entries; the next one is due 20 later.
                cluster.until_kept(name, partition, 40);
                cluster.kill(name);
                let path = cluster.logs(name).join(&file);
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                match spoil {
                    "a byte" => std::fs::write(&path, bytes).unwrap(),
                    "all" => std::fs::remove_file(&path).unwrap(),
                    _ => {}
                }
            }
            for name in NAMES {
                cluster.start(name);
            }
            cluster.until_open();
            for name in NAMES {
                assert_eq!(all(&cluster, name, token), before, "{spoil}");
                match cluster.ask(name, &send(token, "alice", "text 7")) {
                    Ok(Response::Sent(sent)) => assert!(sent.replay, "{spoil}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// A node that was away for longer than the others' logs reach back is given what they stand on; then
    /// everything is there on each of them, whoever else is gone.
    #[test]
    fn who_was_away_for_longer_than_logs_reach_back_has_everything_in_the_end() {
        let mut cluster = Cluster::three(1);
        cluster.trim = Some(Trim { entries: 10, bytes: 64 << 20 });
        for name in NAMES {
            cluster.kill(name);
            cluster.start(name);
        }
        cluster.until_open();
        let token = new_chat(&cluster, "n1");
        let say = |cluster: &Cluster, count: usize| {
            let text = format!("text {count}");
            let sent = cluster.ask("n1", &send(token, "alice", &text));
            assert!(matches!(sent, Ok(Response::Sent(_))), "{sent:?}");
        };
        (0..5).for_each(|count| say(&cluster, count));
        let partition = cluster.partition(token);
        let away = cluster.commit("n1", partition);
        cluster.kill("n3");
        (5..90).for_each(|count| say(&cluster, count));
        let before = all(&cluster, "n1", token);
        assert_eq!(before.len(), 90);
        for name in ["n1", "n2"] {
            cluster.until_base(name, partition, away + 5);
        }
        cluster.start("n3");
        cluster.until_base("n3", partition, away + 5);
        cluster.until_open();
        for (gone, asked) in [("n1", "n3"), ("n2", "n3"), ("n3", "n1")] {
            cluster.kill(gone);
            assert_eq!(all(&cluster, asked, token), before, "without {gone}");
            for text in ["text 3", "text 88"] {
                match cluster.ask(asked, &send(token, "alice", text)) {
                    Ok(Response::Sent(sent)) => assert!(sent.replay, "without {gone}"),
                    other => panic!("{other:?}"),
                }
            }
            cluster.start(gone);
            cluster.until_open();
        }
    }

    /// What was taken back is in no file of any node in the end: neither in a log, nor in what is kept of one, nor in a
    /// snapshot.
    #[test]
    fn what_was_taken_back_is_in_no_file_once_logs_are_trimmed() {
        let mut cluster = Cluster::three(1);
        cluster.trim = Some(Trim { entries: 10, bytes: 64 << 20 });
        cluster.value_file_bytes = 64 << 10;
        for name in NAMES {
            cluster.kill(name);
            cluster.start(name);
        }
        cluster.until_open();
        let token = new_chat(&cluster, "n1");
        let say = |key: &str, text: &str| {
            let message = Send { key: key.into(), ..message(token, "alice", text) };
            match cluster.ask("n2", &Request::Send(message)) {
                Ok(Response::Sent(sent)) => sent,
                other => panic!("{other:?}"),
            }
        };
        let secret = "a secret that alice is sorry for";
        let id = say("secret", secret).message.id;
        let long = "more of it ".repeat(200);
        (0..30).for_each(|count| drop(say(&format!("before {count}"), &long)));
        assert!(cluster.files_with(secret.as_bytes()).len() >= 2, "it is on a quorum's disks");
        let (by, reason) = (Some("alice".to_owned()), "sorry".to_owned());
        let redact = Redact { token, id, cursor: None, reason, by, any: false };
        let redact = Request::Redact(Box::new(redact));
        assert!(matches!(cluster.ask("n3", &redact), Ok(Response::Redacted { .. })));
        let deadline = runtime::now() + Duration::from_secs(60);
        for count in 0.. {
            let found = cluster.files_with(secret.as_bytes());
            if found.is_empty() {
                break;
            }
            assert!(runtime::now() < deadline, "{found:?}");
            (0..30).for_each(|other| drop(say(&format!("after {count} {other}"), &long)));
        }
        // Nor does it come back with those who start again from what they have.
        for name in NAMES {
            cluster.kill(name);
            cluster.start(name);
        }
        cluster.until_open();
        match cluster.ask("n1", &read(token, None, 0)) {
            Ok(Response::Page(page)) => {
                let first = &page.messages[0].message;
                assert_eq!((first.id, first.body.to_string()), (id, "(redacted: sorry)".into()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_are_killed_among_sends_and_every_message_is_there_once_and_in_order() {
        let mut cluster = Cluster::three(4);
        let tokens = [new_chat(&cluster, "n1"), new_chat(&cluster, "n2")];
        let stored = Arc::new(AtomicUsize::new(0));
        let stop = Stop::default();
        // Everybody talks through n1; the others are killed and come back.
        let mut senders = Vec::new();
        for token in tokens {
            for name in ["alice", "bob"] {
                let (chats, stored, stop) =
                    (cluster.chats("n1"), Arc::clone(&stored), stop.clone());
                let sender = cluster.waiting.spawn(chatter(chats, token, name, stored, stop));
                senders.push((token, name, sender));
            }
        }
        for victim in ["n2", "n3"] {
            cluster.kill(victim);
            more(&cluster, &stored);
            cluster.start(victim);
            cluster.until_open();
            more(&cluster, &stored);
        }
        stop.stop();
        // All of them first: while one still sends, two nodes asked one after the other differ.
        let ended = senders
            .into_iter()
            .map(|(token, name, sender)| (token, name, cluster.waiting.block_on(sender).unwrap()));
        for (token, name, count) in ended.collect::<Vec<_>>() {
            let found = all(&cluster, "n1", token);
            let own: Vec<&String> = found.iter().filter(|text| text.starts_with(name)).collect();
            let wanted: Vec<String> = (0..count).map(|n| format!("{name}-{n}")).collect();
            assert_eq!(own, wanted.iter().collect::<Vec<_>>(), "each once and in order");
            for other in NAMES {
                assert_eq!(all(&cluster, other, token), found);
            }
        }
        // And all at once.
        let before = all(&cluster, "n1", tokens[0]);
        for name in NAMES {
            cluster.kill(name);
        }
        for name in NAMES {
            cluster.start(name);
        }
        cluster.until_open();
        assert_eq!(all(&cluster, "n2", tokens[0]), before);
        // The last one: a chat that was quick has forgotten the key of the first.
        let last = before.iter().rfind(|text| text.starts_with("alice")).unwrap();
        match cluster.ask("n3", &send(tokens[0], "alice", last)) {
            Ok(Response::Sent(sent)) => {
                assert!(sent.replay, "the keys are there too, of {}", before.len());
            }
            other => panic!("{other:?}"),
        }
    }
}
