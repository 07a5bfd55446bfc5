//! A browser without a window, driven over a pipe by the protocol of its own tools.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Http;

/// How long the browser may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs that are one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// What speaks over the pipes that the browser calls 3 and 4. Tests may run as root, where it has no sandbox.
const BEGIN: &str = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                     --user-data-dir=\"$1\" --remote-debugging-pipe 3<&0 4>&1 </dev/null >/dev/null";

/// A browser; its windows end with it.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    _folder: TempDir,
    stdin: ChildStdin,
    out: BufReader<ChildStdout>,
    number: u64,
}

/// One of its windows.
#[derive(Clone, Debug)]
pub struct Window(String);

impl Browser {
    /// `None`: there is none on this machine, which has been said.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            let what = format!("a test of the chat page did not run: none of {NAMES:?} is here");
            crate::skip::without("browser", &what);
            return None;
        };
        let folder = TempDir::new().unwrap_or_else(|error| panic!("a folder: {error:?}"));
        let mut child = Command::new("sh")
            .args(["-c", BEGIN, &program])
            .arg(folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("a shell: {error:?}"));
        let stdin = child.stdin.take().unwrap_or_else(|| panic!("no input"));
        let out = BufReader::new(child.stdout.take().unwrap_or_else(|| panic!("no output")));
        Some(Self { _child: child, _folder: folder, stdin, out, number: 0 })
    }

    /// Opens a path of a node in a window of its own.
    pub async fn open(&mut self, http: &Http, path: &str) -> Window {
        let target = self
            .ask(None, "Target.createTarget", json!({"url": "about:blank", "newWindow": true}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", attach).await;
        let window = Window(session["sessionId"].as_str().unwrap_or_default().to_owned());
        let url = format!("{}{path}", http.url());
        self.ask(Some(&window), "Page.navigate", json!({"url": url})).await;
        window
    }

    /// What an expression is there.
    pub async fn run(&mut self, window: &Window, expression: &str) -> Value {
        let what = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask(Some(window), "Runtime.evaluate", what).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Until an expression is this.
    pub async fn until(&mut self, window: &Window, expression: &str, wanted: &Value) {
        let deadline = crate::Deadline::default();
        loop {
            let seen = self.run(window, expression).await;
            if seen == *wanted {
                return;
            }
            deadline.check(expression, &seen);
            runtime::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask(&mut self, window: Option<&Window>, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if let Some(Window(session)) = window {
            command["sessionId"] = json!(session);
        }
        let text = format!("{command}\0");
        self.stdin
            .write_all(text.as_bytes())
            .await
            .unwrap_or_else(|error| panic!("{method}: the browser is gone: {error:?}"));
        loop {
            let mut said = Vec::new();
            let reading = runtime::timeout(PATIENCE, self.out.read_until(0, &mut said)).await;
            match reading.unwrap_or_else(|error| panic!("{method}: no answer: {error:?}")) {
                Ok(1..) => {}
                ended => panic!("{method}: the browser has ended: {ended:?}"),
            }
            said.pop();
            let said: Value = serde_json::from_slice(&said)
                .unwrap_or_else(|error| panic!("{method}: no JSON: {error:?}"));
            // Between answers it tells of what happens.
            if said["id"] == self.number {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
        }
    }
}

fn program() -> Option<String> {
    let folders = std::env::var_os("PATH")?;
    let is_here = |name: &str| {
        std::env::split_paths(&folders).any(|folder| Path::new(&folder).join(name).exists())
    };
    NAMES.into_iter().find(|name| is_here(name)).map(str::to_owned)
}
