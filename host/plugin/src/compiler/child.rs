//! The process that compiles: bounds itself, reads a component, writes code.
//!
//! It trusts nobody and is trusted by the node that started it alone. The limits stand before the first
//! byte is read, so that nothing in a component can come before them.

use std::fmt::{Display, Formatter};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::str::FromStr;

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use crate::engine;

/// The exit code of a child that read its component and refuses it; its words tell why.
pub(super) const REFUSED: i32 = 3;

/// The same as the process says it.
const REFUSED_CODE: u8 = 3;

/// The exit code of a child that was started wrongly.
const MISUSED_CODE: u8 = 2;

/// Whatever runs beside a compiler goes first: calls, above all.
const NICE: i32 = 10;

/// What a child is told, as one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// Of the engine that will run the code.
    pub(super) memory_reservation: u64,
    /// Processor time, in seconds.
    pub(super) cpu_s: u64,
    /// Address space.
    pub(super) memory_bytes: u64,
}

impl Display for Task {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.memory_reservation, self.cpu_s, self.memory_bytes)
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([memory_reservation, cpu_s, memory_bytes]) => Ok(Self {
                memory_reservation: *memory_reservation,
                cpu_s: *cpu_s,
                memory_bytes: *memory_bytes,
            }),
            _ => Err(format!("{text:?} is no task: this is for a node that compiles a plugin")),
        }
    }
}

/// Compiles what stands on standard input to standard output, as a node that started this process with
/// `task` wants it. The whole work of a hidden command: nothing else may run in the process.
pub fn compile_child(task: &str) -> ExitCode {
    let (code, text) = match task.parse::<Task>().map(compile) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(text)) => (REFUSED_CODE, text),
        Err(text) => (MISUSED_CODE, text),
    };
    // Whoever listened is gone.
    let _unheard = writeln!(std::io::stderr(), "{text}");
    code.into()
}

fn compile(task: Task) -> Result<(), String> {
    bound(task).map_err(|error| format!("its limits cannot be set: {error}"))?;
    let mut component = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut component);
    read.map_err(|error| format!("it could not be read: {error}"))?;
    let engine =
        engine::for_compiling(task.memory_reservation).map_err(|error| error.to_string())?;
    let code = engine.precompile_component(&component).map_err(|fault| format!("{fault:#}"))?;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&code).and_then(|()| out.flush());
    written.map_err(|error| format!("its code could not be handed over: {error}"))
}

fn bound(task: Task) -> std::io::Result<()> {
    // If the node is killed, nobody waits for this any more.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICE)?;
    let limit = |resource, value: u64, more: u64| {
        let maximum = Some(value.saturating_add(more));
        setrlimit(resource, Rlimit { current: Some(value), maximum })
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    // The first second says so, the next kills.
    limit(Resource::Cpu, task.cpu_s, 1)?;
    limit(Resource::As, task.memory_bytes, 0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Task;

    #[test]
    fn a_task_is_read_as_it_is_written() {
        let task = Task { memory_reservation: 1, cpu_s: 2, memory_bytes: 3 };
        assert_eq!(task.to_string().parse(), Ok(task));
        for wrong in ["", "1:2", "1:2:3:4", "a:b:c"] {
            assert!(wrong.parse::<Task>().is_err(), "{wrong}");
        }
    }
}
