//! The archive as its clients meet it: over HTTP and from a shell, on nodes that are processes and die.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::carillon::{Carillon, Ended, run};
use tests::{Answer, Cluster, Http, eventually};
use tokio::io::AsyncWriteExt;

use crate::three::{Three, folder, text};

/// Longer than any upload here takes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Bytes that no two places share, in pieces of a MiB: the same for the same seed.
struct Bytes(u64);

impl Bytes {
    fn piece(&mut self) -> Vec<u8> {
        let mut piece = Vec::with_capacity(1 << 20);
        while piece.len() < 1 << 20 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.extend_from_slice(&self.0.to_le_bytes());
        }
        piece
    }

    fn of(seed: u64, size: usize) -> Vec<u8> {
        let mut bytes = Self(seed);
        let mut all = Vec::with_capacity(size + (1 << 20));
        while all.len() < size {
            all.extend_from_slice(&bytes.piece());
        }
        all.truncate(size);
        all
    }
}

/// Whether a file is what [`Bytes`] makes, without both of them in memory.
fn is_same(file: &Path, seed: u64, mebibytes: usize) -> bool {
    use std::io::Read;
    let mut file = std::fs::File::open(file).unwrap_or_else(|error| panic!("{error}"));
    let (mut bytes, mut found) = (Bytes(seed), vec![0; 1 << 20]);
    for _ in 0..mebibytes {
        if file.read_exact(&mut found).is_err() || found != bytes.piece() {
            return false;
        }
    }
    file.read(&mut found).is_ok_and(|more| more == 0)
}

/// `carillon archive …`, which is done.
async fn archive(args: &[&str]) -> Ended {
    let done = run(&[&["archive"], args].concat()).await;
    assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
    done
}

/// Segments that a node has stored for its clients.
async fn stored(node: &Http) -> Result<f64, String> {
    let metrics = node.ask("GET", "/metrics", &[], None).await?.only(200)?;
    let text = metrics.body.as_str().unwrap_or_default();
    let line = text.lines().find(|line| {
        line.starts_with("carillon_objects_stored_total") && line.contains("streamed")
    });
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(count.unwrap_or(0.0))
}

/// `carillon archive put NAME -`, which is fed.
struct Putting {
    child: tokio::process::Child,
    bytes: Bytes,
}

impl Putting {
    fn begin(name: &str, urls: &str, part: &str, seed: u64) -> Self {
        let child = tokio::process::Command::new(tests::binary("carillon"))
            .args(["archive", "put", name, "-", "--part", part, "--url", urls])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{error}"));
        Self { child, bytes: Bytes(seed) }
    }

    async fn feed(&mut self, mebibytes: usize) {
        let input = self.child.stdin.as_mut().unwrap_or_else(|| panic!("it was closed"));
        for _ in 0..mebibytes {
            let piece = self.bytes.piece();
            input
                .write_all(&piece)
                .await
                .unwrap_or_else(|error| panic!("it takes no more: {error}"));
        }
    }

    async fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        let output = runtime::timeout(PATIENCE, self.child.wait_with_output()).await;
        let Ok(Ok(output)) = output else { panic!("the put does not end") };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The original's own case, and then what it was for: many sequences, a tombstone.
#[tokio::test(flavor = "multi_thread")]
async fn collection_1001_key_aaa_bbb_ccc() {
    let demo = Carillon::start(&["demo", "--http-port", "0"]).await;
    let [first, second, third] = [0, 1, 2].map(|index| demo.nodes[index].url());
    let folder = folder();
    let file = |name: &str| text(&folder.path().join(name));
    archive(&["put", "1001", "--url", &first]).await;
    let name = "1001/aaa/bbb/ccc";
    for (number, size) in [1024, 25 << 20, 0].into_iter().enumerate() {
        let data = Bytes::of(42 + number as u64, size);
        std::fs::write(file("in"), &data).unwrap_or_else(|error| panic!("{error}"));
        let put = ["put", name, &file("in"), "--meta", "colour=blue", "--json", "--url", &first];
        let stored: Value = serde_json::from_str(&archive(&put).await.out).unwrap_or_default();
        assert_eq!(stored["size"], size, "{stored}");
        let got = archive(&["get", name, &file("out"), "--json", "--url", &second]).await;
        let got: Value = serde_json::from_str(&got.out).unwrap_or_default();
        assert_eq!((&got["version"], &got["md5"]), (&stored["version"], &stored["md5"]));
        let read = std::fs::read(file("out")).unwrap_or_else(|error| panic!("{error}"));
        assert!(read == data, "{size} bytes");
        let listed = archive(&["ls", "1001/aaa", "--json", "--url", &third]).await;
        let listed: Value = serde_json::from_str(&listed.out).unwrap_or_default();
        let entries = listed["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!((entries.len(), &listed["truncated"]), (1, &json!(false)), "{listed}");
        assert_eq!(
            (&entries[0]["key"], &entries[0]["meta"]["colour"]),
            (&json!("aaa/bbb/ccc"), &json!("blue"))
        );
    }
    archive(&["rm", name, "--url", &third]).await;
    let gone = run(&["archive", "get", name, &file("none"), "--url", &first]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.err.contains("not-found"), "{gone:?}");
    assert!(!Path::new(&file("none")).exists());
    let listed = archive(&["ls", "1001", "--url", &second]).await;
    assert_eq!(listed.out, "");
}

/// What is deleted counts until its bytes are given back, which takes an hour.
#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_by_each_node_how_much_it_holds_of_a_collection() {
    let cluster = Cluster::start(3).await;
    let taken = |answer: Answer| match answer.status {
        200 | 201 => Ok(()),
        _ => Err(format!("{} {}", answer.status, answer.body)),
    };
    for name in ["1001", "1002"] {
        let (path, body) = (format!("/v1/archive/{name}"), json!({"versioning": false}));
        let make = async || taken(cluster.http(0).ask("PUT", &path, &[], Some(&body)).await?);
        eventually("a collection", make).await;
    }
    for (key, size) in [("a", 100), ("b", 300_000)] {
        let (path, bytes) = (format!("/v1/archive/1001/{key}"), Bytes::of(9, size));
        let put = async || {
            taken(
                cluster
                    .http(0)
                    .ask_bytes("PUT", &path, &[("Idempotency-Key", key)], &bytes)
                    .await?,
            )
        };
        eventually("an object", put).await;
    }
    let deleted = cluster.http(1).ask("DELETE", "/v1/archive/1001/a", &[], None).await;
    deleted.and_then(|answer| answer.only(200)).unwrap_or_else(|error| panic!("{error}"));
    let wanted = json!({"collections": [
        {"collection": "1001", "segments": 2, "bytes": 300_100},
        {"collection": "1002", "segments": 0, "bytes": 0},
    ]});
    for node in 0..3 {
        eventually("a node to hold all of it", async || {
            let told = cluster.admin(node).ask("GET", "/admin/v1/collections", &[], None).await?;
            let told = told.only(200)?.body;
            if told == wanted { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_what_is_wrong_and_what_to_do() {
    let demo = Carillon::start(&["demo", "--http-port", "0"]).await;
    let url = demo.nodes[0].url();
    let folder = folder();
    let file = text(&folder.path().join("in"));
    std::fs::write(&file, "data").unwrap_or_else(|error| panic!("{error}"));
    let refused = async |args: &[&str], code: i32, words: &str| {
        let args = [&["archive"], args, &["--url", &url]].concat();
        let refused = run(&args).await;
        assert_eq!(refused.code, Some(code), "{args:?}: {refused:?}");
        assert!(refused.err.contains(words), "{args:?}: {refused:?}");
    };
    refused(&["put", "1001/k", &file], 1, "carillon archive put COLLECTION").await;
    refused(&["put", "1001/k"], 2, "standard input").await;
    refused(&["put", "1001", &file], 2, "COLLECTION/KEY").await;
    refused(&["put", "1001/k", "/no/such/file"], 2, "/no/such/file").await;
    refused(&["put", "1001/k", &text(folder.path())], 2, "is a folder").await;
    refused(&["get", "1001/k"], 1, "unknown-collection").await;
    refused(&["put", ".x"], 1, "collection").await;
    archive(&["put", "1001", "--url", &url]).await;
    archive(&["put", "1001", "--url", &url]).await;
    refused(&["put", "1001", "--versioned"], 1, "collection-exists").await;
    refused(&["get", "1001/k"], 1, "not-found").await;
    refused(&["put", "1001/a/../b", &file], 1, "..").await;
    let nobody = run(&["archive", "ls", "1001", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    // A put and a get of what nobody listens to end as soon.
    for args in [["get", "1001/k", "-"], ["put", "1001/k", &file]] {
        let args = [&["archive"], args.as_slice(), &["--url", "http://127.0.0.1:1"]].concat();
        let nobody = run(&args).await;
        assert_eq!(nobody.code, Some(3), "{nobody:?}");
    }
}

/// A request with bytes; a test is sure that it is answered.
async fn put(http: &Http, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let path = format!("/v1/archive/{path}");
    let asked = http.ask_bytes("PUT", &path, headers, body).await;
    asked.unwrap_or_else(|error| panic!("PUT {path}: {error}"))
}

async fn ask(http: &Http, method: &str, path: &str) -> Answer {
    let path = format!("/v1/archive/{path}");
    let asked = http.ask(method, &path, &[], None).await;
    asked.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_answered_over_http_refusals_too() {
    let cluster = Cluster::start(3).await;
    let http = |number: usize| cluster.http(number % 3);
    let make = async |versioning: bool| {
        let body = json!({"versioning": versioning});
        let made = http(0).ask("PUT", "/v1/archive/kept", &[], Some(&body)).await;
        made.unwrap_or_else(|error| panic!("{error}"))
    };
    let refused = |answer: Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    };
    refused(put(http(0), "kept/k", &[], b"data").await, 404, "unknown-collection");
    refused(ask(http(1), "GET", "kept/k").await, 404, "unknown-collection");
    refused(ask(http(2), "GET", "kept").await, 404, "unknown-collection");
    make(true).await.expect(201);
    make(true).await.expect(200);
    refused(make(false).await, 409, "collection-exists");

    refused(ask(http(1), "GET", "kept/k").await, 404, "not-found");
    // 70,000 bytes go to the members before the final, four of them with it: neither is seen when they are other
    // bytes than was said.
    for data in [&Bytes::of(1, 70_000)[..], b"data"] {
        let wrong = [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
        refused(put(http(0), "kept/k", &wrong, data).await, 400, "md5-mismatch");
        refused(ask(http(1), "GET", "kept/k").await, 404, "not-found");
    }
    let mut versions = Vec::new();
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        let stored =
            put(http(number), "kept/k", &[("Carillon-Meta-N", text)], text.as_bytes()).await;
        let stored = stored.expect(201);
        versions.push(stored["version"].as_str().unwrap_or_default().to_owned());
        assert_eq!(stored["size"], text.len());
    }
    assert!(versions.is_sorted(), "{versions:?}");
    let again = [("Idempotency-Key", "r")];
    let first = put(http(0), "kept/again", &again, b"data").await.expect(201);
    let repeat = put(http(1), "kept/again", &again, b"data").await;
    assert_eq!(repeat.headers.get("idempotent-replay").map(String::as_str), Some("true"));
    assert_eq!(repeat.expect(200), first);
    refused(put(http(2), "kept/again", &again, b"other").await, 409, "idempotency-conflict");

    let read = ask(http(2), "GET", "kept/k").await;
    assert_eq!(read.headers.get("carillon-meta-n").map(String::as_str), Some("three"));
    assert_eq!(read.expect(200), "three");
    let old = ask(http(0), "GET", &format!("kept/k?version={}", versions[0])).await;
    assert_eq!(old.expect(200), "one");
    refused(ask(http(0), "GET", "kept/k?version=5").await, 404, "unknown-version");
    let range = [("Range", "bytes=1-2")];
    let part = http(1).ask("GET", "/v1/archive/kept/k", &range, None).await;
    assert_eq!(part.unwrap_or_else(|error| panic!("{error}")).expect(206), "hr");
    let beyond = [("Range", "bytes=5-")];
    let beyond = http(1).ask("GET", "/v1/archive/kept/k", &beyond, None).await;
    refused(beyond.unwrap_or_else(|error| panic!("{error}")), 416, "range-not-satisfiable");

    let listed = ask(http(1), "GET", "kept?versions=true&limit=2").await.expect(200);
    assert_eq!(
        (&listed["truncated"], &listed["entries"][0]["key"]),
        (&json!(true), &json!("again"))
    );
    assert_eq!(listed["entries"][1]["version"], *versions[0]);
    let path = format!("kept?versions=true&marker=k&version_marker={}", versions[0]);
    let listed = ask(http(2), "GET", &path).await.expect(200);
    let rest: Vec<&str> = listed["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["version"].as_str())
        .collect();
    assert_eq!(rest, [&versions[1], &versions[2]]);

    // One version goes, then all of them.
    ask(http(0), "DELETE", &format!("kept/k?version={}", versions[2])).await.expect(200);
    assert_eq!(ask(http(1), "GET", "kept/k").await.expect(200), "two");
    refused(ask(http(1), "DELETE", "kept/k?version=5").await, 404, "unknown-version");
    ask(http(2), "DELETE", "kept/k").await.expect(200);
    refused(ask(http(0), "GET", "kept/k").await, 404, "not-found");
    ask(http(1), "DELETE", "kept/never").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_parts_is_seen_when_it_is_whole_and_not_before() {
    let cluster = Cluster::start(3).await;
    let http = |number: usize| cluster.http(number % 3);
    let body = json!({"versioning": false});
    let made = http(0).ask("PUT", "/v1/archive/plain", &[], Some(&body)).await;
    made.and_then(|answer| answer.only(201)).unwrap_or_else(|error| panic!("{error}"));
    let refused = |answer: Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    };
    let started = ask(http(0), "POST", "plain/k?action=start").await.expect(200);
    let version = started["version"].as_str().unwrap_or_default();
    let part = |number: u32| format!("plain/k?conjoined={version}&part={number}");
    let finish = format!("plain/k?action=finish&conjoined={version}");
    refused(ask(http(1), "POST", &finish).await, 400, "wrong-order");
    let second = put(http(1), &part(2), &[], b"second").await.expect(201);
    assert_eq!(second["version"], version);
    refused(ask(http(2), "POST", &finish).await, 400, "wrong-order");
    let large = Bytes::of(3, 100_000);
    put(http(2), &part(1), &[], &large).await.expect(201);
    assert_eq!(put(http(0), &part(2), &[], b"second").await.expect(200), second);
    refused(put(http(0), &part(2), &[], b"other!").await, 409, "already-final");
    refused(ask(http(0), "GET", "plain/k").await, 404, "not-found");
    refused(put(http(0), "plain/k?conjoined=5&part=1", &[], b"data").await, 404, "unknown-version");
    ask(http(0), "POST", &finish).await.expect(200);
    ask(http(1), "POST", &finish).await.expect(200);
    let head = http(1).ask_bytes("HEAD", "/v1/archive/plain/k", &[], b"").await;
    assert!(head.is_err(), "an answer without its body is no whole one: {head:?}");
    let range = [("Range", "bytes=99998-100002")];
    let over = http(2).ask("GET", "/v1/archive/plain/k", &range, None).await;
    let over = over.unwrap_or_else(|error| panic!("{error}"));
    assert!(over.headers["etag"].ends_with("-2\""), "{:?}", over.headers);
    assert_eq!(over.headers["content-range"], "bytes 99998-100002/100006");
    refused(put(http(0), &part(3), &[], b"late").await, 409, "already-final");
    ask(http(0), "POST", &format!("plain/k?action=abort&conjoined={version}")).await.expect(200);
    refused(ask(http(1), "GET", "plain/k").await, 404, "not-found");
    refused(ask(http(1), "POST", &finish).await, 409, "already-final");
}

/// Parts go on elsewhere when the node that takes them dies, the object comes out of a third one, and what is
/// deleted meanwhile stays deleted when the dead one returns.
async fn through_a_death(mebibytes: usize, part: usize) {
    let Some(mut three) = Three::start().await else { return };
    let urls: Vec<String> = (0..3).map(|index| three.http(index).url()).collect();
    archive(&["put", "1001", "--url", &urls[0]]).await;
    let old = text(&three.folder.path().join("old"));
    std::fs::write(&old, Bytes::of(9, 300_000)).unwrap_or_else(|error| panic!("{error}"));
    archive(&["put", "1001/old", &old, "--url", &urls[1]]).await;

    let all = [&urls[0], &urls[1]].map(String::as_str).join(",");
    let mut putting = Putting::begin("1001/large", &all, &format!("{part}MiB"), 7);
    // A part goes when it is known that more follow.
    putting.feed(part * 2 + part / 2).await;
    let victim = eventually("a part to be stored", async || {
        for index in [0, 1] {
            if stored(three.http(index)).await? > 0.0 {
                return Ok(index);
            }
        }
        Err("none yet".to_owned())
    })
    .await;
    three.take(victim).kill().await;
    putting.feed(mebibytes - (part * 2 + part / 2)).await;
    let put = putting.end().await;
    assert_eq!(put.code, Some(0), "{put:?}");

    let out = three.folder.path().join("out");
    get_large(&out, &urls[2]).await;
    assert!(is_same(&out, 7, mebibytes), "it came out otherwise");
    archive(&["rm", "1001/old", "--url", &urls[2]]).await;

    three.restart(victim).await;
    let back = three.http(victim).url();
    let gone = run(&["archive", "get", "1001/old", "-", "--url", &back]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.err.contains("not-found"), "{gone:?}");
    get_large(&out, &back).await;
    assert!(is_same(&out, 7, mebibytes), "it came out otherwise of who was dead");
    let listed = archive(&["ls", "1001", "--json", "--url", &back]).await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap_or_default();
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(1), "{listed}");
}

/// `carillon archive get`, however long it takes.
async fn get_large(file: &Path, url: &str) {
    let output = tokio::process::Command::new(tests::binary("carillon"))
        .args(["archive", "get", "1001/large", &text(file), "--url", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(Ok(output)) = runtime::timeout(PATIENCE, output).await else {
        panic!("the get does not end")
    };
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_in_through_one_process_and_out_of_another_while_one_is_killed() {
    through_a_death(64, 16).await;
}

/// The same with five GiB. It takes some minutes and 25 GB: `make archive-large`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes, and 25 GB of disk"]
async fn five_gib_go_in_through_one_process_and_out_of_another_while_one_is_killed() {
    through_a_death(5 << 10, 64).await;
}
