//! The real binary as a process: started, watched, killed.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{Http, binary};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// For a configuration: nobody is said to be gone. Whoever a slow machine keeps silent would be, among the messages that a
/// test counts.
pub const STILL: &str = "[presence]\nidle = \"off\"\n";

/// A running `carillon`.
#[derive(Debug)]
pub struct Carillon {
    child: Child,
    /// What it has said on standard error so far; read all the time, or it would stand still one day.
    said: Arc<Mutex<String>>,
    saying: JoinHandle<()>,
    /// Where its nodes answer.
    pub nodes: Vec<Http>,
    /// What it takes for the system's folder of temporary files: who is killed does not tidy up.
    _temporary: TempDir,
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
        let mut carillon = Self::spawn(args);
        let out = carillon.child.stdout.take().unwrap_or_else(|| panic!("no output"));
        let mut lines = BufReader::new(out).lines();
        let line = runtime::timeout(PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else {
            let said = carillon.said();
            panic!("carillon {args:?} was not ready: {line:?}\n{said}");
        };
        let urls = line.strip_prefix("ready: ").unwrap_or_else(|| panic!("{line:?} is not ready"));
        carillon.nodes = urls.split(' ').map(Http::new).collect();
        carillon
    }

    /// Starts another program that says `ready:` as it does, among other things.
    pub async fn start_other(program: &Path, args: &[&str], variable: (&str, &str)) -> Self {
        let mut command = Command::new(program);
        command.args(args).env(variable.0, variable.1);
        let mut carillon = Self::spawn_as(&mut command);
        let out = carillon.child.stdout.take().unwrap_or_else(|| panic!("no output"));
        let mut lines = BufReader::new(out).lines();
        loop {
            let line = runtime::timeout(PATIENCE, lines.next_line()).await;
            let Ok(Ok(Some(line))) = line else {
                let said = carillon.said();
                panic!("{program:?} {args:?} was not ready: {line:?}\n{said}");
            };
            if let Some((_, urls)) = line.split_once("ready: ") {
                carillon.nodes = urls.split(' ').map(Http::new).collect();
                // It may go on saying something, and would end if nobody listened.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return carillon;
            }
        }
    }

    /// Starts it and waits for nothing.
    pub fn spawn(args: &[&str]) -> Self {
        let mut command = Command::new(binary("carillon"));
        Self::spawn_as(command.args(args))
    }

    fn spawn_as(command: &mut Command) -> Self {
        let temporary = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
        let command = piped(command).env("TMPDIR", temporary.path());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}"));
        let stderr = child.stderr.take().unwrap_or_else(|| panic!("no standard error"));
        let said: Arc<Mutex<String>> = Arc::default();
        let heard = Arc::clone(&said);
        let saying = tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said, saying, nodes: Vec::new(), _temporary: temporary }
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the node of `carillon node` answers operators, which it says when it is ready.
    pub async fn operators(&self) -> String {
        crate::eventually("where operators are answered", async || {
            let said = self.said();
            let url = said.lines().find_map(|line| line.strip_prefix("operators: "));
            url.map(str::to_owned).ok_or_else(|| said.clone())
        })
        .await
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("it has ended already"))
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
        let mut out = String::new();
        let stdout = self.child.stdout.take();
        let read = async {
            if let Some(mut stdout) = stdout {
                _ = stdout.read_to_string(&mut out).await;
            }
        };
        let waited = async { tokio::join!(read, self.child.wait()).1 };
        let Ok(Ok(status)) = runtime::timeout(PATIENCE, waited).await else {
            panic!("it does not end");
        };
        // All it said is there once its end of the pipe is closed.
        drop(runtime::timeout(PATIENCE, &mut self.saying).await);
        let err = self.said();
        Ended { code: status.code(), out, err }
    }
}

/// What is dropped is dead before its folder is taken away: a process that still writes leaves files behind.
impl Drop for Carillon {
    fn drop(&mut self) {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let Some(pid) = id.and_then(Pid::from_raw) else { return };
        if self.child.start_kill().is_ok() {
            // Its end is left for tokio to collect, which owns the process.
            _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
    }
}

/// Runs it to its end.
pub async fn run(args: &[&str]) -> Ended {
    let mut command = Command::new(binary("carillon"));
    let output = runtime::timeout(PATIENCE, piped(command.args(args)).output()).await;
    let Ok(Ok(output)) = output else { panic!("carillon {args:?} does not end: {output:?}") };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true)
}

/// A configuration of one node in `folder`, with more lines.
pub fn single(folder: &Path, more: &str) -> String {
    let still = if more.contains("[presence]") { "" } else { STILL };
    let text = format!(
        "[cluster]\npartitions = 16\n[node]\ndata = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[quic]\nlisten = \"127.0.0.1:0\"\n\
         [replication]\ncopies = 1\ncommit = 1\n{still}[storage]\nvalue_file = \"64MiB\"\n{more}"
    );
    let file = folder.join("node.toml");
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file.to_str().unwrap_or_else(|| panic!("{} is no text", file.display())).to_owned()
}
