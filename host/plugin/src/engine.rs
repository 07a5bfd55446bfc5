//! One engine for all plugins: which Wasm is accepted, how much of it can live at once, and the tick
//! that lets a deadline be noticed.
//!
//! The numbers of the pool are what the guests of five languages were measured to need. Address space
//! is reserved for every slot, memory only while a call uses it.

use std::num::NonZeroUsize;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{HostConfig, HostError};

/// How often a running guest can be looked at: what loops is stopped within two of these after its deadline.
const TICK: Duration = Duration::from_millis(5);

/// A guest's own stack. Deep recursion in a handler is a mistake, and shows as a trap.
const STACK_BYTES: usize = 256 << 10;

/// The stack of a call, which the host functions share with the guest.
const CALL_STACK_BYTES: usize = 1 << 20;

/// Most core instances of one component; JavaScript on StarlingMonkey has the most.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;

/// Longest table of a guest: StarlingMonkey's has 7,693 elements.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Dropping it ends the ticks, and with them every deadline: whoever can still call holds one.
#[derive(Debug)]
pub(crate) struct Ticking {
    _alive: SyncSender<()>,
}

/// The engine for `config`, and its ticks.
pub(crate) fn start(config: &HostConfig) -> Result<(Engine, Ticking), HostError> {
    let fault = |fault: wasmtime::Error| HostError::Engine { text: format!("{fault:#}") };
    let engine = Engine::new(&engine_config(config)).map_err(fault)?;
    let (alive, gone) = sync_channel::<()>(1);
    let weak = engine.weak();
    runtime::thread("plugin-tick", move || {
        while gone.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let Some(engine) = weak.upgrade() else { return };
            engine.increment_epoch();
        }
    })
    .map_err(HostError::Thread)?;
    Ok((engine, Ticking { _alive: alive }))
}

/// An engine that compiles for the one of [`start`], and runs nothing: it has no pool, whose address
/// space alone is more than a compiler may take.
pub(crate) fn for_compiling(memory_reservation: u64) -> Result<Engine, HostError> {
    Engine::new(&compiling(memory_reservation))
        .map_err(|fault| HostError::Engine { text: format!("{fault:#}") })
}

fn engine_config(host: &HostConfig) -> Config {
    let mut config = compiling(host.ceiling.memory_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(host)));
    config
}

/// What the code depends on, and what it does not.
fn compiling(memory_reservation: u64) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        // QuickJS has two memories, and so has the code between two modules of one component.
        .wasm_multi_memory(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(CALL_STACK_BYTES)
        .memory_reservation(memory_reservation)
        .memory_guard_size(64 << 10)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16));
    config
}

fn pool(host: &HostConfig) -> PoolingAllocationConfig {
    let calls = host.calls_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(8))
        .total_memories(calls.saturating_mul(2))
        .total_tables(calls.saturating_mul(4))
        .total_stacks(calls)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(2)
        .max_tables_per_component(16)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(usize::try_from(host.ceiling.memory_bytes).unwrap_or(usize::MAX))
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(16 << 10)
        .async_stack_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use wasmtime::Engine;

    use crate::{HostConfig, Limits};

    fn hash(engine: &Engine) -> u64 {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn what_is_compiled_without_the_pool_runs_in_it() {
        for memory_bytes in [1 << 20, 64 << 20, 256 << 20] {
            let ceiling = Limits { memory_bytes, ..Limits::CEILING };
            let config = HostConfig { ceiling, calls_max: 2, ..HostConfig::default() };
            let (running, _ticking) = super::start(&config).unwrap();
            let compiling = super::for_compiling(memory_bytes).unwrap();
            assert_eq!(hash(&running), hash(&compiling));
            let other = super::for_compiling(memory_bytes + 65_536).unwrap();
            assert_ne!(hash(&running), hash(&other), "the hash tells nothing");
        }
    }
}
