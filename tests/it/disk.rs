//! Disks that are full, and disks that do not keep what was written.

use std::path::{Path, PathBuf};
use std::process::Command;

use node::config::{Reserve, Size};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::carillon::{Carillon, single};
use tests::{Cluster, Http, eventually, skipped, texts};

/// More than any disk has: a reserve like this leaves no room at all.
const EVERYTHING: Size = Size(1 << 60);

#[tokio::test]
async fn below_the_reserve_sends_are_507_and_reads_go_on() {
    let mut cluster = Cluster::start(1).await;
    let token = cluster.http(0).create().await;
    cluster.http(0).send(&token, "alice", "k0", "before").await.expect(201);
    cluster.stop(0).await;

    let roomy = cluster.config(0).storage.reserve;
    cluster.config(0).storage.reserve = Reserve::Bytes(EVERYTHING);
    cluster.restart(0).await;
    let http = cluster.http(0).clone();
    full(&http, &token).await;
    assert_eq!(texts(&http.all(&token).await), ["before"]);
    cluster.stop(0).await;

    cluster.config(0).storage.reserve = roomy;
    cluster.restart(0).await;
    let http = cluster.http(0).clone();
    http.send_surely(&token, "alice", "k1", "after").await;
    assert_eq!(texts(&http.all(&token).await), ["before", "after"]);
}

/// Waits until the node says that it has no room, for a message and for a chat.
async fn full(http: &Http, token: &str) {
    let mut round = 0;
    eventually("a full disk", async || {
        round += 1;
        let sent = http.try_send(token, "alice", &format!("full{round}"), "no room").await?;
        if (sent.status, sent.code()) == (507, "storage-full") {
            Ok(())
        } else {
            Err(format!("{} {}", sent.status, sent.body))
        }
    })
    .await;
    let created = http.post("/v1/chats", &serde_json::json!({})).await;
    assert_eq!((created.status, created.code()), (507, "storage-full"), "{}", created.body);
}

/// A file system of its own, which fills up without anybody else noticing.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount one.
    fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "carillon-test"]);
        let mounted = mount.arg(folder.path()).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_sends_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount("200m") else {
        skipped("a small disk cannot be mounted here (needs root)");
        return;
    };
    let config = single(disk.path(), "reserve = \"16MiB\"\n");
    let node = Carillon::start(&["node", "--config", &config]).await;
    let http = node.nodes[0].clone();
    let token = http.create().await;
    http.send(&token, "alice", "k0", "before").await.expect(201);

    // Somebody else takes all the room there is.
    let other = disk.path().join("other");
    let mut bytes = 0;
    let chunk = vec![0u8; 1 << 20];
    let mut file = std::fs::File::create(&other).unwrap_or_else(|error| panic!("{error}"));
    while std::io::Write::write_all(&mut file, &chunk).is_ok() {
        bytes += chunk.len();
    }
    assert!(bytes > 0, "the disk was full from the start");
    full(&http, &token).await;
    assert_eq!(texts(&http.all(&token).await)[0], "before");
    http.get("/healthz").await.expect(200);

    drop(file);
    std::fs::remove_file(&other).unwrap_or_else(|error| panic!("{error}"));
    http.send_surely(&token, "alice", "k1", "after").await;
    node.signal(Signal::TERM);
    let ended = node.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// The value files of a node, in order.
fn value_files(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("logs")).unwrap_or_else(|error| panic!("{error}"));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "values"))
        .collect();
    files.sort();
    files
}

/// Where `text` stands in a file.
fn find(file: &Path, text: &str) -> usize {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{error}"));
    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
    found.unwrap_or_else(|| panic!("{text} is not in {}", file.display()))
}

/// Runs a node that stores three messages and stops, lets `damage` at its only value file, starts it
/// again and returns what it says and how it answers a read.
async fn damaged(damage: impl FnOnce(&Path)) -> (String, tests::Answer) {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    let node = Carillon::start(&["node", "--config", &config]).await;
    let http = node.nodes[0].clone();
    let token = http.create().await;
    for text in ["first", "middle-of-three", "third"] {
        http.send(&token, "alice", text, text).await.expect(201);
    }
    node.signal(Signal::TERM);
    assert_eq!(node.end().await.code, Some(0));

    let files = value_files(&folder.path().join("data"));
    damage(&files[0]);
    // The index must not hide it.
    remove_index(&folder.path().join("data/logs"));
    let node = Carillon::start(&["node", "--config", &config]).await;
    let path = format!("/v1/chats/{token}/messages");
    let read = node.nodes[0].ask("GET", &path, &[], None).await;
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    node.signal(Signal::TERM);
    (node.end().await.err, read)
}

fn remove_index(logs: &Path) {
    let entries = std::fs::read_dir(logs).unwrap_or_else(|error| panic!("{error}"));
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
        if path.extension().is_none_or(|ext| ext != "values") {
            _ = std::fs::remove_file(path);
        }
    }
}

/// A lone node has nobody to ask: it says where the damage is, and goes on with what is before it.
fn check_told(told: &str, read: tests::Answer) {
    assert!(told.contains(".values"), "it names the file: {told}");
    assert!(told.contains("offset"), "it names the place: {told}");
    let page = read.expect(200);
    assert_eq!(texts(page["messages"].as_array().map_or(&[], Vec::as_slice)), ["first"]);
}

#[tokio::test]
async fn a_flipped_bit_is_told_with_file_and_offset() {
    let (told, read) = damaged(|file| {
        let at = find(file, "middle-of-three");
        let mut bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{error}"));
        bytes[at] ^= 1;
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{error}"));
    })
    .await;
    check_told(&told, read);
}

#[tokio::test]
async fn a_truncated_value_file_is_told_with_file_and_offset() {
    let (told, read) = damaged(|file| {
        let at = find(file, "middle-of-three");
        let file = std::fs::File::options().write(true).open(file);
        let cut = file.and_then(|file| file.set_len(u64::try_from(at).unwrap_or(u64::MAX)));
        cut.unwrap_or_else(|error| panic!("{error}"));
    })
    .await;
    check_told(&told, read);
}
