//! How a command ends when it did not do what it was asked.
//!
//! One sentence says what happened, one what to do about it; the exit code says which kind it was, so
//! that a script need not read either.

use std::fmt;
use std::process::ExitCode;

use segment::archive::OpenError;

use crate::assemble::StartError;

/// What people see on standard error, and what the shell sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Which kind it is.
    pub exit: Exit,
}

/// The kinds of not having done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Refused or failed: 1.
    Failed,
    /// The command line or the configuration is wrong: 2.
    Usage,
    /// Nobody answers there: 3.
    Unreachable,
    /// Something was done and something was not: 4.
    Partly,
}

impl Problem {
    /// It was refused, or failed.
    pub fn failed(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what, fix)
    }

    /// The command line or the configuration is wrong.
    pub fn usage(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, fix)
    }

    /// Nobody answers.
    pub fn unreachable(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, what, fix)
    }

    /// Something was done and something was not.
    pub fn partly(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self::new(Exit::Partly, what, fix)
    }

    fn new(exit: Exit, what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self { what: what.to_string(), fix: fix.into(), exit }
    }
}

impl Exit {
    /// The number for the shell.
    pub const fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Partly => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.trim_end_matches('.');
        let fix = self.fix.trim_end_matches('.');
        // A list of faults stands on lines of its own.
        let between = if what.contains('\n') { '\n' } else { ' ' };
        write!(f, "{what}.{between}{fix}.")
    }
}

impl From<workbench::Trouble> for Problem {
    fn from(trouble: workbench::Trouble) -> Self {
        let workbench::Trouble { what, fix, usage } = trouble;
        Self::new(if usage { Exit::Usage } else { Exit::Failed }, what, fix)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let what = chain(&error);
        match error {
            StartError::Folder { .. } => Self::failed(what, "Name a folder that can be written"),
            StartError::Registry(_) | StartError::Data(_) => {
                Self::failed(what, "Stop the other process on this folder, or name another folder")
            }
            StartError::Engine(_) => {
                Self::failed(what, "Give the process more address space (ulimit -v)")
            }
            StartError::ZooKeeper(_) => Self::usage(what, "Run carillon check"),
            StartError::Plugins(_) => Self::usage(what, "Run carillon check, or make build"),
            StartError::Partitions(_) => Self::usage(what, "Run carillon check"),
            StartError::Generations(_) => Self::failed(what, "See docs/operations.md"),
            StartError::Auth { .. } => Self::usage(
                what,
                "Write a JSON web key set there; carillon token --new-key makes one for development",
            ),
            StartError::Twilio { .. } => Self::usage(
                what,
                "Write the account's auth token there, and nothing else; chmod 600",
            ),
            StartError::Trust(_) => Self::failed(what, "See docs/operations.md"),
            StartError::Tls(_) => Self::usage(what, "Mend cert, key and ca below [quic]"),
            StartError::Http(_) | StartError::Quic(_) => {
                Self::failed(what, "Stop what listens there, or choose another port")
            }
            StartError::Archive(error) => Self::failed(what, of_spaces(&error)),
            StartError::Log(_) => Self::failed(what, "See docs/operations.md before another start"),
            StartError::Replication(_) | StartError::Ended(_) | StartError::NotLed { .. } => {
                Self::failed(what, "See the log above")
            }
        }
    }
}

/// What to do about an archive that cannot be opened.
pub(crate) const fn of_spaces(error: &OpenError) -> &'static str {
    match error {
        OpenError::SpaceMissing { .. } => {
            "Mount the disk of that folder; for a new space name a folder that is empty or not there"
        }
        OpenError::ForeignSpace { .. } => "Name folders of this node in storage.spaces",
        OpenError::SpaceNotConfigured { .. } => {
            "Name its folder in storage.spaces again; how a disk is given up docs/operations.md says"
        }
        OpenError::SpaceTwice { .. } => "Remove the folder that is a copy, or was copied from",
        OpenError::FolderTwice { .. } => {
            "Name it once in storage.spaces, and remove nothing: both are the same files"
        }
        OpenError::ReadOnly { .. } => "Let this node write there, or name another folder",
        _ => "See docs/operations.md before another start",
    }
}

/// A source and what it says about its own sources, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Exit, Problem, chain};

    #[test]
    fn a_problem_is_one_sentence_what_and_one_what_to_do() {
        let problem = Problem::unreachable("nobody answers at http://a.", "start a node there");
        assert_eq!(problem.to_string(), "nobody answers at http://a. start a node there.");
        assert_eq!(problem.exit.number(), 3);
    }

    #[test]
    fn kinds_have_the_documented_numbers() {
        let kinds = [Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::Partly];
        assert_eq!(kinds.map(Exit::number), [1, 2, 3, 4]);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = std::io::Error::other("disk gone");
        let error = plugin::HostError::Thread(cause);
        assert_eq!(chain(&error), "starting a thread for plugins: disk gone");
    }
}
