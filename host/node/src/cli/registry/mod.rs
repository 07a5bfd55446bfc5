//! `carillon registry`: the service registry for people and scripts.
//!
//! Results go to standard output in one shape whoever asks; what changes meanwhile (a connection that
//! breaks, something deferred) is told on standard error.

mod format;
mod lock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use registry::service::{
    Config, Connection, Data, Entry, Error, Kind, Outcome, ServiceRegistry, Status, User,
    check_path,
};

use super::{Problem, output};
use crate::config::Span;
use crate::signals::Signals;
use format::Format;

/// Reads and changes the service registry.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon registry get /services/carillon-http --wait 5s\n  \
                        carillon registry set /services/crm/10.0.0.7:8080 '{\"zone\": \"a\"}' --ephemeral\n  \
                        carillon registry lock /locks/nightly -- ./nightly.sh")]
pub(super) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(Get),
    Set(Set),
    Unset(Unset),
    Watch(Watch),
    Lock(lock::LockCommand),
}

/// Which ensemble, and as whom.
#[derive(Debug, Args)]
struct Common {
    /// The ensemble: host:port with commas between them, and a path behind the last one when
    /// everything is below it
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "HOSTS")]
    servers: String,
    /// How long one call may take
    #[arg(long, default_value = "5s")]
    timeout: Span,
    /// Goes on without the ensemble: what is set is deferred, what is asked comes from the cache
    #[arg(long)]
    lazy: bool,
    /// A file of last known values, for the time without the ensemble
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Who asks; what is set may then be changed by this user only, and be read by everybody
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file whose first line is the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// A path, told to be wrong before anybody is asked.
fn path(text: &str) -> Result<String, String> {
    let wrong = |error| format!("{error}. Write a path like /services/crm");
    check_path(text).map(|()| text.to_owned()).map_err(wrong)
}

/// Prints what stands at a path: data, figures and children.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon registry get /services/carillon-http --servers zk1:2181,zk2:2181\n\n\
                  A path where nothing stands has no stat. With --cache FILE the last known value is \
                  printed while the ensemble is away, as stale, with its age."
)]
struct Get {
    /// The path
    #[arg(value_parser = path)]
    path: String,
    /// Waits until it has children, and fails when it has none by then
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

/// Sets a path, and says `applied` when it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon registry set /services/crm/10.0.0.7:8080 '{\"zone\": \"a\"}' --ephemeral\n\n\
                  An ephemeral stays while the command runs: it ends with SIGTERM or Ctrl-C."
)]
struct Set {
    /// The path
    #[arg(value_parser = path)]
    path: String,
    /// A JSON object, or a text; pid and created are added
    data: Option<String>,
    /// It goes when this command ends
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    common: Common,
}

/// Removes a path, if it is there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon registry unset /services/crm/10.0.0.7:8080")]
struct Unset {
    /// The path
    #[arg(value_parser = path)]
    path: String,
    #[command(flatten)]
    common: Common,
}

/// Prints what stands at a path whenever that changes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon registry watch /services/carillon-http")]
struct Watch {
    /// The path
    #[arg(value_parser = path)]
    path: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

impl Registry {
    pub(super) fn run(self) -> Result<ExitCode, Problem> {
        let runtime = super::small_runtime()?;
        runtime.block_on(async {
            let done = ExitCode::SUCCESS;
            match self.command {
                Command::Get(get) => get.run().await.map(|()| done),
                Command::Set(set) => set.run().await.map(|()| done),
                Command::Unset(unset) => unset.run().await.map(|()| done),
                Command::Watch(watch) => watch.run().await.map(|()| done),
                Command::Lock(lock) => lock.run().await,
            }
        })
    }
}

impl Get {
    async fn run(self) -> Result<(), Problem> {
        let registry = self.common.open(Access::Read).await?;
        let found = self.find(&registry).await;
        registry.close().await;
        let entry = found?;
        if entry.stale {
            output::note(format_args!(
                "the ensemble is away: this was true {} s ago",
                entry.age_ms / 1000
            ));
        }
        output::line(self.format.text(&entry)).map(drop)
    }

    async fn find(&self, registry: &ServiceRegistry) -> Result<Entry, Problem> {
        let Some(wait) = self.wait else { return registry.get(&self.path).await.map_err(problem) };
        let mut watcher = registry.watch(&self.path).map_err(problem)?;
        let children = async {
            while let Some(entry) = watcher.next().await {
                if !entry.children.is_empty() && !entry.stale {
                    return Some(entry);
                }
            }
            None
        };
        if let Ok(Some(entry)) = runtime::timeout(wait.0, children).await {
            return Ok(entry);
        }
        // Without a connection there is something better to say than that nothing is there.
        let entry = registry.get(&self.path).await.map_err(problem)?;
        let after = format!("{} s", wait.0.as_secs_f64());
        let what = if entry.stale {
            return Err(Problem::unreachable(
                format!("the ensemble did not answer for {after}"),
                REACH,
            ));
        } else if entry.exists() {
            format!("{} has no children after {after}", self.path)
        } else {
            format!("nothing stands at {} after {after}", self.path)
        };
        Err(Problem::failed(what, "Start what registers there, or wait longer"))
    }
}

impl Set {
    async fn run(self) -> Result<(), Problem> {
        let mut signals = Signals::catch().map_err(super::no_signals)?;
        let registry = self.common.open(Access::Change).await?;
        let set = self.set(&registry, &mut signals).await;
        registry.close().await;
        set
    }

    async fn set(&self, registry: &ServiceRegistry, signals: &mut Signals) -> Result<(), Problem> {
        let data = self.data.as_deref().map_or(Ok(Data::Nothing), typed)?;
        let kind = if self.ephemeral { Kind::Ephemeral } else { Kind::Persistent };
        let outcome = registry.set(&self.path, &data, kind).await.map_err(problem)?;
        match outcome {
            Outcome::Applied(_) => {}
            Outcome::Deferred => {
                output::note("deferred: the ensemble is away, and this waits until it is back");
            }
            Outcome::Waiting { owner } if self.ephemeral => {
                let holds = holder(owner);
                output::note(format_args!("deferred: {holds}, and this waits until it is gone"));
            }
            Outcome::Waiting { owner } => {
                let what = format!("{} was not set: {}", self.path, holder(owner));
                return Err(Problem::failed(what, "Wait until it is gone, or unset it"));
            }
        }
        tokio::select! {
            biased;
            name = signals.next() => {
                let what = format!("{name}: {} was never set", self.path);
                return Err(Problem::failed(what, "Try again when the ensemble is back"));
            }
            settled = settled(registry, &self.path) => settled?,
        }
        if output::line("applied")? && self.ephemeral {
            signals.next().await;
        }
        Ok(())
    }
}

impl Unset {
    async fn run(self) -> Result<(), Problem> {
        let registry = self.common.open(Access::Change).await?;
        let done = match registry.unset(&self.path).await {
            Ok(Outcome::Deferred) => {
                output::note("deferred: the ensemble is away, and this waits until it is back");
                settled(&registry, &self.path).await
            }
            Ok(Outcome::Applied(_) | Outcome::Waiting { .. }) => Ok(()),
            Err(error) => Err(problem(error)),
        };
        registry.close().await;
        done
    }
}

impl Watch {
    async fn run(self) -> Result<(), Problem> {
        let mut signals = Signals::catch().map_err(super::no_signals)?;
        let registry = self.common.open(Access::Read).await?;
        // Refused paths are refused at once.
        registry.get(&self.path).await.map(drop).or_else(|error| match error {
            Error::NoConnection { .. } if self.common.lazy => Ok(()),
            error => Err(problem(error)),
        })?;
        let mut watcher = registry.watch(&self.path).map_err(problem)?;
        let _told = registry.on_connection(|connection| {
            if connection == Connection::Suspended {
                output::note("the connection broke: what is printed may be old");
            }
        });
        loop {
            let entry = tokio::select! {
                biased;
                _ = signals.next() => break,
                entry = watcher.next() => entry,
            };
            let Some(entry) = entry else { break };
            if !output::line(self.format.text(&entry))? {
                break;
            }
        }
        registry.close().await;
        Ok(())
    }
}

/// Whether a command changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Change,
}

impl Common {
    async fn open(&self, access: Access) -> Result<ServiceRegistry, Problem> {
        let mut config = Config::new(&self.servers);
        config.timeout = self.timeout.0;
        config.read_only = access == Access::Read;
        // Without this the cache would not be asked.
        config.lazy = self.lazy || (access == Access::Read && self.cache.is_some());
        config.cache.clone_from(&self.cache);
        config.user = self.user()?;
        ServiceRegistry::open(config).await.map_err(problem)
    }

    fn user(&self) -> Result<Option<User>, Problem> {
        let (Some(name), Some(file)) = (&self.user, &self.password_file) else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            let what = format!("{} cannot be read: {error}", file.display());
            Problem::usage(what, "Name a file whose first line is the password")
        })?;
        let password = text.lines().next().unwrap_or_default();
        User::new(name, password).map(Some).map_err(problem)
    }
}

/// How often a command that waits looks whether it is done: soon enough for a person.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const REACH: &str = "Start it, or name it with --servers host:port";

/// Until what is wanted of `path` is so, or refused.
async fn settled(registry: &ServiceRegistry, path: &str) -> Result<(), Problem> {
    loop {
        let registrations = registry.registrations();
        let found = registrations.into_iter().find(|(wanted, _)| wanted == path);
        match found.map(|(_, status)| status) {
            // What was to be gone is gone, and not wanted any more.
            None | Some(Status::Applied(_)) => return Ok(()),
            Some(Status::Failed(error)) => return Err(problem(error)),
            Some(Status::Pending | Status::Waiting { .. }) => runtime::sleep(LOOK_AGAIN).await,
        }
    }
}

/// What a person typed: a JSON object, or a text that does not look like one.
fn typed(text: &str) -> Result<Data, Problem> {
    let data = Data::parse(text);
    let text = text.trim();
    if let Data::Map(map) = &data
        && text.starts_with('{')
        && map.get("string_value").is_some_and(|value| value == text)
    {
        let what = format!("{text} begins like a JSON object and is none");
        return Err(Problem::usage(what, "Mend it, or write {\"string_value\": \"…\"}"));
    }
    Ok(data)
}

fn holder(owner: i64) -> String {
    match owner {
        0 => "something that stays stands there".to_owned(),
        owner => format!("session {owner:#x} holds it"),
    }
}

/// What a shell is told.
fn problem(error: Error) -> Problem {
    let what = super::chain(&error);
    match error {
        Error::NoConnection { .. } => Problem::unreachable(what, REACH),
        Error::Unknown { .. } => {
            Problem::unreachable(what, "Look with carillon registry get, and try again")
        }
        Error::InvalidPath { .. } => Problem::usage(what, "Write a path like /services/crm"),
        Error::Config { .. } => Problem::usage(what, "See carillon registry get --help"),
        Error::NoAuth { .. } => {
            Problem::failed(what, "Name one who may, with --user and --password-file")
        }
        Error::ReadOnly { .. } => Problem::failed(what, "Wait until the ensemble has a quorum"),
        Error::NotEmpty { .. } => Problem::failed(what, "Unset its children first"),
        Error::UnderEphemeral { .. } => Problem::failed(what, "Choose a path that is not below it"),
        Error::TooLarge { .. } | Error::TooMany { .. } => Problem::failed(what, "Split it"),
        Error::LockHeld { .. } => {
            Problem::failed(what, "Try again later, or wait longer with --wait")
        }
        Error::LockLost { .. } => {
            Problem::failed(what, "What ran under it may have been done by two: look")
        }
        Error::Busy { .. } | Error::Refused { .. } | Error::Closed => {
            Problem::failed(what, "Try again")
        }
    }
}
