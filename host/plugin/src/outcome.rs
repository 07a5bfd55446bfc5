//! What wasmtime says when a call ends badly, in our words.

use rustc_demangle::demangle;
use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::exports::Absent;
use crate::state::State;
use crate::{Failure, Limits};

/// Longest text of a failure: it goes into logs and answers.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// How much of it may be what the guest printed, or what it trapped on: the end and the beginning count.
const PRINTED_BYTES_MAX: usize = 768;

/// The epoch callback saw that the call's time was up.
#[derive(Debug, thiserror::Error)]
#[error("the deadline has passed")]
pub(crate) struct Late;

/// Tells how a call failed, from wasmtime's error and the state it left.
pub(crate) fn failure(error: &wasmtime::Error, state: &State, limits: &Limits) -> Failure {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Failure::Busy;
    }
    if error.downcast_ref::<Late>().is_some() {
        return late(limits);
    }
    if let Some(absent) = error.downcast_ref::<Absent>() {
        return Failure::Absent { text: absent.to_string() };
    }
    let text = || with_printed(error, state);
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Failure::Fuel { fuel: limits.fuel },
        Some(Trap::Interrupt) => late(limits),
        Some(_) if state.memory.denied => {
            Failure::Memory { memory_bytes: limits.memory_bytes, text: text() }
        }
        Some(_) => Failure::Trap { text: text() },
        None if error.downcast_ref::<I32Exit>().is_some() => Failure::Trap { text: text() },
        None if state.memory.denied => {
            Failure::Memory { memory_bytes: limits.memory_bytes, text: text() }
        }
        // What is left is output that cannot be read: text that is not UTF-8, a case that does not
        // exist, a pointer outside of the memory, more than one host call may carry.
        None => Failure::BadOutput { text: text() },
    }
}

/// The failure of a call whose time was up.
pub(crate) fn late(limits: &Limits) -> Failure {
    let deadline_ms = u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX);
    Failure::Deadline { deadline_ms }
}

/// What the guest printed last, what it failed on, and in which functions.
fn with_printed(error: &wasmtime::Error, state: &State) -> String {
    let mut parts = Vec::new();
    if let Some(printed) = state.wasi.as_ref().map(|wasi| wasi.printed())
        && !printed.is_empty()
    {
        let last = printed.ceil_char_boundary(printed.len().saturating_sub(PRINTED_BYTES_MAX));
        parts.push(printed.get(last..).unwrap_or_default().to_owned());
    }
    parts.push(cut(error.root_cause().to_string(), PRINTED_BYTES_MAX));
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let names = backtrace.frames().iter().filter_map(FrameInfo::func_name);
        let names: Vec<String> = names.map(|name| format!("{:#}", demangle(name))).collect();
        if !names.is_empty() {
            parts.push(format!("in {}", names.join(" < ")));
        }
    }
    cut(parts.join("; "), TEXT_BYTES_MAX)
}

/// At most `bytes_max` of `text`, at a character's boundary.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
