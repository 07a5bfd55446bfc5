//! `carillon compile-component`: what a node starts itself as, to compile a plugin within limits.
//!
//! Not for people, and so not in the help.

use std::process::ExitCode;

use clap::Args;
use plugin::{CompileLimits, Compiler, CompilerProgram};

/// Compiles a component from standard input to standard output, for the node that started it.
#[derive(Debug, Args)]
#[command(after_help = "Example: none; a node starts it.")]
pub(super) struct CompileComponent {
    /// What the node wants
    task: String,
}

impl CompileComponent {
    pub(super) fn run(self) -> ExitCode {
        plugin::compile_child(&self.task)
    }
}

/// This program once more. Not by its path: that may name another build by now, and what is running is
/// what the code must fit.
pub(crate) fn compiler() -> Compiler {
    Compiler::Child(CompilerProgram {
        program: "/proc/self/exe".into(),
        args: vec!["compile-component".into()],
        // The allocator's first act would be to take a gibibyte of address space, which is all there is.
        env: vec![("MIMALLOC_ARENA_RESERVE".into(), "0".into())],
        limits: CompileLimits::default(),
    })
}
