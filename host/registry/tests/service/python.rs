//! What `docs/service-registry.md` shows to people with Python works: its own snippets are run, with the
//! common client for ZooKeeper there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::ensemble::Ensemble;
use hashring::Position;
use registry::service::{LockOptions, announce};
use registry::{PositionData, PositionRecord, ServiceInfo, encode, position_key};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{map, open};

/// The client that the document speaks of, in the version that was tried.
const CLIENT: &str = "kazoo==2.11.0";

/// Python with the snippets of the document, one statement a line in, what it prints out.
struct Python {
    _child: Child,
    _folder: TempDir,
    stdin: ChildStdin,
    out: Lines<BufReader<ChildStdout>>,
}

/// Reads statements, and says when each was done.
const LOOP: &str = "
import sys
scope = {}
for line in sys.stdin:
    exec(line, scope)
    print('done', flush=True)
";

impl Python {
    /// `None`: there is no Python, or its client cannot be installed, which has been said.
    async fn start() -> Option<Self> {
        let client = match client().await {
            Ok(client) => client,
            Err(why) => {
                skipped(&why);
                return None;
            }
        };
        let folder = TempDir::new().expect("a folder");
        for (name, text) in snippets() {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let path = format!("{}:{}", folder.path().display(), client.display());
        let mut child = Command::new("python3")
            .args(["-c", LOOP])
            .env("PYTHONPATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it started before");
        let stdin = child.stdin.take().expect("its input");
        let out = BufReader::new(child.stdout.take().expect("its output")).lines();
        Some(Self { _child: child, _folder: folder, stdin, out })
    }

    /// Runs a statement; what it printed.
    async fn run(&mut self, statement: &str) -> Vec<String> {
        assert!(!statement.contains('\n'), "one line");
        self.stdin.write_all(format!("{statement}\n").as_bytes()).await.expect("it reads");
        let mut printed = Vec::new();
        loop {
            let next = runtime::timeout(Duration::from_secs(60), self.out.next_line()).await;
            match next.expect("an answer in time").expect("readable") {
                Some(line) if line == "done" => return printed,
                Some(line) => printed.push(line),
                None => panic!("{statement:?} ended it; it printed {printed:?}"),
            }
        }
    }

    /// Until the expression is printed as `expected`.
    async fn until(&mut self, expression: &str, expected: &str) {
        let deadline = crate::wait::Deadline::default();
        loop {
            let printed = self.run(&format!("print({expression})")).await.join("\n");
            if printed == expected {
                return;
            }
            deadline.check(expression, &printed);
            runtime::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The folder with the client, installed once for this build.
async fn client() -> Result<PathBuf, String> {
    // A test lives in release/deps of the target folder.
    let test = std::env::current_exe().expect("an executable");
    let target = test.ancestors().nth(3).expect("a target folder");
    let folder = target.join("python").join(CLIENT);
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(target.join("python")).map_err(|error| error.to_string())?;
    let partial = TempDir::new_in(target.join("python")).map_err(|error| error.to_string())?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .arg("--target")
        .arg(partial.path().join("in"))
        .arg(CLIENT)
        .stdin(Stdio::null())
        .output();
    let output = runtime::timeout(Duration::from_secs(120), output).await;
    let output = output.map_err(|_elapsed| "pip takes too long".to_owned())?;
    let output = output.map_err(|error| format!("python3: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // Another run may have been faster, which is as good.
    match std::fs::rename(partial.path().join("in"), &folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

/// The document's Python blocks by the file name in their first line.
fn snippets() -> Vec<(String, String)> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/service-registry.md");
    let text = std::fs::read_to_string(document).expect("the document is there");
    let blocks = text.split("```python\n# ").skip(1);
    blocks
        .map(|block| {
            let block = block.split("```").next().unwrap_or_default();
            let (name, code) = block.split_once('\n').expect("a name and code");
            (name.to_owned(), code.to_owned())
        })
        .collect()
}

/// Past the harness, which shows nothing of a test that passes.
fn skipped(why: &str) {
    let line = format!("SKIPPED: a test that needs Python and {CLIENT} did not run. {why}\n");
    _ = std::io::stderr().write_all(line.as_bytes());
}

fn position(position: u128, node: &str) -> (String, Vec<u8>) {
    let record = PositionRecord {
        service_info: ServiceInfo {
            name: "carillon".to_owned(),
            version: "0.1.0".to_owned(),
            build: String::new(),
            hostname: "host".to_owned(),
            fqdn: "host.example".to_owned(),
            key: "0".repeat(32),
            servers: Vec::new(),
        },
        data: PositionData {
            node: node.parse().expect("a name"),
            zone: String::new(),
            weight: 1,
            quic: "127.0.0.1:7091".to_owned(),
            http: format!("http://{node}:7081"),
            fingerprint: String::new(),
        },
    };
    (position_key(Position(position)), encode(&record))
}

#[tokio::test]
async fn announcements_and_the_ring_are_read_from_python() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let Some(mut python) = Python::start().await else { return };
    let root = ensemble.root();
    let intruder = ensemble.intruder().await;
    let folder = format!("{root}/services/carillon-http");
    let hosts = ensemble.hosts().join(",");
    python.run("from carillon_registry import Announcements, decode").await;
    python.run(&format!("found = Announcements('{hosts}', '{folder}')")).await;
    python.until("found.nodes()", "{}").await;
    let node = open(&ensemble, &root).await;
    let details = map(json!({"node": "n1", "url": "http://10.0.0.1:7081"}));
    announce(&node, "/services/carillon-http", "10.0.0.1:7081", details).await.expect("announced");
    let expected = format!("[('10.0.0.1:7081', 'n1', {})]", std::process::id());
    let listed = "[(a, d['node'], d['pid']) for a, d in found.nodes().items()]";
    python.until(listed, &expected).await;
    node.close().await;
    python.until("found.nodes()", "{}").await;
    let cases = [
        ("b''", "None"),
        ("b'  '", "{}"),
        ("b'foo\\n'", "{'string_value': 'foo'}"),
        ("b'{bad}'", "{'string_value': '{bad}'}"),
        ("b'[1,2]'", "{'string_value': '[1,2]'}"),
    ];
    for (bytes, expected) in cases {
        python.until(&format!("decode({bytes})"), expected).await;
    }

    for (place, name) in [(7, "n1"), (0xcfcd_2084_95d5_65ef_66e7_dff9_f987_64da, "n2")] {
        let (key, bytes) = position(place, name);
        intruder.put(&format!("{root}/services/carillon/{key}"), &bytes).await;
    }
    python.run("from ring import ring; from kazoo.client import KazooClient").await;
    python.run(&format!("client = KazooClient(hosts='{hosts}'); client.start()")).await;
    let ring = format!("ring(client, '{root}/services/carillon')");
    let expected = "[(7, 'n1', 'http://n1:7081'), (276215275525073243129443018166533317850, 'n2', 'http://n2:7081')]";
    python.until(&ring, expected).await;
}

#[tokio::test]
async fn python_registers_for_us_and_its_locks_exclude_ours() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let Some(mut python) = Python::start().await else { return };
    let root = ensemble.root();
    let hosts = ensemble.hosts().join(",");
    let ours = open(&ensemble, &root).await;
    python.run("from kazoo.client import KazooClient").await;
    python.run("from register import register; from nightly import under_lock").await;
    python.run(&format!("client = KazooClient(hosts='{hosts}'); client.start()")).await;
    python.run(&format!("register(client, '{root}/services/crm/1', zone='a')")).await;
    let entry = super::sees(&ours, "it is registered", "/services/crm/1", |e| e.exists()).await;
    assert_eq!(super::text(&entry, "zone"), Some("a"));
    assert!(entry.data.expect("data")["pid"].is_u64());
    let intruder = ensemble.intruder().await;
    let session = intruder.expire_session_of(&format!("{root}/services/crm/1")).await;
    super::sees(&ours, "it is registered again", "/services/crm/1", |entry| {
        entry.stat.is_some_and(|stat| stat.ephemeral_owner != session)
    })
    .await;

    let now = LockOptions { wait: Duration::ZERO, ..LockOptions::default() };
    let lock = ours.lock("/lock", &now).await.expect("free");
    let path = format!("{root}/lock");
    let taken = format!("client.Lock('{path}').acquire(blocking=False)");
    python.until(&taken, "False").await;
    let before = lock.fencing();
    lock.release().await.expect("held");
    let inside = format!("number = under_lock(client, '{path}', lambda number: number)");
    python.run(&inside).await;
    python.until(&format!("number > {before}"), "True").await;
    python.run(&format!("lock = client.Lock('{path}'); lock.acquire()")).await;
    assert!(ours.lock("/lock", &now).await.is_err());
    python.run("lock.release()").await;
    ours.lock("/lock", &now).await.expect("free").release().await.expect("held");
}
