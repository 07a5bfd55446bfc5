//! Components from people who mean no good, compiled as a node compiles them: by the real binary, in a
//! process of its own. Whatever they are, the sentence names it and the next good plugin does not notice.
//!
//! Single habits of running guests are in `host/plugin/tests/hostile.rs`, which needs no binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test says that it failed")]
#![expect(clippy::print_stdout, reason = "seeds, for whoever wants one again")]

#[path = "../../host/plugin/tests/case/mod.rs"]
#[expect(dead_code, reason = "the plugin crate's own tests use the rest")]
mod case;

mod bombs;
mod compiling;
mod habits;
mod random;

use std::sync::LazyLock;
use std::time::Duration;

use plugin::{CompileLimits, Compiler, CompilerProgram, Host, HostConfig, LoadError, Verdict};
use tests::guests::Guest;

/// As a node has it.
static HOST: LazyLock<Host> = LazyLock::new(|| host(CompileLimits::default()));

/// A host whose compiler may take so much.
fn host(limits: CompileLimits) -> Host {
    let compiler = compiler(limits);
    let config = HostConfig { compiler, ceiling: case::PATIENT, ..HostConfig::default() };
    Host::new(HostConfig { calls_max: 8, ..config }).unwrap()
}

/// The real binary, started as a node starts itself.
fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::Child(CompilerProgram {
        program: tests::binary("carillon"),
        args: vec!["compile-component".into()],
        env: vec![("MIMALLOC_ARENA_RESERVE".into(), "0".into())],
        limits,
    })
}

/// A second of processor time, so that a test need not wait for a minute.
fn hurried() -> CompileLimits {
    CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() }
}

/// Offers `component` and is refused; then a good one is taken.
async fn is_refused(host: &Host, component: Vec<u8>) -> LoadError {
    let refusal = host.load(case::spec(component)).await.unwrap_err();
    let good = host.load(case::spec(Guest::default().build())).await.unwrap();
    assert_eq!(case::say(&good, "hello").await.unwrap().verdict, Verdict::Pass);
    refusal
}
