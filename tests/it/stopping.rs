//! A stop in good order: readers are answered, what has begun is finished, nothing is lost.

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tests::carillon::{Carillon, run, single};
use tests::{Cluster, eventually, texts};

/// Holds readers at `http` and waits until they are held.
async fn waiting(
    http: &tests::Http,
    token: &str,
    after: &str,
    count: usize,
) -> Vec<tokio::task::JoinHandle<Result<tests::Answer, String>>> {
    let path = format!("/v1/chats/{token}/messages?after={after}&wait=30");
    let readers = (0..count)
        .map(|_| {
            let (http, path) = (http.clone(), path.clone());
            tokio::spawn(async move { http.ask("GET", &path, &[], None).await })
        })
        .collect();
    eventually("the readers to wait", async || {
        let metrics = http.ask("GET", "/metrics", &[], None).await?.body;
        let text = metrics.as_str().unwrap_or_default();
        let waiting = text
            .lines()
            .filter(|line| line.starts_with("carillon_readers_waiting"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum::<f64>();
        #[expect(clippy::cast_precision_loss, reason = "a handful of readers")]
        if waiting >= count as f64 { Ok(()) } else { Err(waiting) }.map_err(|seen| seen.to_string())
    })
    .await;
    readers
}

#[tokio::test]
async fn sigterm_answers_readers_with_their_cursor_and_ends_with_0() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    for signal in [Signal::TERM, Signal::INT] {
        let node = Carillon::start(&["node", "--config", &config]).await;
        let http = node.nodes[0].clone();
        let token = http.create().await;
        let sent = http.send(&token, "alice", "k", "hello").await.expect(201);
        let cursor = sent["cursor"].as_str().unwrap_or_default().to_owned();
        let readers = waiting(&http, &token, &cursor, 5).await;
        let begun = runtime::now();
        node.signal(signal);
        for reader in readers {
            let answer = reader.await.unwrap_or_else(|error| panic!("{error}"));
            let page = answer.unwrap_or_else(|error| panic!("{error}")).expect(200);
            assert_eq!((&page["messages"], &page["cursor"]), (&json!([]), &json!(cursor)));
        }
        let ended = node.end().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(begun.elapsed().as_secs() < 15, "the readers were waited for");
    }
}

#[tokio::test]
async fn a_node_that_stops_hands_over_and_the_others_go_on_at_once() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    cluster.http(primary).send(&token, "alice", "k0", "before").await.expect(201);
    let cut = cluster.stop(primary).await;
    assert_eq!(cut, Vec::<String>::new());
    let other = (primary + 1) % 3;
    cluster.http(other).send_surely(&token, "alice", "k1", "after").await;
    assert_eq!(texts(&cluster.http(other).all(&token).await), ["before", "after"]);
    cluster.restart(primary).await;
    cluster.led().await;
    assert_eq!(texts(&cluster.http(primary).all(&token).await), ["before", "after"]);
}

#[tokio::test]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let dir = folder.path().display().to_string();
    let args = ["demo", "--dir", &dir, "--http-port", "0"];
    let demo = Carillon::start(&args).await;
    let token = demo.nodes[0].create().await;
    demo.nodes[1].send(&token, "alice", "k", "hello").await.expect(201);
    demo.signal(Signal::TERM);
    demo.signal(Signal::INT);
    let ended = demo.end().await;
    // Cut short, or faster than the second signal.
    assert!([Some(0), Some(4)].contains(&ended.code), "{ended:?}");
    let demo = Carillon::start(&args).await;
    assert_eq!(texts(&demo.nodes[2].all(&token).await), ["hello"]);
}

#[tokio::test]
async fn a_second_process_on_a_folder_is_refused() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    let first = Carillon::start(&["node", "--config", &config]).await;
    let second = run(&["node", "--config", &config]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("data"), "it names the folder: {second:?}");
    first.nodes[0].get("/healthz").await.expect(200);
}

#[tokio::test]
async fn a_folder_of_another_node_is_refused() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    let node = Carillon::start(&["node", "--config", &config]).await;
    node.signal(Signal::TERM);
    assert_eq!(node.end().await.code, Some(0));
    let text = std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{error}"));
    let other = text.replace("[node]", "[node]\nid = \"n2\"");
    std::fs::write(&config, other).unwrap_or_else(|error| panic!("{error}"));
    let refused = run(&["node", "--config", &config]).await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    assert!(refused.err.contains("n1"), "it names whose folder it is: {refused:?}");
}

#[tokio::test]
async fn a_node_whose_log_is_gone_ends_by_itself_and_says_why() {
    let cluster = Cluster::start(1).await;
    let token = cluster.http(0).create().await;
    let node = cluster.node(0);
    let log = node.log().clone();
    let gone = tokio::task::spawn_blocking(move || log.abandon()).await;
    gone.unwrap_or_else(|error| panic!("{error}"));
    // Whatever is written next finds out; nothing may be acknowledged.
    let sent = cluster.http(0).try_send(&token, "alice", "k", "into the void").await;
    assert!(sent.is_err() || sent.is_ok_and(|sent| sent.status >= 500), "it was acknowledged");
    let ended = runtime::timeout(std::time::Duration::from_secs(60), node.failed()).await;
    let why = ended.unwrap_or_else(|_late| panic!("it goes on without a log"));
    assert!(why.contains("log"), "{why}");
}

#[tokio::test]
async fn what_is_not_done_in_time_is_cut_and_named_and_ends_with_4() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    let text = std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{error}"));
    let text = text.replace("[node]", "[node]\ndrain = \"3s\"");
    std::fs::write(&config, text).unwrap_or_else(|error| panic!("{error}"));
    let node = Carillon::start(&["node", "--config", &config]).await;
    let token = node.nodes[0].create().await;

    // A request that has begun, and whose body never comes.
    let address = node.nodes[0].url().replace("http://", "");
    let stream = tokio::net::TcpStream::connect(&address).await;
    let mut stream = stream.unwrap_or_else(|error| panic!("{error}"));
    let head = format!(
        "POST /v1/chats/{token}/messages HTTP/1.1\r\nhost: {address}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap_or_else(|error| panic!("{error}"));
    // The node asks for the body: so it is in the middle of it.
    let mut asked = [0; 12];
    stream.read_exact(&mut asked).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(&asked, b"HTTP/1.1 100");
    node.signal(Signal::TERM);
    let ended = node.end().await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.err.contains("1 HTTP connections of n1"), "{ended:?}");
    drop(stream);
}
