//! Nodes that want to know who asks.

use client::{Bearer, Client, NewChat, NewMessage, ReadOptions};
use node::config::{AuthMode, Config};
use tempfile::TempDir;
use tests::Cluster;
use tests::carillon::{Carillon, Ended, run, single};

/// A key, and the key set with its public half.
async fn new_key(folder: &TempDir) -> (String, String) {
    let keys = folder.path().join("keys").display().to_string();
    let made = run(&["token", "--new-key", &keys]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let mut lines = made.out.lines().map(str::to_owned);
    let (key, set) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(key.ends_with("token.key") && set.ends_with("jwks.json"), "{}", made.out);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&key).unwrap_or_else(|error| panic!("{error}")).permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "its owner alone can read it");
    (key, set)
}

/// A token for `name`, in a file.
async fn token(folder: &TempDir, key: &str, name: &str, more: &[&str]) -> String {
    let made = run(&[&["token", "--key", key, "--sub", name], more].concat()).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = folder.path().join(format!("{name}.token"));
    std::fs::write(&file, &made.out).unwrap_or_else(|error| panic!("{error}"));
    file.display().to_string()
}

#[track_caller]
fn refused(ended: &Ended, word: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains(word), "{}", ended.err);
}

#[tokio::test]
async fn a_node_with_a_key_set_lets_in_whom_the_key_vouches_for_and_listens_everywhere() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let (key, set) = new_key(&folder).await;
    let file = single(folder.path(), "[auth]\nmode = \"jwt\"\njwks = \"keys/jwks.json\"\n");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
    let text = text.replace("[http]\nlisten = \"127.0.0.1:0\"", "[http]\nlisten = \"0.0.0.0:0\"");
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run(&["check", &file]).await.code, Some(0));
    let node = Carillon::start(&["node", "--config", &file]).await;
    let url = node.nodes[0].url().replace("0.0.0.0", "127.0.0.1");

    refused(&run(&["chat", "create", "--url", &url]).await, "unauthenticated");
    let all = token(&folder, &key, "alice", &["--chats", "*"]).await;
    let chat = run(&["chat", "create", "--url", &url, "--token-file", &all]).await;
    assert_eq!(chat.code, Some(0), "{chat:?}");
    let chat = chat.out.trim().to_owned();
    let other = run(&["chat", "create", "--url", &url, "--token-file", &all]).await;
    let other = other.out.trim().to_owned();

    let bob = token(&folder, &key, "bob", &["--chats", &chat]).await;
    let door = ["--url", url.as_str(), "--token-file", bob.as_str()];
    let say = |chat: &str| {
        [&["chat", "send", chat, "hello"], door.as_slice()]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let words = say(&chat);
    let sent = run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let words = say(&other);
    refused(&run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await, "forbidden");
    refused(&run(&[&["chat", "create"], door.as_slice()].concat()).await, "forbidden");
    let reader = token(&folder, &key, "eve", &["--chats", &chat, "--scope", "read"]).await;
    let door = ["--url", url.as_str(), "--token-file", reader.as_str()];
    refused(&run(&[&["chat", "end", &chat], door.as_slice()].concat()).await, "forbidden");
    let shown = run(&[&["chat", "show", &chat, "--json"], door.as_slice()].concat()).await;
    assert!(shown.out.contains("\"id\":\"bob\""), "the token said who sent: {shown:?}");

    // The key set breaks: a running node goes on, a check says so.
    std::fs::write(&set, "{").unwrap_or_else(|error| panic!("{error}"));
    let checked = run(&["check", &file]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.err.contains("auth.jwks"), "{}", checked.err);
    let shown = run(&[&["chat", "show", &chat], door.as_slice()].concat()).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    node.kill().await;
}

#[tokio::test]
async fn the_node_that_takes_a_request_checks_it_and_the_one_that_runs_it_knows_who_asked() {
    let keys = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let (key, set) = new_key(&keys).await;
    let guarded = |config: &mut Config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.jwks = set.clone().into();
    };
    let cluster = Cluster::start_with(3, guarded).await;
    let bearer = async |name: &str, more: &[&str]| {
        let file = token(&keys, &key, name, more).await;
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}"));
        text.trim().parse::<Bearer>().unwrap_or_else(|error| panic!("{error}"))
    };
    // One node each, so that two of them forward.
    let clients: Vec<Client> = (0..3)
        .map(|index| Client::new([cluster.http(index).url()]).unwrap_or_else(|e| panic!("{e}")))
        .collect();
    let alice = bearer("alice", &["--chats", "*"]).await;
    for client in &clients {
        client.authorise(alice.clone());
    }
    let chat = clients[0].create(&NewChat::default()).await.unwrap_or_else(|e| panic!("{e}")).token;
    for (index, client) in clients.iter().enumerate() {
        let message = NewMessage::text("mallory", format!("from {index}"));
        let sent = client.send(chat, &message).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sent.message.sender, "alice", "the token says it");
    }
    let elsewhere = bearer("bob", &["--chats", &"f".repeat(32)]).await;
    for client in &clients {
        client.authorise(elsewhere.clone());
        let refused = client.read(chat, &ReadOptions::default()).await;
        let refused = refused.err().unwrap_or_else(|| panic!("bob reads what is not his"));
        assert_eq!(refused.problem().map(|problem| problem.code.as_str()), Some("forbidden"));
        client.authorise(alice.clone());
        let page = client.read(chat, &ReadOptions::default()).await;
        assert_eq!(page.unwrap_or_else(|error| panic!("{error}")).messages.len(), 3);
    }
}
