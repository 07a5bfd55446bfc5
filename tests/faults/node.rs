//! One `carillon node` process: its configuration, its life, its signals.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Http, eventually};

/// What a node is told beside its name and its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Lines for its configuration.
    pub(crate) lines: String,
    /// The group that its process runs as, so that a rule can name it.
    pub(crate) group: Option<u32>,
    /// What its process finds in its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// A node's process, alive or not. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Its address on the loopback device, for everything.
    pub(crate) address: String,
    /// Everything it keeps.
    pub(crate) data: PathBuf,
    /// The group that its process runs as.
    pub(crate) group: Option<u32>,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Node {
    /// Writes the configuration of node `name` into `folder`; starts nothing.
    pub(crate) fn new(folder: &Path, name: &str, address: &str, data: &Path, told: &Told) -> Self {
        let [cert, key, ca] = ["NAME-cert/NAME.pem", "NAME-cert/NAME.key", "NAME-cert/ca.pem"]
            .map(|path| path.replace("NAME", name));
        let text = format!(
            "[node]\nid = \"{name}\"\ndata = \"{}\"\n\
             [http]\nlisten = \"{address}:7081\"\n\
             [admin]\nlisten = \"{address}:7181\"\n\
             [quic]\nlisten = \"{address}:7091\"\ncert = \"{cert}\"\nkey = \"{key}\"\nca = \"{ca}\"\n{}",
            data.display(),
            told.lines
        );
        let config = folder.join(format!("{name}.toml"));
        fs::write(&config, text).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            data: data.to_owned(),
            group: told.group,
            log: folder.join(format!("{name}.log")),
            environment: told.environment.clone(),
            config,
            child: None,
        }
    }

    /// Where it answers clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:7081", self.address)
    }

    /// The same, to ask it.
    pub(crate) fn http(&self) -> Http {
        Http::new(&self.url())
    }

    /// Starts its process; `below` is a command that runs it, if any.
    pub(crate) fn spawn(&mut self, below: &[&str]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let binary = tests::binary("carillon");
        let mut command = match below {
            [] => Command::new(&binary),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&binary);
                command
            }
        };
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let twin = log.try_clone().unwrap_or_else(|error| panic!("{error}"));
        command.args(["node", "--config"]).arg(&self.config);
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        if let Some(group) = self.group {
            command.gid(group);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&mut self) {
        let http = self.http();
        let name = self.name.clone();
        eventually(&format!("{name} to answer"), async || {
            if let Some(status) = self.ended() {
                panic!("{name} ended with {status}: {}", self.last_words());
            }
            http.ask("GET", "/healthz", &[], None).await?.only(200)
        })
        .await;
    }

    /// Its process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How its process ended by itself, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// Waits until its process ends by itself.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} to end"), async || self.ended().ok_or("it lives")).await
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("{} does not run", self.name));
        let sent = kill_process(pid, signal);
        sent.unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
    }

    /// `kill -9`, and it is gone when this returns.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id();
        let killed: io::Result<ExitStatus> = child.kill().and_then(|()| child.wait());
        killed.unwrap_or_else(|error| panic!("killing {}: {error}", self.name));
        forget_clock(pid);
    }

    /// The end of what it said.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id();
            _ = child.kill();
            _ = child.wait();
            forget_clock(pid);
        }
    }
}

/// What a false clock leaves in shared memory when its process is killed.
fn forget_clock(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}
