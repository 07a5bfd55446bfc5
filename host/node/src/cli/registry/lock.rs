//! `carillon registry lock`: a command that runs while a lock is held.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Args;
use registry::service::{Lock, LockOptions, ServiceRegistry};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{Access, Common, problem};
use crate::cli::{Problem, output};
use crate::config::Span;
use crate::signals::Signals;

/// Runs a command while holding a lock, and ends as it ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon registry lock /locks/nightly --wait 10m -- ./nightly.sh --all\n\n\
                  The command finds a number in CARILLON_FENCING that rises from holder to holder: what it \
                  writes should carry it, and refuse a lower one. If the lock is lost the command gets \
                  SIGTERM, ten seconds later SIGKILL, and the exit code is 1."
)]
pub(super) struct LockCommand {
    /// The lock
    #[arg(value_parser = super::path)]
    path: String,
    /// How long to wait for it; 0s takes it now or not at all
    #[arg(long, default_value = "5m", value_name = "TIME")]
    wait: Span,
    /// How many may hold it at once; all who want it must say the same
    #[arg(long, default_value_t = 1)]
    holders: usize,
    #[command(flatten)]
    common: Common,
    /// What to run
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How long a command may go on after its lock was lost.
const GRACE: Duration = Duration::from_secs(10);
/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

impl LockCommand {
    pub(super) async fn run(self) -> Result<ExitCode, Problem> {
        let mut signals = Signals::catch().map_err(crate::cli::no_signals)?;
        let registry = self.common.open(Access::Change).await?;
        let ended = self.run_locked(&registry, &mut signals).await;
        registry.close().await;
        ended
    }

    async fn run_locked(
        &self,
        registry: &ServiceRegistry,
        signals: &mut Signals,
    ) -> Result<ExitCode, Problem> {
        let options =
            LockOptions { wait: self.wait.0, holders: self.holders, ..LockOptions::default() };
        let lock = tokio::select! {
            biased;
            name = signals.next() => {
                let what = format!("{name}: {} was waited for", self.path);
                return Err(Problem::failed(what, "Nothing was run; try again"));
            }
            lock = registry.lock(&self.path, &options) => lock.map_err(problem)?,
        };
        let child = self.spawn(&lock)?;
        let (status, lost) = watch_over(child, &lock, signals).await?;
        let released = lock.release().await;
        if lost {
            let what = format!("lock {} was lost, and the command was ended", self.path);
            return Err(Problem::failed(what, "What it did may be done by two: look"));
        }
        if let Err(error) = released {
            output::note(format_args!("carillon: {error}: it goes with the session"));
        }
        Ok(exit_code(status))
    }

    fn spawn(&self, lock: &Lock) -> Result<Child, Problem> {
        let (program, args) = self
            .command
            .split_first()
            .ok_or_else(|| Problem::usage("there is no command", "Write it behind --"))?;
        let mut command = Command::new(program);
        command.args(args).env("CARILLON_FENCING", lock.fencing().to_string()).kill_on_drop(true);
        command.spawn().map_err(|error| {
            let what = format!("{} cannot be run: {error}", program.display());
            Problem::failed(what, "Name a program that exists")
        })
    }
}

/// Waits for the command; hands signals on to it, and ends it when the lock is lost.
async fn watch_over(
    mut child: Child,
    lock: &Lock,
    signals: &mut Signals,
) -> Result<(ExitStatus, bool), Problem> {
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok((status.map_err(unwaited)?, false)),
            () = lock.lost() => break,
            name = signals.next() => {
                let signal = if name == "SIGINT" { Signal::INT } else { Signal::TERM };
                send(&child, signal);
            }
        }
    }
    output::note("carillon: the lock was lost: the command is ended");
    send(&child, Signal::TERM);
    if let Ok(status) = runtime::timeout(GRACE, child.wait()).await {
        return Ok((status.map_err(unwaited)?, true));
    }
    child.kill().await.map_err(unwaited)?;
    Ok((child.wait().await.map_err(unwaited)?, true))
}

fn send(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(id) = id {
        // It may have ended by itself meanwhile.
        _ = kill_process(id, signal);
    }
}

fn unwaited(error: std::io::Error) -> Problem {
    Problem::failed(format!("the command cannot be waited for: {error}"), "Look whether it runs")
}

/// As a shell tells it: its own code, or 128 and the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
