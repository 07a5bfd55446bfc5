//! What belongs to one call: its limits, its inputs, and what it has asked for.
//!
//! It lives in the call's store and dies with it, so a guest cannot leave anything for the next call
//! but what its buffer carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::Instant;
use wasmtime::ResourceLimiter;

use crate::buffer::Buffer;
use crate::engine::TABLE_ELEMENTS_MAX;
use crate::journal::Subject;
use crate::wasi::Wasi;
use crate::watch::Voice;
use crate::{Call, Grant, Limits};

/// A plugin's configuration, taken apart once.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The whole of it, as JSON text.
    pub(crate) all: String,
    /// Every top-level key, as JSON text, and decoded if it is a string.
    pub(crate) keys: BTreeMap<String, (String, Option<String>)>,
}

impl Settings {
    pub(crate) fn new(config: &serde_json::Value) -> Self {
        let keys = config.as_object().into_iter().flatten();
        Self {
            all: config.to_string(),
            keys: keys
                .map(|(key, value)| {
                    (key.clone(), (value.to_string(), value.as_str().map(str::to_owned)))
                })
                .collect(),
        }
    }
}

/// Counts the linear memories of one call together.
#[derive(Debug)]
pub(crate) struct Memory {
    left: u64,
    /// Whether the guest ever wanted more than there was.
    pub(crate) denied: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let left = self.left.checked_sub(more);
        match left {
            Some(left) => self.left = left,
            None => self.denied = true,
        }
        Ok(left.is_some())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// The data of one call's store.
#[derive(Debug)]
pub(crate) struct State {
    /// The plugin.
    pub(crate) plugin: Voice,
    pub(crate) settings: Arc<Settings>,
    pub(crate) memory: Memory,
    pub(crate) deadline: Instant,
    /// `None` while the guest checks its configuration: there is no chat then.
    pub(crate) call: Option<Box<Call>>,
    /// The chat and the message that it is about.
    of: Subject,
    pub(crate) buffer: Buffer,
    /// What its plugin may do.
    pub(crate) grant: Arc<Grant>,
    /// Earlier messages that this call may still read.
    pub(crate) history_left: u32,
    /// What the host may still do for this call, in fuel.
    pub(crate) host_fuel_left: u64,
    /// What this call may still log.
    pub(crate) log_lines_left: u32,
    pub(crate) log_bytes_left: usize,
    /// Made when it is first asked for: most guests import WASI and never use it.
    pub(crate) wasi: Option<Box<Wasi>>,
}

/// Most log lines of one call.
const LOG_LINES_MAX: u32 = 64;
/// Most bytes logged by one call.
const LOG_BYTES_MAX: usize = 16 << 10;

impl State {
    /// Which call this is.
    pub(crate) fn subject(&self) -> Subject {
        self.of
    }

    pub(crate) fn new(
        plugin: Voice,
        settings: Arc<Settings>,
        limits: &Limits,
        call: Option<Box<Call>>,
        of: Subject,
        grant: Arc<Grant>,
    ) -> Self {
        let notes_bytes_max = grant.kv.map_or(0, |kv| kv.bytes);
        let history_left = grant.history.map_or(0, |history| history.messages);
        let notes = call.as_ref().map(|call| Arc::clone(&call.notes)).unwrap_or_default();
        Self {
            plugin,
            settings,
            memory: Memory { left: limits.memory_bytes, denied: false },
            deadline: runtime::now() + limits.deadline,
            call,
            of,
            buffer: Buffer::new(notes, notes_bytes_max),
            grant,
            history_left,
            host_fuel_left: limits.fuel,
            log_lines_left: LOG_LINES_MAX,
            log_bytes_left: LOG_BYTES_MAX,
            wasi: None,
        }
    }
}
