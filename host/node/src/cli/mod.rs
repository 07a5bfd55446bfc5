//! The command line: what `carillon` can be asked, one file a command.
//!
//! A command returns `Ok` or a [`Problem`]; this is the one place that turns either into an exit code.
//! Results go to standard output, everything else to standard error.

mod admin;
mod archive;
mod backup;
mod bearer;
mod bench;
mod cert;
mod chat;
mod check;
mod compile;
mod demo;
mod export;
mod node;
mod online;
mod output;
mod placement;
mod plugin;
mod problem;
mod progress;
mod registry;
mod ring;
mod service;
mod token;
mod waiting;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use compile::compiler;
pub use problem::{Exit, Problem};

pub(crate) use problem::{chain, of_spaces};

#[derive(Debug, Parser)]
#[command(
    name = "carillon",
    version,
    about = "A replicated conversation node",
    arg_required_else_help = true,
    after_help = "Example:\n  carillon demo\n\nExit codes: 0 done, 1 refused or failed, 2 usage or \
                  configuration, 3 unreachable, 4 partly done."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Node(node::Node),
    Check(check::Check),
    Chat(chat::Chat),
    Archive(archive::ArchiveCommand),
    Backup(backup::BackupCommand),
    Bench(bench::Bench),
    Cert(cert::Cert),
    Plugin(plugin::Plugin),
    Registry(registry::Registry),
    Ring(ring::RingCommand),
    Service(service::ServiceCommand),
    Token(token::Token),
    Why(why::Why),
    #[command(hide = true)]
    CompileComponent(compile::CompileComponent),
}

/// Runs what the process was started with.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Node(node) => node.run(),
        Command::Check(check) => check.run(),
        Command::Chat(chat) => chat.run(),
        Command::Archive(archive) => archive.run(),
        Command::Backup(backup) => backup.run(),
        Command::Bench(bench) => bench.run(),
        Command::Cert(cert) => cert.run(),
        Command::Plugin(plugin) => plugin.run(),
        // Passes on the exit code of a command that it ran.
        Command::Registry(registry) => match registry.run() {
            Ok(code) => return code,
            Err(problem) => Err(problem),
        },
        Command::Ring(ring) => ring.run(),
        Command::Service(service) => service.run(),
        Command::Token(token) => token.run(),
        Command::Why(why) => why.run(),
        // Its exit code is a word to the node that started it.
        Command::CompileComponent(compile) => return compile.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::error(&problem);
            problem.exit.into()
        }
    }
}

/// The threads of a node: one a processor, so that three nodes of one process share them.
fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("carillon")
        .build()
        .map_err(no_threads)
}

/// For a command that talks to one node.
fn small_runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_threads)
}

fn no_threads(error: std::io::Error) -> Problem {
    Problem::failed(
        format!("the system gives no threads: {error}"),
        "Raise the limit of processes (ulimit -u)",
    )
}

fn no_signals(error: std::io::Error) -> Problem {
    Problem::failed(format!("signals cannot be caught: {error}"), "Try again")
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !example.contains("Example") {
                missing.push(path.clone());
            }
            command.get_subcommands().for_each(|inner| check(inner, &path, missing));
        }
        let mut missing = Vec::new();
        check(&Cli::command(), "", &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }
}
