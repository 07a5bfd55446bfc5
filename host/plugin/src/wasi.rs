//! WASI for guests whose toolchain insists on it: virtual, deterministic, powerless.
//!
//! The clocks stand at the message's time, randomness follows from the call's seed, there are no
//! files, sockets, arguments or variables, standard input is at its end, and what is printed is kept for
//! the words of a trap and for the plugin's journal. Waiting for the clock is over at once: the only clock there is does not move.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use crate::journal::Subject;
use crate::line;
use crate::state::State;
use crate::watch::Voice;

/// The time where there is none, as while a guest checks its configuration or is asked by its self-test, before there
/// is a chat: Go does not start at zero.
const BEFORE_MS: u64 = 1;

/// How much of what a guest prints is kept: the end, where a panic stands.
const PRINTED_BYTES_MAX: usize = 8 << 10;

/// Most random bytes in one answer.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Most handles a guest may hold.
const HANDLES_MAX: usize = 1_024;

/// WASI's part of a call.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    printed: Printed,
    plugin: Voice,
    of: Subject,
}

impl Drop for Wasi {
    /// However the call ended, what was printed is somebody's only word about it.
    fn drop(&mut self) {
        line::printed(&self.plugin, self.of, &self.printed());
    }
}

impl std::fmt::Debug for Wasi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wasi").finish_non_exhaustive()
    }
}

impl Wasi {
    fn new(now_ms: u64, seed: u64, plugin: Voice, of: Subject) -> Self {
        let printed = Printed::default();
        let clock = Still(Duration::from_millis(now_ms));
        let ctx = WasiCtxBuilder::new()
            .wall_clock(clock)
            .monotonic_clock(clock)
            .secure_random(StdRng::seed_from_u64(seed))
            .insecure_random(StdRng::seed_from_u64(seed ^ 1))
            .insecure_random_seed(u128::from(seed))
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdout(printed.clone())
            .stderr(printed.clone())
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self { ctx, table, printed, plugin, of }
    }

    /// What the guest printed, as far as it was kept.
    pub(crate) fn printed(&self) -> String {
        let bytes = self.printed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = bytes.len().saturating_sub(PRINTED_BYTES_MAX);
        let kept = bytes.get(last..).unwrap_or_default();
        String::from_utf8_lossy(kept).trim().to_owned()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (now_ms, seed) =
            self.call.as_ref().map_or((0, 0), |call| (call.context.now_ms, call.seed));
        let now_ms = now_ms.max(BEFORE_MS);
        let of = self.subject();
        let wasi = self
            .wasi
            .get_or_insert_with(|| Box::new(Wasi::new(now_ms, seed, self.plugin.clone(), of)));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

/// Links all of WASI 0.2 but its HTTP.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, StillClock>(linker, |state| NoWait(state.clocks()))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A clock that stands.
#[derive(Clone, Copy)]
struct Still(Duration);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

struct StillClock;

impl HasData for StillClock {
    type Data<'a> = NoWait<'a>;
}

/// The monotonic clock as it is, except that nobody waits for it.
struct NoWait<'a>(WasiClocksCtxView<'a>);

impl monotonic_clock::Host for NoWait<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(&mut self.0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.0)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_duration(&mut self.0, 0)
    }

    fn subscribe_duration(&mut self, _how_long: u64) -> wasmtime::Result<Resource<DynPollable>> {
        monotonic_clock::Host::subscribe_duration(&mut self.0, 0)
    }
}

/// Keeps the end of what is printed and swallows the rest: a guest that talks too much is not told, so
/// that it does not depend on how much is kept. Up to twice as much is held, so that most writes move
/// nothing.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = bytes.len().saturating_sub(PRINTED_BYTES_MAX);
        let end = bytes.get(last..).unwrap_or_default();
        if kept.len() + end.len() > 2 * PRINTED_BYTES_MAX {
            let beyond = kept.len().saturating_sub(PRINTED_BYTES_MAX);
            kept.drain(..beyond);
        }
        kept.extend_from_slice(end);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINTED_BYTES_MAX)
    }
}
