//! The real binary as a process: started, watched, killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Http, binary};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `carillon`.
#[derive(Debug)]
pub struct Carillon {
    child: Child,
    /// Where its nodes answer.
    pub nodes: Vec<Http>,
}

/// What a `carillon` that has ended said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None`: killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Carillon {
    /// Starts it and waits for its `ready:` line.
    pub async fn start(args: &[&str]) -> Self {
        let mut child = command(args).spawn().unwrap_or_else(|error| panic!("{error}"));
        let out = child.stdout.take().unwrap_or_else(|| panic!("no output"));
        let mut lines = BufReader::new(out).lines();
        let line = runtime::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            let ended = Self { child, nodes: Vec::new() }.end().await;
            panic!("carillon {args:?} was not ready: {ended:?}");
        };
        let urls = line.strip_prefix("ready: ").unwrap_or_else(|| panic!("{line:?} is not ready"));
        Self { child, nodes: urls.split(' ').map(Http::new).collect() }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(rustix::process::Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("it has ended already"));
        rustix::process::kill_process(pid, signal).unwrap_or_else(|error| panic!("{error}"));
    }

    /// `kill -9`, and it is gone when this returns.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Ended {
        drop(self.child.stdout.take());
        let mut err = String::new();
        let stderr = self.child.stderr.take();
        let read = async {
            if let Some(mut stderr) = stderr {
                _ = stderr.read_to_string(&mut err).await;
            }
        };
        let waited = async { tokio::join!(read, self.child.wait()).1 };
        let Ok(Ok(status)) = runtime::timeout(PATIENCE, waited).await else {
            panic!("it does not end");
        };
        Ended { code: status.code(), out: String::new(), err }
    }
}

/// Runs it to its end.
pub async fn run(args: &[&str]) -> Ended {
    let output = runtime::timeout(PATIENCE, command(args).output()).await;
    let Ok(Ok(output)) = output else { panic!("carillon {args:?} does not end: {output:?}") };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary("carillon"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A configuration of one node in `folder`, with more lines.
pub fn single(folder: &Path, more: &str) -> String {
    let text = format!(
        "[cluster]\npartitions = 16\n[node]\ndata = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
         [replication]\ncopies = 1\ncommit = 1\n[storage]\nvalue_file = \"64MiB\"\n{more}"
    );
    let file = folder.join("node.toml");
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file.to_str().unwrap_or_else(|| panic!("{} is no text", file.display())).to_owned()
}
